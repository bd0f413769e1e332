"""Fixed points of the bi-level Bellman equation: one, several or none, and where value iteration goes."""

import itertools

import numpy as np
import pytest

from rllib_biac.envs.matrix_game import ESCAPE, MAINTAIN
from rllib_biac.equilibria import (
    MarkovGame,
    backward_induction,
    commitment_se,
    feedback_se,
    iterate,
    stackelberg,
)
from rllib_biac.equilibria.feedback import stage_equilibria
from rllib_biac.equilibria.random_markov import sample_markov_games

A, B = 0, 1


def random_games(count, transitions="deterministic", gamma=0.9, states=2, actions=2, seed=0):
    rewards, moves = sample_markov_games(count, states, actions, np.random.default_rng(seed), transitions)
    return [MarkovGame(r, m, gamma) for r, m in zip(rewards, moves, strict=True)]


def one_state(rewards, stays, gamma):
    """A game that is either played once more or over; rewards (2, |A_1|, |A_2|), stays (|A_1|, |A_2|)."""
    return MarkovGame(np.array(rewards, float)[:, None], np.array(stays, float)[None, ..., None], gamma)


def supplement(gamma):
    """The paper's two-state game (supplement, "An example uncovered by Bi-AC"); its second state is the end."""
    return one_state([[[0, 0], [10, -1]], [[0, 10], [0, -1]]], [[1, 0], [0, 1]], gamma)


def trust(gamma=0.9):
    """The follower bears with B only as long as the leader otherwise plays A."""
    return one_state([[[0, 1], [0, 2]], [[0, 2], [0, -1]]], [[1, 1], [0, 1]], gamma)


def plays(solution):
    return list(zip(solution.leader_action[:, 0].tolist(), solution.follower_action[:, 0].tolist(), strict=True))


def by_definition(game, leader, tolerance=1e-9):
    """All fixed points of a game of two players, by loops over policies, responses and deviations."""
    num_leader, num_follower = game.num_actions[leader], game.num_actions[1 - leader]
    states = range(game.num_states)

    def joint(a, b):
        return (a, b) if leader == 0 else (b, a)

    def supported(q, a, b):
        """Whether some best-responding answers to all leader actions make (a, b) the leader's choice."""
        best = [[y for y in range(num_follower) if q[1][x, y] > max(q[1][x]) - tolerance] for x in range(num_leader)]
        return any(
            answers[a] == b and all(q[0][a, b] > q[0][x, y] - tolerance for x, y in enumerate(answers))
            for answers in itertools.product(*best)
        )

    found = []
    for play in itertools.product(itertools.product(range(num_leader), range(num_follower)), repeat=game.num_states):
        move = np.array([game.transitions[(s, *joint(*play[s]))] for s in states])
        values = {
            agent: np.linalg.inv(np.eye(game.num_states) - game.gamma * move)
            @ [game.rewards[(agent, s, *joint(*play[s]))] for s in states]
            for agent in (leader, 1 - leader)
        }
        q = [[game.rewards[i, s] + game.gamma * game.transitions[s] @ v for i, v in values.items()] for s in states]
        if leader == 1:
            q = [[table.T for table in tables] for tables in q]
        if all(supported(q[s], *play[s]) for s in states):
            found.append(tuple(play))
    return sorted(found)


@pytest.mark.parametrize("leader", [0, 1])
@pytest.mark.parametrize("integers", [False, True])
def test_enumeration_equals_the_definition(integers, leader):
    for number, game in enumerate(random_games(25, "ending") + random_games(10, "dirichlet", actions=2, seed=1)):
        if integers:  # many ties
            game = MarkovGame(np.rint(game.rewards), game.transitions, game.gamma)
        solution = feedback_se(game, leader)
        found = [
            tuple(zip(a.tolist(), b.tolist(), strict=True))
            for a, b in zip(solution.leader_action, solution.follower_action, strict=True)
        ]
        assert sorted(found) == by_definition(game, leader), number


def test_the_supplements_game_has_two_fixed_points():
    solution = feedback_se(supplement(0.9))
    assert plays(solution) == [(A, B), (B, A)]
    assert solution.leader_value[:, 0].tolist() == [0, 10] and solution.follower_value[:, 0].tolist() == [10, 0]
    assert solution.responses[:, 0].tolist() == [[B, B], [B, A]]
    assert solution.margin == pytest.approx([1, 1])  # X would lose 1 by B; and Y 1 by A, or X 1 by A
    committed = commitment_se(supplement(0.9))
    assert (committed.leader_policy, committed.follower_policy, committed.leader_payoff) == (B, A, 10)


