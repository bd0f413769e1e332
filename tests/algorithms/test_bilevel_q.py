"""Tabular bi-level Q-learning as an RLlib algorithm, against its plain form and exact fixed points."""

import numpy as np
import pytest
import torch

from rllib_biac import BiLevelQConfig
from rllib_biac.algorithms.bilevel_q.bilevel_q_learner import equilibrium
from rllib_biac.core.learner import as_multi_agent_batch
from rllib_biac.core.play import load, regret
from rllib_biac.envs.two_state_v0 import DISCOUNT, REWARDS, TRANSITIONS
from rllib_biac.equilibria import MarkovGame, feedback_se, stackelberg
from tests.core.games import Masked, TwoStates, learner_of

PLAYERS = ("player_0", "player_1")


def tables(env, players=PLAYERS, **training):
    return (
        BiLevelQConfig()
        .environment(env)
        .hierarchy([[player] for player in players])
        .training(**training)
        .reporting(min_sample_timesteps_per_iteration=500)
        .debugging(seed=0, log_level="ERROR")
    )


def train(configured, iterations=4):
    algo = configured.build_algo()
    for _ in range(iterations):
        algo.train()
    return algo


def q_of(algo, state):
    q = learner_of(algo).module.q_tables(torch.as_tensor(state, dtype=torch.float32))
    return [values.numpy() for values in q.values()]


def test_play_is_the_exact_equilibrium_of_the_tables():
    rng = np.random.default_rng(0)
    for _ in range(50):
        q = rng.standard_normal((2, 3, 4))
        exact = stackelberg(q)
        assert equilibrium(*q) == (exact.leader_action, exact.follower_action)


def update(q, state, a1, a2, rewards, next_state, terminated, alpha, gamma):
    """The plain form (Eqs. 8-11) on tables (2, |S|, |A_1|, |A_2|)."""
    target = np.array(rewards)
    if not terminated:
        responses = q[1, next_state].argmax(1)
        b1 = q[0, next_state][np.arange(len(responses)), responses].argmax()
        target = target + gamma * q[:, next_state, b1, responses[b1]]
    q[:, state, a1, a2] += alpha * (target - q[:, state, a1, a2])


def test_every_update_is_that_of_the_plain_tables(ray):
    algo = train(tables("two_state_v0", gamma=0.9), 1)
    learner = learner_of(algo)
    module = [learner.agent_module(player) for player in PLAYERS]
    plain = np.stack([own.q[:2].numpy() for own in module])  # state 0 and what comes after the end
    rows = algo.local_replay_buffer.sample(60)
    learner.update(as_multi_agent_batch(rows, PLAYERS), timesteps={})
    column = rows.columns
    here = module[0].rows(torch.from_numpy(column["state"])).tolist()
    after = module[0].rows(torch.from_numpy(column["next_state"])).tolist()
    for k in range(60):
        a1, a2 = (int(column["actions", player][k]) for player in PLAYERS)
        r = tuple(float(column["rewards", player][k]) for player in PLAYERS)
        update(plain, here[k], a1, a2, r, after[k], column["terminated"][k], alpha=0.1, gamma=0.9)
    for i in range(2):
        np.testing.assert_allclose(module[i].q[:2].numpy(), plain[i], atol=1e-12)
    algo.stop()


@pytest.mark.parametrize("on", ["joint", "stock"])
def test_values_go_back_through_states(ray, on):
    """The SE is a_1 = a_2 = 1 in both states; the last is worth 4.5 and 3."""
    configured = tables(TwoStates, ("one", "two"), gamma=0.5).env_runners(epsilon=1.0, env_runner_cls=on)
    algo = train(configured)
    q1, q2 = q_of(algo, np.eye(2))
    np.testing.assert_allclose(q1[1], [[2, 4], [2.5, 4.5]], atol=0.01)
    np.testing.assert_allclose(q1[0], np.array([[1, 1], [2, 2]]) + 0.5 * 4.5, atol=0.05)
    np.testing.assert_allclose(q2[0], np.eye(2) + 0.5 * 3, atol=0.05)
    algo.stop()


def test_it_ends_at_one_of_the_exact_fixed_points(ray):
    algo = train(tables("two_state_v0", gamma=DISCOUNT))
    exact = feedback_se(MarkovGame(REWARDS, TRANSITIONS, DISCOUNT))
    assert len(exact) == 2
    learned = regret(algo.config, learner_of(algo).module)
    values = list(zip(exact.leader_value[:, 0], exact.follower_value[:, 0], strict=True))
    assert any(np.allclose((learned.leader_value[0], learned.follower_value[0]), value) for value in values)
    assert learned.is_feedback_se
    algo.stop()


def test_forbidden_actions_are_never_taken(ray):
    """The game raises at a forbidden action."""
    train(tables(Masked, ("one", "two"), gamma=0.0), 1).stop()


def test_a_checkpoint_plays_on(ray, tmp_path):
    algo = train(tables("maintain_v0"), 2)
    checkpoint = algo.save_to_path(str(tmp_path))
    before = [table.copy() for table in q_of(algo, [[1.0]])]
    other = tables("maintain_v0").build_algo()
    other.restore_from_path(checkpoint)
    for one, two in zip(before, q_of(other, [[1.0]]), strict=True):
        np.testing.assert_array_equal(one, two)
    algo.train(), other.train()
    for one, two in zip(q_of(algo, [[1.0]]), q_of(other, [[1.0]]), strict=True):
        np.testing.assert_array_equal(one, two)
    _, module = load(checkpoint)
    played = module.act(torch.ones(1, 1))
    assert [int(played[player][0]) for player in PLAYERS] == [0, 0]
    algo.stop()
    other.stop()


def test_more_states_than_rows_are_refused(ray):
    algo = tables("merge_v0", ("main_0", "auxiliary_0"), max_states=50).build_algo()
    with pytest.raises(ValueError, match="more than 50 states: raise max_states"):
        algo.train()
    algo.stop()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.training(normalize_targets=True), "leave normalize_targets"),
        (lambda c: c.rl_module(model_config={"fcnet_hiddens": [8]}), "tables, no networks"),
        (lambda c: c.training(lr=1.5), r"must stay within \[0.0, 1.0\]"),
        (lambda c: c.training(max_states=0), "max_states: 0 must be a whole number at least 1"),
        (lambda c: c.hierarchy([list(PLAYERS)]), "one leader and one follower"),
    ],
)
def test_what_tables_cannot_do_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        change(tables("escape_v0")).validate()
