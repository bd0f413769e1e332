"""Several learners do together what one does on the joined minibatches."""

import socket

import numpy as np
import pytest
import torch
import tree
from torch import distributed

from rllib_biac import BiLevelQConfig
from rllib_biac.algorithms.dqn.losses import LENIENCY
from rllib_biac.learning.transitions import JointTransitions
from rllib_biac.rllib.learner import shares_of_minibatches
from rllib_biac.rllib.registry import ALGORITHMS, load_algorithm
from tests.games import Kinds, Masked, Navigation, TwoStates, config, sampler_of

NUM_CALLS, NUM_MINIBATCHES, SIZE = 3, 4, 32
LEVELS, EQUALS = [["one"], ["two"]], [["one", "two"]]
# A game, a hierarchy, and settings without which losses would sample: what one draws for whole minibatches, two cannot.
CASES = {
    "BiAC": (Masked, LEVELS, {"grad_clip": 0.5, "normalize_observations": True}),
    "BiAC, continuous": (Kinds, LEVELS, {"normalize_observations": True}),
    "BiAC, own observations": (TwoStates, LEVELS, {"approximators": True, "normalize_observations": True}),
    "IDQN": (Masked, EQUALS, {"normalize_observations": True}),
    "HystereticDQN": (TwoStates, EQUALS, {"target_network_update_freq": 3}),
    "LenientDQN": (TwoStates, EQUALS, {}),  # here with leniencies of 0 and 1
    "MADDPG": (Navigation, EQUALS, {"normalize_observations": True}),
    "MATD3": (Navigation, EQUALS, {"target_noise": 0.0}),
}


class Rank:
    """One of two processes that learn together, whatever they are told to."""

    def __init__(self, rank, port):
        torch.set_num_threads(1)
        self.rank = rank
        distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)

    def learn(self, spec, calls, seed):
        return learn(spec, calls, seed, num_learners=2, index=self.rank)


@pytest.fixture(scope="module")
def ranks(ray):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = [ray.remote(Rank).options(num_cpus=0.5).remote(rank, port) for rank in range(2)]
    yield both
    for each in both:
        ray.kill(each)


def learn(case, calls, seed=0, *, num_learners=1, index=0):
    """Trains a team; returns its weights, optimizers and statistics, and the seed of its last call."""
    run, spec = case
    algorithm = load_algorithm(run).config_class.algorithm
    torch.manual_seed(0 if seed is not None else index)
    team = algorithm.build_team(spec)
    trainer = algorithm.build_trainer(team, seed=seed, num_learners=num_learners)
    trainer.learner_index = index
    for rows in calls:
        trainer.train(rows.columns, minibatch_size=len(rows) // NUM_MINIBATCHES)
    own = trainer.get_state()
    # What was measured is each learner's own.
    inputs = {str(key): moments for key, moments in own["inputs"].items()}
    parts = {"weights": team.weights(), "inputs": inputs, "losses": own["losses"]}
    return dict(tree.flatten_with_path(parts)), trainer.generator.initial_seed()


def case_of(name, **more):
    """An algorithm and what its team is built from, and the rows of each call, in the columns that it learns from."""
    game, levels, settings = CASES[name]
    run = name.partition(",")[0]
    algorithm = load_algorithm(run).config_class.algorithm
    settings = settings | more | {"epsilon": 1.0, "model_config": {"fcnet_hiddens": [16, 16]}}
    sampler = sampler_of(game, levels, num_games=16, algorithm=algorithm, **settings)
    num_rows = NUM_MINIBATCHES * SIZE  # a multiple of the games that are played at once
    calls = [sampler.sample(num_rows) for _ in range(NUM_CALLS)]
    if name == "LenientDQN":
        rng = np.random.default_rng(0)
        for rows in calls:
            rows.columns.update({(LENIENCY, agent): rng.integers(2, size=num_rows) * 1.0 for agent in levels[0]})
    return (run, sampler.team.spec), calls


def together(ray, ranks, case, calls, seed=0):
    """What both learners hold in the end, each having had its share of the minibatches."""
    shares = [shares_of_minibatches(rows, NUM_MINIBATCHES, 2) for rows in calls]
    return ray.get([rank.learn.remote(case, [own[i] for own in shares], seed) for i, rank in enumerate(ranks)])


def assert_near(one, other, **tolerance):
    assert one.keys() == other.keys()
    for key, value in one.items():
        if np.asarray(value).dtype.kind in "fiu":
            np.testing.assert_allclose(np.asarray(other[key]), np.asarray(value), err_msg=str(key), **tolerance)


def test_every_algorithm_has_a_case():
    """A table takes one learner. Learning to commit draws for every row; it has a test of its own."""
    assert {name.partition(",")[0] for name in CASES} == ALGORITHMS.keys() - {"BiLevelQ", "CommitmentDQN"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in ("BiAC", "BiAC, continuous") else name for name in CASES],
)
def test_two_learners_are_one_on_the_joined_minibatches(ray, ranks, name):
    case, calls = case_of(name)
    one, _ = learn(case, calls)
    (first, _), (second, _) = together(ray, ranks, case, calls)
    assert_near(first, second, rtol=0.0)
    assert_near(one, first, rtol=1e-3, atol=2e-5)
    fresh, _ = learn(case, [])
    weights = [key for key in fresh if key[0] == "weights" and key[2].startswith("critic")]
    assert max(np.abs(one[key] - fresh[key]).max() for key in weights) > 1e-3