@pytest.mark.parametrize(("gamma", "strict"), [(0.11, True), (0.1, False), (0.09, None)])
def test_its_false_fixed_point_is_strict_if_the_follower_would_pay_to_go_on(gamma, strict):
    """Y answers B by B for gamma 10 - 1 > 0; at 0 it is indifferent, and below (A, B) is no fixed point."""
    margins = dict(zip(plays(solution := feedback_se(supplement(gamma))), solution.margin, strict=True))
    assert margins[B, A] > 0.5
    assert ((A, B) in margins) == (strict is not None)
    if strict is not None:
        assert margins[A, B] == pytest.approx(max(10 * gamma - 1, 0), abs=1e-9) and (margins[A, B] > 0) == strict


def test_value_iteration_ends_at_the_fixed_point_near_which_it_starts():
    game = supplement(0.9)
    for start, play in (((0, 10), (A, B)), ((10, 0), (B, A))):
        result = iterate(game, start_values=np.array(start, float)[:, None])
        assert result.period == 1 and (result.leader_action[0, 0], result.follower_action[0, 0]) == play


def test_a_game_without_a_fixed_point():
    game = trust()
    assert len(feedback_se(game)) == 0 and feedback_se(game).responses.shape == (0, 1, 2)
    committed = commitment_se(game)
    assert (committed.leader_policy, committed.follower_policy) == (A, B)
    assert (committed.leader_payoff, committed.follower_payoff) == pytest.approx((10, 20))
    result = iterate(game)
    assert len(result.leader_value) == result.period == 13
    assert {A, B} == set(result.leader_action.ravel().tolist())
    again = iterate(game, start_values=np.stack([result.leader_value[-1], result.follower_value[-1]]))
    assert again.period == again.iterations == result.period
    np.testing.assert_allclose(again.leader_value, result.leader_value, atol=1e-9)


def test_it_has_one_if_the_future_counts_too_little_to_bear_with_the_leader():
    assert [plays(feedback_se(trust(gamma))) for gamma in (0.32, 0.34)] == [[(A, B)], []]


def test_value_iteration_may_cycle_where_there_is_a_fixed_point():
    games = random_games(50, "ending", gamma=0.7)
    cycling = [game for game in games if len(feedback_se(game)) and iterate(game).period != 1]
    assert cycling
    solution = feedback_se(cycling[0])
    start = np.stack([solution.leader_value[0], solution.follower_value[0]])
    assert iterate(cycling[0], start_values=start).period == 1


@pytest.mark.parametrize("leader", [0, 1])
def test_value_iteration_agrees_with_enumeration(leader):
    for game in random_games(40, "ending", gamma=0.7):
        solution, result = feedback_se(game, leader), iterate(game, leader)
        assert result.period > 0
        values = np.concatenate([solution.leader_value, solution.follower_value], axis=1)
        ends = np.concatenate([result.leader_value[0], result.follower_value[0]])
        reached = len(values) > 0 and np.abs(values - ends).max(-1).min() < 1e-9
        assert (result.period == 1) == reached


def test_strict_fixed_points_attract_what_starts_within_half_the_margin():
    rng = np.random.default_rng(2)
    for game in random_games(25, gamma=0.8):
        solution = feedback_se(game)
        for k in range(len(solution)):
            fixed = np.stack([solution.leader_value[k], solution.follower_value[k]])
            near = fixed + rng.choice([-1, 1], fixed.shape) * 0.499 * solution.margin[k] / game.gamma
            result = iterate(game, start_values=near)
            assert result.period == 1
            np.testing.assert_array_equal(result.leader_action[0], solution.leader_action[k])
            np.testing.assert_allclose(result.leader_value[0], fixed[0], atol=1e-8)


def test_no_fixed_point_pays_the_leader_more_than_commitment():
    below = 0
    for game in random_games(150, "ending"):
        for start in range(2):
            committed = commitment_se(game, start).optimistic
            values = feedback_se(game).leader_value[:, start]
            assert (values <= committed + 1e-9).all()
            below += bool(len(values)) and values.max() < committed - 1e-9
    assert below


@pytest.mark.parametrize("sign", [1, -1])
def test_common_and_opposed_interests_leave_one_value_that_commitment_shares(sign):
    for game in random_games(15, "ending", gamma=0.8):
        game = MarkovGame(np.stack([game.rewards[0], sign * game.rewards[0]]), game.transitions, game.gamma)
        solution, result = feedback_se(game), iterate(game)
        assert len(solution) == 1 and result.period == 1
        np.testing.assert_allclose(solution.leader_value[0], result.leader_value[0], atol=1e-9)
        for start in range(2):
            assert commitment_se(game, start).leader_payoff == pytest.approx(solution.leader_value[0, start])


