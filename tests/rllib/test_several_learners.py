"""Several learners do together what one does on the joined minibatches."""

import socket

import numpy as np
import pytest
import torch
import tree
from torch import distributed

from rllib_biac.algorithms import REGISTRY
from rllib_biac.algorithms.dqn.dqn_learner import LENIENCY
from rllib_biac.core.learner import as_multi_agent_batch, shares_of_minibatches
from rllib_biac.core.transitions import JointTransitions
from tests.core.games import Kinds, Masked, Navigation, TwoStates, config

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

    def learn(self, configured, spec, calls):
        return learn(configured, spec, calls, self.rank)


@pytest.fixture(scope="module")
def ranks(ray):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = [ray.remote(Rank).options(num_cpus=0.5).remote(rank, port) for rank in range(2)]
    yield both
    for each in both:
        ray.kill(each)


def learn(configured, spec, calls, index=0):
    """Trains a Learner; returns its weights, optimizers and statistics, and the seed of its last call."""
    learner = configured.get_default_learner_class()(config=configured, module_spec=spec)
    learner._learner_index = index
    learner.build()
    for rows in calls:
        batch = as_multi_agent_batch(rows, tuple(configured.policies))
        learner.update(batch=batch, minibatch_size=len(rows) // NUM_MINIBATCHES)
    state = learner.get_state()
    own = state["joint_learner"]
    inputs = {str(key): moments for key, moments in own["inputs"].items()}
    parts = {"rl_module": state["rl_module"], "optimizer": state["optimizer"]}
    parts |= {"targets": own["targets"], "inputs": inputs, "num_updates": own["num_updates"]}
    return dict(tree.flatten_with_path(parts)), learner.generator.initial_seed()


def case(name, seed=0, **more):
    """A config, its modules, and the rows of each call, in the columns that the algorithm learns from."""
    game, levels, settings = CASES[name]
    configured = REGISTRY[name.partition(",")[0]]()
    configured.environment(game).hierarchy(levels).training(**settings | more).debugging(seed=seed)
    configured.env_runners(num_envs_per_env_runner=16, epsilon=1.0).rl_module(model_config={"fcnet_hiddens": [16, 16]})
    configured.validate()
    runner = configured.env_runner_cls(config=configured, worker_index=0)
    num_rows = NUM_MINIBATCHES * SIZE  # a multiple of the games that are played at once
    calls = [runner.sample(num_timesteps=num_rows)[0] for _ in range(NUM_CALLS)]
    if name == "LenientDQN":
        rng = np.random.default_rng(0)
        for rows in calls:
            rows.columns.update({(LENIENCY, agent): rng.integers(2, size=num_rows) * 1.0 for agent in levels[0]})
    return configured, configured.get_multi_rl_module_spec(spaces=runner.get_spaces()), calls


def together(ray, ranks, configured, spec, calls):
    """What both learners hold in the end, each having had its share of the minibatches."""
    configured = configured.copy(copy_frozen=False).learners(num_learners=2)
    shares = [shares_of_minibatches(rows, NUM_MINIBATCHES, 2) for rows in calls]
    return ray.get([rank.learn.remote(configured, spec, [own[i] for own in shares]) for i, rank in enumerate(ranks)])


def assert_near(one, other, **tolerance):
    assert one.keys() == other.keys()
    for key, value in one.items():
        if np.asarray(value).dtype.kind in "fiu":
            np.testing.assert_allclose(np.asarray(other[key]), np.asarray(value), err_msg=str(key), **tolerance)


def test_every_algorithm_has_a_case():
    assert {name.partition(",")[0] for name in CASES} == REGISTRY.keys() - {"BiLevelQ"}


@pytest.mark.parametrize("name", CASES)
def test_two_learners_are_one_on_the_joined_minibatches(ray, ranks, name):
    one, _ = learn(*case(name))
    (first, _), (second, _) = together(ray, ranks, *case(name))
    assert_near(first, second, rtol=0.0)
    assert_near(one, first, rtol=1e-3, atol=2e-5)
    fresh, _ = learn(*case(name)[:2], [])
    weights = [key for key in fresh if key[0] == "rl_module" and key[-1].startswith("critic")]
    assert max(np.abs(one[key] - fresh[key]).max() for key in weights) > 1e-3


def test_draws_are_each_learners_own_and_come_again(ray, ranks):
    runs = [together(ray, ranks, *case("BiAC", actor_loss="gumbel_softmax", response="sampled")) for _ in range(2)]
    (first, seed), (second, other_seed) = runs[0]
    assert seed != other_seed
    assert_near(first, second, rtol=0.0)
    assert_near(first, runs[1][0][0], rtol=0.0)


def test_without_a_seed_all_start_alike(ray, ranks):
    (first, _), (second, _) = together(ray, ranks, *case("BiAC", seed=None))
    assert_near(first, second, rtol=0.0)


def test_a_table_is_not_shared():
    settings = REGISTRY["BiLevelQ"]().environment("escape_v0").hierarchy([["player_0"], ["player_1"]])
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
    return dict(tree.flatten_with_path({key: state[key] for key in ("rl_module", "optimizer")}))


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
