"""What docs/theory.md says of the convergence proof: where its assumptions hold, and what fails without them."""

import numpy as np
import pytest

from rllib_biac.envs.matrix_game import ESCAPE, MAINTAIN
from rllib_biac.envs.merge.exact import merge_equilibrium
from rllib_biac.equilibria import (
    MarkovGame,
    commitment_se,
    feedback_se,
    hierarchy_se,
    mixed_commitment,
    pure_nash,
    secured,
    stackelberg,
)
from rllib_biac.equilibria.feedback import backup

A, B, C = X, Y, Z = 0, 1, 2


def global_optima(payoffs):
    """Cells in which every player has its highest payoff (paper, Eq. 28; Hu & Wellman's condition A)."""
    return (payoffs == payoffs.max((1, 2), keepdims=True)).all(0)


def saddle_points(payoffs):
    """Pure NE at which no player is worse off if the other deviates (Hu & Wellman's condition B)."""
    unharmed = (payoffs[0] <= payoffs[0].min(1, keepdims=True)) & (payoffs[1] <= payoffs[1].min(0, keepdims=True))
    return pure_nash(payoffs) & unharmed


def test_escape_has_a_global_optimum():
    assert np.argwhere(global_optima(ESCAPE)).tolist() == [[C, Z]]
    assert not saddle_points(ESCAPE).any()


def test_maintain_has_neither_a_global_optimum_nor_a_saddle_point():
    assert not global_optima(MAINTAIN).any() and not saddle_points(MAINTAIN).any()
    best = [np.unravel_index(table.argmax(), table.shape) for table in MAINTAIN]
    assert best == [(B, X), (A, X)]  # 30 to the leader, who has 20 in the SE; 15 to the follower, who has it there too
    assert not pure_nash(MAINTAIN)[A, X]


def test_no_mixed_nash_equilibrium_of_maintain_is_a_saddle_point_either():
    """B weakly dominates A, and a mixture of Y and Z strictly dominates X once A is gone: one mixed NE is left."""
    leader, follower = np.array([0, 2 / 3, 1 / 3]), np.array([0, 1 / 3, 2 / 3])
    leads, follows = MAINTAIN
    value = leader @ leads @ follower
    assert leads @ follower == pytest.approx([0, value, value]) and value == pytest.approx(10 / 3)
    assert leader @ follows == pytest.approx([0, 10 / 3, 10 / 3])
    assert (leader @ leads)[Z] < value  # the leader is worse off if the follower deviates to Z


def test_merge_has_no_global_optimum_at_the_start():
    speeds = np.random.default_rng(0).uniform(30, 40, (2, 10))
    q = merge_equilibrium(np.column_stack([np.full(10, 215), speeds[0], np.full(10, 215), speeds[1]])).q
    for tables in zip(q["main_0"], q["auxiliary_0"], strict=True):
        assert not global_optima(np.stack(tables)).any()


def test_with_a_global_optimum_each_agent_just_takes_its_own_maximum():
    """Then the bi-level backup is ordinary Q-learning over joint actions, and contracts as that does (Lemma 4)."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        tables = rng.random((2, 2, 4, 3))  # two estimates of (Q_1, Q_2), each with a global optimum
        for one in tables:
            one[:, rng.integers(4), rng.integers(3)] = 1 + rng.random(2)
        values = np.array([[(s := stackelberg(one)).leader_payoff, s.follower_payoff] for one in tables])
        np.testing.assert_array_equal(values, tables.max((2, 3)))
        assert np.abs(values[0] - values[1]).max() <= np.abs(tables[0] - tables[1]).max()


def test_without_one_the_backup_is_no_contraction():
    """A change of the follower's table by 2e-6 moves the leader's value by 10 (Lemma 4 does not hold in general)."""
    before = np.array([[[0.0, 10.0]], [[1e-6, 0.0]]])
    after = before + np.array([[[0.0, 0.0]], [[-2e-6, 0.0]]])
    assert stackelberg(before).leader_payoff == 0 and stackelberg(after).leader_payoff == 10


def test_the_supplements_fixed_points_are_incompatible_with_a_contraction():
    rewards = np.array([[[[0, 0], [10, -1]]], [[[0, 10], [0, -1]]]], float)
    moves = np.eye(2)[None, ..., None]
    for values in ([[0.0], [10.0]], [[10.0], [0.0]]):
        swept, *_ = backup(rewards, moves, 0.9, np.array(values))
        np.testing.assert_allclose(swept, values)


@pytest.mark.parametrize(("sign", "value"), [(-1, lambda table: table.min(1).max()), (1, np.max)])
def test_opposed_interests_give_maximin_and_common_ones_the_global_maximum(sign, value):
    """In pure strategies, by both solvers; with mixed commitment the former is at least as much."""
    for table in np.random.default_rng(0).standard_normal((30, 4, 5)):
        payoffs = np.stack([table, sign * table])
        assert stackelberg(payoffs).leader_payoff == value(table)
        assert hierarchy_se(payoffs, [[0], [1]]).payoff_range[0].tolist() == [value(table)] * 2
        assert mixed_commitment(payoffs).leader_payoff >= value(table) - 1e-9


def three_states():
    """The running example of "Committing to a whole policy"."""
    rewards, transitions = np.zeros((2, 3, 2, 3)), np.zeros((3, 2, 3, 3))
    transitions[A, :, 0, A] = transitions[A, :, 1, B] = transitions[A, :, 2, C] = 1
    transitions[B, 0, 0, A] = transitions[B, 0, 1, B] = transitions[B, 0, 2, C] = transitions[B, 1, :, A] = 1
    transitions[C, :, 0, A] = transitions[C, :, 1:, C] = 1
    rewards[0, A, :, 1] = rewards[1, A, :, 1:] = 1
    rewards[1, B, 1], rewards[1, B, 0, 2] = -1, 2
    return MarkovGame(rewards, transitions, 0.99)


@pytest.mark.parametrize("announced", [False, True])
def test_committing_to_a_whole_policy_pays_and_mixing_pays_more_up_to_a_cliff(announced):
    game = three_states()
    assert (feedback_se(game).leader_value[:, A] == 0).all() and len(feedback_se(game).leader_value) == 12
    assert commitment_se(game).leader_payoff == pytest.approx(1 / (1 - 0.99**3))  # A, B, C and so on: 33.7
    found = []
    for p in (0.0, 0.59, 0.6 - 1e-6, 0.61):
        policy = [[1, 0], [1 - p, p], [1, 0]]
        found.append(secured(game, policy, announced=announced).leader_payoff)
    assert found == pytest.approx([33.67, 41.82, 41.98, 0], abs=0.02)
