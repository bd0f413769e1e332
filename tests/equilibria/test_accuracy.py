"""Solvers beside rational arithmetic: right where they answer, and refused where they would not be."""

import itertools
from fractions import Fraction

import numpy as np
import pytest

from rllib_biac.equilibria import MarkovGame, backward_induction, feedback_se, mixed_commitment, stackelberg
from rllib_biac.equilibria.accuracy import TooWideError


def rational(values):
    """An array's numbers exactly, as nested lists."""
    return np.vectorize(lambda x: Fraction(float(x)), otypes=[object])(values)


def solve(matrix, right):
    """Solves a linear system of fractions; None if it is singular."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for column in range(len(rows)):
        pivot = next((r for r in range(column, len(rows)) if rows[r][column] != 0), None)
        if pivot is None:
            return None
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [x / rows[column][column] for x in rows[column]]
        for r in range(len(rows)):
            if r != column and (factor := rows[r][column]) != 0:
                rows[r] = [x - factor * y for x, y in zip(rows[r], rows[column], strict=True)]
    return [row[-1] for row in rows]


def exact_mixed(payoffs):
    """The leader's best mixed commitment, by all vertices of all programs."""
    leads, follows = rational(payoffs)
    count, answers = leads.shape
    unit = [[Fraction(-int(i == j)) for i in range(count)] for j in range(count)]
    found = []
    for b in range(answers):
        bounds = [list(follows[:, c] - follows[:, b]) for c in range(answers) if c != b] + unit
        for active in itertools.combinations(bounds, count - 1):
            x = solve([[Fraction(1)] * count, *active], [Fraction(1)] + [Fraction(0)] * (count - 1))
            if x is not None and all(sum(p * q for p, q in zip(x, row, strict=True)) <= 0 for row in bounds):
                found.append(sum(x * leads[:, b]))
    return max(found)


def exact_feedback(game):
    """The plays of all feedback SE, agent 0 leading, by all joint policies."""
    rewards, moves, gamma = rational(game.rewards), rational(game.transitions), Fraction(game.gamma)
    states, (first, second) = range(game.num_states), game.num_actions
    joint = list(itertools.product(range(first), range(second)))
    plays = []
    for policy in itertools.product(joint, repeat=game.num_states):
        matrix = [[int(s == t) - gamma * moves[s, *policy[s], t] for t in states] for s in states]
        values = [solve(matrix, [rewards[i, s, *policy[s]] for s in states]) for i in range(2)]
        if all(is_stage_equilibrium(rewards[:, s], moves[s], gamma, values, policy[s]) for s in states):
            plays.append(policy)
    return plays


def is_stage_equilibrium(rewards, moves, gamma, values, played):
    q = [rewards[i] + gamma * (moves @ np.array(values[i], object)) for i in range(2)]
    best = [[b for b in range(q[1].shape[1]) if q[1][a, b] == max(q[1][a])] for a in range(q[1].shape[0])]
    secured = max(min(q[0][a, b] for b in own) for a, own in enumerate(best))
    return played[1] in best[played[0]] and q[0][played] >= secured


def wide(rng, shape, power):
    """Normal payoffs, one cell of both players' tables 10 ** power times as large, or all of them at most that."""
    payoffs = rng.standard_normal(shape)
    if rng.random() < 0.5:
        return payoffs * 10 ** rng.uniform(0, power, shape)
    payoffs[(slice(None), *(rng.integers(size) for size in shape[1:]))] *= 10**power
    return payoffs


def check_mixed(count, rng):
    answered = 0
    for trial in range(count):
        payoffs = wide(rng, (2, *rng.integers(2, 4, 2)), trial % 13)
        try:
            found = mixed_commitment(payoffs).leader_payoff
        except TooWideError:
            assert trial % 13 > 3  # ordinary games are never refused
            continue
        answered += 1
        assert abs(float(Fraction(found) - exact_mixed(payoffs))) <= 1e-9 * np.median(np.abs(payoffs[0]))
    return answered / count


def check_feedback(count, rng):
    answered = 0
    for trial in range(count):
        power, one_step = trial % 15, trial % 3 > 0
        states = 1 if one_step else 2
        shape = (2, states, *(rng.integers(2, 4, 2) if one_step else (2, 2)))
        rewards = wide(rng, shape, power)
        if trial % 5 == 0:
            rewards = np.rint(rewards)
        moves = np.eye(states + 1)[rng.integers(states + 1, size=shape[1:])][..., :states]
        game = MarkovGame(rewards, moves * (not one_step), 0.0 if one_step else float(rng.choice([0.5, 0.875])))
        try:
            solution = feedback_se(game)
        except TooWideError:
            assert power > 7
            continue
        answered += 1
        found = [
            tuple(zip(*play, strict=True))
            for play in zip(solution.leader_action.tolist(), solution.follower_action.tolist(), strict=True)
        ]
        assert sorted(found) == sorted(exact_feedback(game)), (power, rewards.tolist())
    return answered / count


def test_forty_games():
    rng = np.random.default_rng(0)
    assert check_mixed(40, rng) > 0.4
    assert check_feedback(40, rng) > 0.6


@pytest.mark.slow
def test_a_thousand_games():
    rng = np.random.default_rng(1)
    assert check_mixed(1000, rng) > 0.4
    assert check_feedback(1000, rng) > 0.6


def outlier(size):
    payoffs = np.array([[[1.0, 2.0], [3.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]])
    payoffs[:, 1, 1] = -size
    return payoffs


def test_what_is_refused():
    for size in (1e3, 1e5):
        assert mixed_commitment(outlier(size)).leader_payoff > 2
    with pytest.raises(TooWideError, match="further than 1e\\+06 times"):
        mixed_commitment(outlier(1e7))
    one, wide_one = (MarkovGame.from_matrix(outlier(size)) for size in (1e10, 1e12))
    assert feedback_se(one).leader_action[0, 0] == stackelberg(outlier(1e10)).leader_action
    for solver in (feedback_se, backward_induction):
        solver(one)
        with pytest.raises(TooWideError, match="cannot be told from a tie"):
            solver(wide_one)


def test_numbers_that_are_meant_to_tie_do():
    payoffs = np.array([[[1.0, 2.0], [1.5, 0.0]], [[0.1 + 0.2, 0.3], [1.0, 0.0]]])
    assert sorted(zip(*(x[:, 0] for x in plays(feedback_se(MarkovGame.from_matrix(payoffs)))), strict=True)) == [
        (0, 1),
        (1, 0),
    ]


def plays(solution):
    return solution.leader_action, solution.follower_action
