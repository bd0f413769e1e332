"""Several hypotheses: what commitments are worth, which fixed point is reached, and that nothing else changes."""

import numpy as np
import pytest
import torch

from rllib_biac import BiACConfig
from rllib_biac.algorithms.biac.biac import BiAC
from rllib_biac.algorithms.biac.hypotheses_rl_module import HypothesesFollower, HypothesesLeader
from rllib_biac.core.learner import as_multi_agent_batch
from rllib_biac.core.play import greedy, load
from rllib_biac.envs.two_state_v0 import DISCOUNT
from rllib_biac.execution import StackelbergPolicy
from tests.core.games import Masked, learner_of

PLAYERS = ("player_0", "player_1")
STATE = np.ones((1, 1), np.float32)


def config(num_hypotheses, env="two_state_v0", players=PLAYERS, **training):
    training = {"gamma": DISCOUNT, "tau": 0.05, "updates_per_round": 300, "training_intensity": 32.0} | training
    return (
        BiACConfig()
        .environment(env)
        .hierarchy([[player] for player in players])
        .training(num_hypotheses=num_hypotheses, **training)
        .rl_module(model_config={"fcnet_hiddens": [32, 32]})
        .debugging(seed=0, log_level="ERROR")
    )


def train(configured, iterations):
    algo = configured.build_algo()
    for _ in range(iterations):
        algo.train()
    return algo


@pytest.fixture(scope="module")
def checkpoint(ray, tmp_path_factory):
    """Of three hypotheses after an iteration."""
    algo = train(config(3), 1)
    yield algo.save_to_path(str(tmp_path_factory.mktemp("saved")))
    algo.stop()


@pytest.fixture
def three(checkpoint):
    """Three hypotheses after an iteration."""
    algo = BiAC.from_checkpoint(checkpoint)
    yield algo
    algo.stop()


def everything(algo):
    module = learner_of(algo).module
    return {(a, key): v.clone() for a in PLAYERS for key, v in module[a].unwrapped().state_dict().items()}


def played(algo):
    return tuple(int(a[0]) for a in greedy(algo.env_runner.module, STATE).values())


def test_the_best_fixed_point_is_reached_where_the_published_form_is_misled(ray, tmp_path):
    published = train(config(1), 2)
    assert played(published) == (0, 1)  # A-B, worth (0, 10)
    algo = train(config(3), 2)
    assert played(algo) == (1, 0)  # B-A, worth (10, 0)
    table = learner_of(algo).module.q_tables(torch.ones(1, 1))["player_0"][0].detach()
    assert table[1, 0] == pytest.approx(10, abs=0.5) and table[1, 1] == pytest.approx(-1 + 0.9 * 10, abs=0.5)

    # What is selected is what a checkpoint plays, with Ray and without.
    path = algo.save_to_path(str(tmp_path / "saved"))
    assert tuple(int(a[0]) for a in load(path)[1].act(torch.ones(1, 1)).values()) == (1, 0)
    assert StackelbergPolicy.load(path).act(np.ones(1)) == {"player_0": 1, "player_1": 0}
    for each in (published, algo):
        each.stop()


def test_a_commitment_is_worth_what_the_follower_s_best_response_makes_it(ray):
    """Always A: the follower ends it by B, 0 / 10. Always B: the follower ends it by A, 10 / 0."""
    algo = train(config(3, updates_per_round=100_000), 2)
    learner = learner_of(algo)
    commitments = learner._committed_actions(torch.ones(1, 1), None).squeeze(1)
    assert sorted(commitments.tolist()) == [0, 1]  # each unlike the others
    rewards, goes_on = torch.tensor([[[0, 0], [10, -1]], [[0, 10], [0, -1]]]), torch.eye(2)
    with torch.no_grad():
        outputs = learner.forward(torch.ones(1, 1))
        tables = [learner._tables(outputs, player, "critic")[1:, 0] for player in PLAYERS]
        for i, player in enumerate(PLAYERS):
            mean, std = (x[1:].unsqueeze(2) for x in learner._normaliser(player))
            worth = torch.tensor([[0.0, 10.0], [10.0, 0.0]])[commitments, i].view(2, 1, 1)
            exact = rewards[i] + DISCOUNT * goes_on * worth
            torch.testing.assert_close(tables[i] * std + mean, exact, atol=0.6, rtol=0)
    algo.stop()