@pytest.mark.parametrize("leader", [0, 1])
def test_one_shot_games_have_their_matrix_se(leader):
    for payoffs in (ESCAPE, MAINTAIN):
        se, solution = stackelberg(payoffs, leader), feedback_se(MarkovGame.from_matrix(payoffs), leader)
        assert plays(solution) == [(se.leader_action, se.follower_action)]
        assert solution.margin == se.margin and (solution.responses[0, 0, se.leader_action]) == se.follower_action


def test_repeating_a_matrix_game_for_ever_changes_nothing_but_the_scale():
    solution = feedback_se(one_state(MAINTAIN, np.ones((3, 3)), 0.9))
    assert plays(solution) == [(0, 0)]
    assert (solution.leader_value[0, 0], solution.follower_value[0, 0]) == pytest.approx((200, 150))
    assert solution.margin == pytest.approx([5])


def acyclic_game(states, seed, gamma=1.0):
    """From each state only to later ones, or to the end."""
    rng = np.random.default_rng(seed)
    moves = rng.random((states, 2, 2, states)) * np.triu(np.ones((states, states)), 1)[:, None, None, :]
    moves /= moves.sum(-1, keepdims=True) + 0.3
    return MarkovGame(rng.standard_normal((2, states, 2, 2)), moves, gamma)


@pytest.mark.parametrize("leader", [0, 1])
@pytest.mark.parametrize("gamma", [0.7, 1.0])
def test_backward_induction_finds_the_only_fixed_point_of_acyclic_games(gamma, leader):
    for seed in range(8):
        game = acyclic_game(3, seed, gamma)
        every, one, result = feedback_se(game, leader), backward_induction(game, leader), iterate(game, leader)
        assert len(every) == len(one) == result.period == 1 and result.iterations <= 4
        for field in ("leader_action", "follower_action", "responses", "leader_value", "follower_value", "margin"):
            np.testing.assert_allclose(getattr(one, field), getattr(every, field), atol=1e-9)


def test_backward_induction_solves_many_states():
    solution = backward_induction(acyclic_game(60, 0))
    assert solution.leader_value.shape == (1, 60) and solution.margin[0] > 0
    with pytest.raises(ValueError, match="return to a state"):
        backward_induction(supplement(0.9))


def test_the_units_of_either_agent_do_not_matter():
    for game in random_games(8, gamma=0.6):
        scaled = MarkovGame(game.rewards * np.array([1e-9, 1e12])[:, None, None, None], game.transitions, game.gamma)
        np.testing.assert_array_equal(feedback_se(game).leader_action, feedback_se(scaled).leader_action)
        assert iterate(game).period == iterate(scaled).period


def test_stage_equilibria_are_bounded_by_the_two_ways_to_break_ties():
    payoffs = np.random.default_rng(0).integers(0, 4, (200, 2, 3, 3)).astype(float)
    cells, solution = stage_equilibria(payoffs), stackelberg(payoffs)
    values = np.where(cells, payoffs[:, 0], np.nan)
    np.testing.assert_array_equal(np.nanmin(values, (1, 2)), solution.pessimistic)
    np.testing.assert_array_equal(np.nanmax(values, (1, 2)), solution.optimistic)
    assert cells[np.arange(200), solution.leader_action, solution.follower_action].all()


def test_iteration_gives_up_when_told():
    result = iterate(supplement(0.9), start_values=np.full((2, 1), 1e6), max_iterations=3)
    assert (result.period, result.iterations, result.leader_value.shape) == (0, 3, (1, 1))


def test_swinging_values_are_no_cycle():
    """Two states that follow each other: values converge, but come nearest to those of two sweeps ago."""
    moves = np.broadcast_to(np.eye(2)[::-1][:, None, None, :], (2, 2, 2, 2))
    game = MarkovGame(np.random.default_rng(0).random((2, 2, 2, 2)), moves, 0.9)
    assert iterate(game, start_values=np.array([[1e3, -1e3], [0, 0]])).period == 1


def test_bad_arguments_are_refused():
    game = supplement(0.9)
    for solve in (feedback_se, iterate, backward_induction):
        with pytest.raises(ValueError, match="leader must be"):
            solve(MarkovGame.from_matrix(ESCAPE), leader=2)
        with pytest.raises(ValueError, match="two players"):
            solve(MarkovGame.from_matrix(np.zeros((3, 2, 2, 2))))
    with pytest.raises(ValueError, match="at least 1"):
        iterate(game, max_iterations=0)
    with pytest.raises(ValueError, match="start_values"):
        iterate(game, start_values=np.zeros(2))
    with pytest.raises(ValueError, match="too many"):
        feedback_se(acyclic_game(20, 0))
