"""Any hierarchy of levels: backward induction, peers at NE, and games in which they have none."""

import itertools

import numpy as np
import pytest

from rllib_biac.envs.matrix_game import ESCAPE, MAINTAIN
from rllib_biac.equilibria import hierarchy_se, pure_nash, pure_nash_n, stackelberg
from rllib_biac.equilibria.feedback import stage_equilibria

PENNIES = np.array([[[1, -1], [-1, 1]], [[-1, 1], [1, -1]]])  # matching pennies: no pure NE


def outcomes_by_strategies(payoffs, hierarchy):
    """All SE outcomes, by trying every strategy: at each level a joint action for every joint action above it."""
    sizes = payoffs.shape[1:]
    histories, choices = [[()]], []
    for level in hierarchy:
        choices.append(list(itertools.product(*(range(sizes[agent]) for agent in level))))
        histories.append([above + own for above in histories[-1] for own in choices[-1]])

    def play(strategy, history, depth):
        for level in range(depth, len(hierarchy)):
            history = history + strategy[level][history]
        order = [agent for level in hierarchy for agent in level]
        return tuple(history[order.index(agent)] for agent in range(len(sizes)))

    found = set()
    for flat in itertools.product(
        *(itertools.product(choices[d], repeat=len(histories[d])) for d in range(len(choices)))
    ):
        strategy = [dict(zip(histories[depth], answers, strict=True)) for depth, answers in enumerate(flat)]
        content = all(
            payoffs[(agent, *play(strategy, history + own, depth + 1))]
            >= payoffs[(agent, *play(strategy, history + own[:i] + (other,) + own[i + 1 :], depth + 1))]
            for depth, level in enumerate(hierarchy)
            for history in histories[depth]
            for own in [strategy[depth][history]]
            for i, agent in enumerate(level)
            for other in range(sizes[agent])
        )
        if content:
            found.add(play(strategy, (), 0))
    return found


def cells(mask):
    return {tuple(cell) for cell in np.argwhere(mask).tolist()}


@pytest.mark.parametrize("hierarchy", [[[0], [1]], [[1], [0]]])
def test_two_levels_of_one_are_the_two_player_se(hierarchy):
    leader = hierarchy[0][0]
    for payoffs in np.random.default_rng(0).standard_normal((50, 2, 4, 3)):
        solution, se = hierarchy_se(payoffs, hierarchy), stackelberg(payoffs, leader)
        joint = (int(se.leader_action), int(se.follower_action))[:: 1 if leader == 0 else -1]
        assert cells(solution.outcomes) == {joint} == {solution.optimistic} == {solution.pessimistic}
    for payoffs in np.random.default_rng(1).integers(0, 4, (50, 2, 3, 3)).astype(float):  # ties
        solution, se = hierarchy_se(payoffs, hierarchy), stackelberg(payoffs, leader)
        assert solution.payoff_range[leader].tolist() == [se.pessimistic, se.optimistic]
        assert payoffs[(leader, *solution.optimistic)] == se.optimistic
        assert payoffs[(leader, *solution.pessimistic)] == se.pessimistic
        if leader == 0:
            np.testing.assert_array_equal(solution.outcomes, stage_equilibria(payoffs))


@pytest.mark.parametrize("integers", [False, True])
@pytest.mark.parametrize(
    "hierarchy", [[[0], [1]], [[0, 1]], [[0, 1, 2]], [[0], [1, 2]], [[2, 0], [1]], [[0], [1], [2]], [[2], [0], [1]]]
)
def test_outcomes_equal_those_of_all_strategies(hierarchy, integers):
    n = sum(map(len, hierarchy))
    games = np.random.default_rng(0).standard_normal((12, n, *[2] * n))
    for payoffs in np.rint(1.5 * games) if integers else games:
        solution = hierarchy_se(payoffs, hierarchy)
        assert cells(solution.outcomes) == outcomes_by_strategies(payoffs, hierarchy)
        assert solution.exists == solution.outcomes.any()


def test_one_agent_per_level_is_backward_induction():
    for payoffs in np.random.default_rng(0).standard_normal((20, 3, 3, 4, 2)):

        def third(a, b, payoffs=payoffs):
            return (a, b, int(payoffs[2, a, b].argmax()))

        def second(a, payoffs=payoffs, third=third):
            return max((third(a, b) for b in range(4)), key=lambda joint: payoffs[(1, *joint)])

        expected = max((second(a) for a in range(3)), key=lambda joint, payoffs=payoffs: payoffs[(0, *joint)])
        assert hierarchy_se(payoffs, [[0], [1], [2]]).optimistic == expected