def test_selecting_a_hypothesis_exchanges_it_with_the_one_played(three):
    learner = learner_of(three)
    before = everything(three)
    q = learner.forward(torch.ones(1, 1))
    adam = learner._adam("player_1", "actor_2")["exp_avg"].clone()
    learner._swap(2)
    after = learner.forward(torch.ones(1, 1))
    for agent in PLAYERS:
        torch.testing.assert_close(after[agent, "critic"], q[agent, "critic_2"])
        torch.testing.assert_close(after[agent, "critic_1"], q[agent, "critic_1"])
        module = learner.agent_module(agent)
        assert (
            module.q_std == before[agent, "challengers_std"][1] and module.challengers_std[1] == before[agent, "q_std"]
        )
    torch.testing.assert_close(learner._adam("player_1", "actor")["exp_avg"], adam)
    learner._swap(2)
    for key, value in everything(three).items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_normalisers_change_units_and_not_what_any_hypothesis_says(three):
    learner = learner_of(three)
    rows = learner._to_tensors(as_multi_agent_batch(three.local_replay_buffer.sample(512), PLAYERS))
    for player in PLAYERS:
        rows["rewards", player] = 3.0 * rows["rewards", player] + 1.0  # so that there is something to change

    def said():
        outputs = learner.forward(torch.ones(1, 1))
        tables = {player: learner._tables(outputs, player, "critic").flatten(1) for player in PLAYERS}
        return [std * tables[player] + mean for player in PLAYERS for mean, std in [learner._normaliser(player)]]

    before, units = said(), [learner._normaliser(player) for player in PLAYERS]
    learner._normalise_targets(rows)
    torch.testing.assert_close(said(), before, atol=1e-4, rtol=1e-4)
    for old, player in zip(units, PLAYERS, strict=True):
        assert (learner._normaliser(player)[1] != old[1]).all()


def test_answers_are_the_critics_where_an_actor_is_sure_of_others(three):
    learner = learner_of(three)
    networks = learner.agent_module("player_1").networks()
    with torch.no_grad():
        for name in ("actor", "actor_1", "actor_2"):  # A, whatever the leader does
            networks[name].layers[-1].weight.zero_()
            networks[name].layers[-1].bias.copy_(torch.tensor([100.0, -100.0, 100.0, -100.0]))
        for name in ("critic", "critic_1", "critic_2"):  # B is better
            networks[name].layers[-1].weight.zero_()
            networks[name].layers[-1].bias.copy_(torch.tensor([0.0, 1.0, 0.0, 1.0]))
        outputs = learner.forward(torch.ones(1, 1))
        followers = learner.joint_play(outputs, None, None)[0].remainder(2).flatten().tolist()
        assert followers == [0, 1, 1]  # hypothesis 0 plays by its actor
        assert learner.joint_play(outputs, None, None, enumerated=True)[0].remainder(2).eq(1).all()
    # What hypothesis 0 plays is then not what its values are of: it counts as not at rest.
    learner._watched = {}
    learner._watch(learner._to_tensors(as_multi_agent_batch(three.local_replay_buffer.sample(64), PLAYERS)))
    assert learner._changed.tolist() == [1.0, 0.0, 0.0]
    # A new round's challengers prefer nothing.
    learner._commit(learner._to_tensors(as_multi_agent_batch(three.local_replay_buffer.sample(64), PLAYERS)))
    assert learner.forward(torch.ones(1, 1))["player_1", "actor_2"].eq(0).all()