def test_draws_are_each_learners_own_and_come_again(ray, ranks):
    case, calls = case_of("BiAC", actor_loss="gumbel_softmax", response="sampled")
    runs = [together(ray, ranks, case, calls) for _ in range(2)]
    (first, seed), (second, other_seed) = runs[0]
    assert seed != other_seed
    assert_near(first, second, rtol=0.0)
    assert_near(first, runs[1][0][0], rtol=0.0)


@pytest.mark.slow
def test_two_learners_number_the_states_alike_and_keep_to_one_commitment(ray, ranks):
    settings = {"mixed": True, "search_every": 4, "num_candidates": 64}
    CASES["CommitmentDQN"] = (TwoStates, LEVELS, settings)
    try:
        case, calls = case_of("CommitmentDQN")
    finally:
        del CASES["CommitmentDQN"]
    (first, seed), (second, other_seed) = together(ray, ranks, case, calls)
    assert seed != other_seed
    assert_near(first, second, rtol=0.0)
    states, starts = (first["weights", "one", name] for name in ("states", "starts"))
    every = np.unique(np.concatenate([rows.columns["state"] for rows in calls]), axis=0)
    np.testing.assert_array_equal(np.unique(states[: len(every)], axis=0), every)
    assert first["weights", "one", "count"] == len(every) and first["weights", "one", "searches"] > 0
    assert starts.sum() == sum(rows.columns["start"].sum() for rows in calls)
    assert first["weights", "one", "counts"].sum() == sum(len(rows.columns["start"]) for rows in calls)


def test_without_a_seed_all_start_alike(ray, ranks):
    (first, _), (second, _) = together(ray, ranks, *case_of("BiAC"), seed=None)
    assert_near(first, second, rtol=0.0)


def test_a_table_is_not_shared():
    settings = BiLevelQConfig().environment("escape_v0").hierarchy([["player_0"], ["player_1"]])
    with pytest.raises(ValueError, match="num_learners: 2: a table takes"):
        settings.learners(num_learners=2).validate()


def trained(num_learners, rows_each):
    """The whole algorithm: weights and optimizers after 75 updates of 64 rows on uniformly random play."""
    configured = config(train_batch_size_per_learner=rows_each, training_intensity=16, normalize_observations=True)
    configured.env_runners(epsilon=1.0).learners(num_learners=num_learners, num_cpus_per_learner=0.5)
    algo = configured.build_algo()
    for _ in range(2):
        result = algo.train()
    state = algo.learner_group.get_state()["learner"]
    algo.stop()
    assert result["learners"]["__all_modules__"]["num_updates_lifetime"] > 50
    return dict(tree.flatten_with_path({"rl_module": state["rl_module"], "losses": state["trainer"]["losses"]}))


@pytest.mark.slow
def test_num_learners_2_trains_as_one_learner_does(ray):
    assert_near(trained(0, 64), trained(2, 32), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("num_learners", [1, 2, 4])
def test_each_learner_gets_its_part_of_every_minibatch(num_learners):
    columns = {"terminated": np.zeros(24, bool), "at": np.arange(24), ("obs", "a"): np.arange(48).reshape(24, 2)}
    shares = shares_of_minibatches(JointTransitions(columns, 2), 3, num_learners)
    assert [len(share) for share in shares] == [24 // num_learners] * num_learners
    size = 8 // num_learners  # of its part
    for k in range(3):
        parts = [share.columns["at"][k * size : (k + 1) * size] for share in shares]
        assert sorted(np.concatenate(parts)) == list(range(8 * k, 8 * k + 8))
    for share in shares:
        np.testing.assert_array_equal(share.columns["obs", "a"][:, 0], 2 * share.columns["at"])