def test_one_level_is_nash():
    for payoffs in (ESCAPE, MAINTAIN, PENNIES):
        np.testing.assert_array_equal(pure_nash_n(payoffs), pure_nash(payoffs))
        np.testing.assert_array_equal(hierarchy_se(payoffs, [[0, 1]]).outcomes, pure_nash(payoffs))
    majority = np.array([[[[1, 0], [0, 0]], [[0, 0], [0, 1]]]] * 3)  # all get 1 if all do the same
    assert cells(pure_nash_n(majority)) == {(0, 0, 0), (1, 1, 1)}
    assert pure_nash_n(np.array([[3, 5, 5]])).tolist() == [False, True, True]


def test_peers_without_a_nash_equilibrium_leave_no_se():
    solution = hierarchy_se(PENNIES, [[0, 1]])
    assert not solution.exists and solution.optimistic is None and solution.pessimistic is None
    assert np.isnan(solution.payoff_range).all()
    assert hierarchy_se(PENNIES, [[0], [1]]).exists


def test_one_unanswered_action_leaves_no_se_even_if_nobody_would_take_it():
    """After leader action 0 the peers play a game with a dominant answer; after 1, matching pennies."""
    payoffs = np.zeros((3, 2, 2, 2))
    payoffs[0, 0] = 100
    payoffs[1, 0, 1] = payoffs[2, 0, :, 1] = 1
    payoffs[1:, 1] = PENNIES
    solution = hierarchy_se(payoffs, [[0], [1, 2]])
    assert not solution.exists
    assert cells(solution.subgames[1]) == {(0, 1, 1)}  # what the peers answer to 0
    payoffs[1:, 1] = 0
    assert hierarchy_se(payoffs, [[0], [1, 2]]).optimistic == (0, 1, 1)


def test_every_joint_action_above_needs_an_answer():
    """Action 0 is dominant for both agents on top; only if both deviate do those below meet matching pennies."""
    payoffs = np.zeros((4, 2, 2, 2, 2))
    payoffs[0, 0] = payoffs[1, :, 0] = 1
    assert cells(hierarchy_se(payoffs, [[0, 1], [2, 3]]).outcomes) == {(0, 0, c, d) for c in range(2) for d in range(2)}
    payoffs[2:, 1, 1] = PENNIES
    assert not hierarchy_se(payoffs, [[0, 1], [2, 3]]).exists


def test_several_nash_equilibria_of_peers_are_a_range():
    """The followers meet at 0 or at 1 after either leader action; the leader gets what they choose, doubled after 1."""
    meet = np.eye(2)
    payoffs = np.stack([np.stack([np.diag([1.0, 3.0]), np.diag([2.0, 6.0])]), *[np.stack([meet, meet])] * 2])
    solution = hierarchy_se(payoffs, [[0], [1, 2]])
    # at 1 after 0 and at 0 after 1 makes 0 worth 3 and 1 worth 2
    assert cells(solution.outcomes) == {(0, 1, 1), (1, 0, 0), (1, 1, 1)}
    assert solution.payoff_range.tolist() == [[2, 6], [1, 1], [1, 1]]
    assert (solution.optimistic, solution.pessimistic) == ((1, 1, 1), (1, 0, 0))


@pytest.mark.parametrize(
    ("hierarchy", "share"), [([[0], [1, 2]], 0.53), ([[0, 1], [2]], 0.21), ([[0, 1, 2]], 0.31), ([[0], [1], [2]], 0)]
)
def test_documented_shares_of_random_games_without_an_se(hierarchy, share):
    """In docs/theory.md, of 2,000 games; within four standard errors of 500."""
    games = np.random.default_rng(1).standard_normal((500, 3, 3, 3, 3))
    missing = np.mean([not hierarchy_se(payoffs, hierarchy).exists for payoffs in games])
    assert abs(missing - share) <= 4 * np.sqrt(share * (1 - share) / 500)


def test_the_order_of_levels_decides():
    rank = np.array([[2, 0], [0, 1]]), np.array([[1, 0], [0, 2]])  # battle of the sexes
    assert hierarchy_se(np.stack(rank), [[0], [1]]).optimistic == (0, 0)
    assert hierarchy_se(np.stack(rank), [[1], [0]]).optimistic == (1, 1)


@pytest.mark.parametrize("hierarchy", [[[0]], [[0], [0, 1]], [[0], [2]], [[0, 1], []], []])
def test_unfit_hierarchies_are_refused(hierarchy):
    with pytest.raises(ValueError, match="hierarchy must name"):
        hierarchy_se(ESCAPE, hierarchy)


@pytest.mark.parametrize(
    "payoffs", [np.zeros((2, 2)), np.zeros((3, 2, 2)), np.zeros((2, 0, 2)), np.full((1, 2), np.nan)]
)
def test_unfit_payoffs_are_refused(payoffs):
    with pytest.raises(ValueError, match="payoffs must"):
        pure_nash_n(payoffs)