def test_only_what_has_come_to_rest_is_selected(three):
    learner = learner_of(three)
    swapped = []
    learner._swap = swapped.append
    learner._watched, learner._num_looks, learner._num_starts = {"state": torch.ones(1, 1)}, 10, 1
    learner._start_values = torch.tensor([1.0, 50.0, 20.0])
    for changed, selected in (([0, 0, 0], [1]), ([0, 5, 0], [2]), ([5, 5, 0], [2]), ([0, 5, 5], []), ([5, 5, 5], [])):
        swapped.clear()
        learner._changed = torch.tensor(changed, dtype=torch.float64)
        learner._select()
        assert swapped == selected


@pytest.mark.parametrize("train_first", [1, 2])
def test_a_restored_run_goes_on_as_if_nothing_had_been(ray, tmp_path, train_first):
    # Rounds of 400 updates, 500 updates an iteration: saved in the middle of one, committed or watched.
    algo = train(config(3, env="maintain_v0", updates_per_round=400), train_first)
    restored = type(algo).from_checkpoint(algo.save_to_path(str(tmp_path / "saved")))
    for each in (algo, restored):
        each.train()
    one, two = everything(algo), everything(restored)
    for key, value in one.items():
        torch.testing.assert_close(value, two[key], rtol=0, atol=0)
    for each in (algo, restored):
        each.stop()


def test_one_hypothesis_is_the_published_form_and_several_play_it_until_one_is_better(ray):
    plain, one = (train(c, 1) for c in (config(1), config(1, updates_per_round=8)))
    assert type(learner_of(plain)).__name__ == "BiACLearner"
    a, b = everything(plain), everything(one)
    assert a.keys() == b.keys()
    for key, value in a.items():
        torch.testing.assert_close(value, b[key], rtol=0, atol=0)
    # Of several, hypothesis 0 learns from the same rows as it would alone.
    algo = train(config(3, updates_per_round=100_000), 1)
    learner, alone = learner_of(algo), learner_of(plain)
    for agent in PLAYERS:
        own = learner.agent_module(agent).state_dict()
        alone.agent_module(agent).load_state_dict({key: own[key] for key in alone.agent_module(agent).state_dict()})
    rows = learner._to_tensors(as_multi_agent_batch(algo.local_replay_buffer.sample(64), PLAYERS))
    rows |= learner.more_columns(rows)
    losses = [each.compute_losses(fwd_out=each.forward(rows["state"]), batch=rows) for each in (learner, alone)]
    for key, value in losses[1].items():
        torch.testing.assert_close(losses[0][key], value)
    for each in (plain, one, algo):
        each.stop()


@pytest.mark.parametrize("on", ["joint", "stock"])
def test_masked_actions_and_either_runner(ray, on):
    configured = config(3, env=Masked, players=("one", "two"), updates_per_round=40).env_runners(env_runner_cls=on)
    algo = train(configured.reporting(min_sample_timesteps_per_iteration=300), 2)
    learner = learner_of(algo)
    mask = torch.tensor([[False, True, False]])
    committed = learner._committed_actions(torch.ones(1, learner.agent_module("one").state_shape[0]), mask)
    assert committed.tolist() == [[1], [1]]
    starts = algo.local_replay_buffer.columns["start"][: len(algo.local_replay_buffer)]
    assert starts.any() and len(learner._policies) == 2
    algo.stop()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_hypotheses": 0}, "num_hypotheses: 0 must be a whole number at least 1"),
        ({"num_hypotheses": 2.5}, "num_hypotheses"),
        ({"updates_per_round": 3}, "updates_per_round: 3 must be a whole number at least 8"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        config(3).training(**settings).validate()


def test_hypotheses_are_for_one_leader_and_one_follower():
    with pytest.raises(ValueError, match="num_hypotheses: 3 is for one leader and one follower"):
        config(3, env="stackelberg_duopoly_v0", players=("firm_0", "firm_1")).validate()
    with pytest.raises(ValueError, match="compared by one learner"):
        config(3).learners(num_learners=2).validate()

    class Own(HypothesesFollower):
        pass

    config(3).rl_module(follower_module_class=Own).validate()
    published = HypothesesLeader.__mro__[1]

    class Alone(published):
        pass

    with pytest.raises(ValueError, match="make it a subclass of HypothesesLeader"):
        config(3).rl_module(leader_module_class=Alone).validate()
