"""Tabular bi-level Q-learning, against its plain form and exact fixed points."""

import numpy as np
import pytest
import torch

from rllib_biac.algorithms.bilevel_q import BiLevelQ
from rllib_biac.algorithms.bilevel_q.trainer import equilibrium
from rllib_biac.envs.two_state_v0 import DISCOUNT, REWARDS, TRANSITIONS
from rllib_biac.equilibria import MarkovGame, feedback_se, stackelberg
from rllib_biac.evaluation import Trained, greedy, regret
from rllib_biac.learning.model_config import MODEL_DEFAULTS
from rllib_biac.learning.team import copy_weights
from tests.games import Masked, TwoStates
from tests.training import Run, checked

PLAYERS = ("player_0", "player_1")


def tables(env, players=PLAYERS, **settings):
    own = {"training_intensity": 1.0, "num_steps_sampled_before_learning_starts": 100, "model_config": MODEL_DEFAULTS}
    return Run(BiLevelQ, env, [[player] for player in players], num_games=25, **own | settings)


def q_of(run, state):
    q = run.team.q_tables(torch.as_tensor(state, dtype=torch.float32))
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


def test_every_update_is_that_of_the_plain_tables():
    run = tables("two_state_v0", gamma=0.9).train(500)
    one, two = (run.team[player] for player in PLAYERS)
    for own in (one, two):
        own.q[:2].normal_(generator=torch.Generator().manual_seed(own.q.shape[1]))
    two.q[:2].neg_()  # what is best for the one is worst for the other
    plain = np.stack([own.q[:2].numpy() for own in (one, two)])  # state 0 and what comes after the end
    rows = run.replay.sample(60)
    run.update(rows)
    column = rows.columns
    here = one.rows(torch.from_numpy(column["state"])).tolist()
    after = one.rows(torch.from_numpy(column["next_state"])).tolist()
    for k in range(60):
        a1, a2 = (int(column["actions", player][k]) for player in PLAYERS)
        r = tuple(float(column["rewards", player][k]) for player in PLAYERS)
        update(plain, here[k], a1, a2, r, after[k], column["terminated"][k], alpha=0.1, gamma=0.9)
    for own, expected in zip((one, two), plain, strict=True):
        np.testing.assert_allclose(own.q[:2].numpy(), expected, atol=1e-12)


def test_values_go_back_through_states():
    """The SE is a_1 = a_2 = 1 in both states; the last is worth 4.5 and 3."""
    run = tables(TwoStates, ("one", "two"), gamma=0.5, epsilon=1.0).train(2000)
    q1, q2 = q_of(run, np.eye(2))
    np.testing.assert_allclose(q1[1], [[2, 4], [2.5, 4.5]], atol=0.01)
    np.testing.assert_allclose(q1[0], np.array([[1, 1], [2, 2]]) + 0.5 * 4.5, atol=0.05)
    np.testing.assert_allclose(q2[0], np.eye(2) + 0.5 * 3, atol=0.05)


def test_it_ends_at_one_of_the_exact_fixed_points():
    run = tables("two_state_v0", gamma=DISCOUNT).train(2000)
    exact = feedback_se(MarkovGame(REWARDS, TRANSITIONS, DISCOUNT))
    assert len(exact) == 2
    learned = regret(Trained(run.team, "two_state_v0"))
    values = list(zip(exact.leader_value[:, 0], exact.follower_value[:, 0], strict=True))
    assert any(np.allclose((learned.leader_value[0], learned.follower_value[0]), value) for value in values)
    assert learned.is_feedback_se


def test_forbidden_actions_are_never_taken():
    """The game raises at a forbidden action."""
    tables(Masked, ("one", "two"), gamma=0.0).train(500)


def test_restored_tables_play_on():
    run, other = tables("maintain_v0").train(1000), tables("maintain_v0", seed=1)
    other.take_over(run.learned())
    rows = run.replay.sample(250)
    for each in (run, other):
        before = q_of(each, [[1.0]])
        each.update(rows, 25)
        assert any((one != two).any() for one, two in zip(before, q_of(each, [[1.0]]), strict=True))
    np.testing.assert_array_equal(q_of(run, [[1.0]]), q_of(other, [[1.0]]))
    played = greedy(other.team, np.ones((1, 1), np.float32))
    assert [int(played[player][0]) for player in PLAYERS] == [0, 0]


def test_tables_that_met_states_in_another_order_take_over_those_of_another_run():
    """Weights are copied into tables that have learned something else; both met the same state last."""
    one, other = (tables(TwoStates, ("one", "two")).team for _ in range(2))
    states = torch.arange(12.0).view(6, 2)
    for team, met in ((one, states), (other, states[[3, 2, 1, 0, 4, 5]])):
        for table in (team["one"], team["two"]):
            table.q[table.rows(met, add=True)] = met.sum(1).double()[:, None, None]
    copy_weights(one, other)
    for table in (other["one"], other["two"]):
        assert (table.q_values(states) == states.sum(1)[:, None, None]).all()


def test_more_states_than_rows_are_refused():
    run = tables("merge_v0", ("main_0", "auxiliary_0"), max_states=50)
    with pytest.raises(ValueError, match="more than 50 states: raise max_states"):
        run.train(500)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"normalize_targets": True}, "leave normalize_targets"),
        ({"model_config": MODEL_DEFAULTS | {"fcnet_hiddens": [8]}}, "tables, no networks"),
        ({"lr": 1.5}, r"must stay within \[0.0, 1.0\]"),
        ({"max_states": 0}, "max_states: 0 must be a whole number at least 1"),
        ({"num_learners": 2}, "a table takes its transitions one after the other"),
    ],
)
def test_what_tables_cannot_do_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        checked(BiLevelQ, [["player_0"], ["player_1"]], **settings)


def test_peers_are_refused():
    with pytest.raises(ValueError, match="one leader and one follower"):
        Run(BiLevelQ, "escape_v0", [list(PLAYERS)], training_intensity=1.0, model_config=MODEL_DEFAULTS)
