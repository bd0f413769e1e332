"""Regrets of a given play, which vanish at feedback SE, and its payoffs beside those of pure NE."""

import itertools

import numpy as np
import pytest

from rllib_biac.envs.matrix_game import ESCAPE, MAINTAIN
from rllib_biac.equilibria import (
    MarkovGame,
    compare_with_nash,
    feedback_se,
    leader_regret,
    play_regret,
    policy_game,
    pure_nash,
    response_regret,
    stackelberg,
)
from rllib_biac.equilibria.random_markov import sample_markov_games

A, B, C = X, Y, Z = 0, 1, 2
maintain, escape = MarkovGame.from_matrix(MAINTAIN), MarkovGame.from_matrix(ESCAPE)


def random_games(count, integers=False, actions=2):
    rewards, moves = sample_markov_games(count, 2, actions, np.random.default_rng(0), "ending")
    return [MarkovGame(np.rint(r) if integers else r, m, 0.9) for r, m in zip(rewards, moves, strict=True)]


def test_regrets_of_maintain():
    exact = play_regret(maintain, [A], [[X, Y, Z]])
    assert exact.is_feedback_se and exact.worst_response_regret == 0
    assert (exact.leader_value[0], exact.follower_value[0]) == (20, 15)
    assert play_regret(maintain, [B], [[X, Y, Z]]).leader_regret == [10]
    lured = play_regret(maintain, [B], [[X, X, Z]])
    assert lured.response_regret.tolist() == [[0, 5, 0]] and lured.worst_response_regret == 5
    assert lured.leader_value == [30] and lured.leader_regret == [10]  # 30 is a gift that a best response takes back
    hidden = play_regret(maintain, [A], [[X, X, Z]])
    assert hidden.is_feedback_se and hidden.worst_response_regret == 5  # though the leader would be lured to B


@pytest.mark.parametrize("leader", [0, 1])
def test_matrix_games_agree_with_the_batched_measures(leader):
    rng = np.random.default_rng(0)
    for payoffs in rng.standard_normal((30, 2, 3, 4)):
        size = payoffs.shape[1 + leader]
        action, responses = rng.integers(size), rng.integers(payoffs.shape[2 - leader], size=size)
        best = stackelberg(payoffs, leader).responses
        regret = play_regret(MarkovGame.from_matrix(payoffs), [action], responses[None], leader)
        assert regret.response_regret[0] == pytest.approx(response_regret(payoffs, responses, leader), abs=1e-9)
        assert regret.leader_regret[0] == pytest.approx(leader_regret(payoffs, action, best, leader), abs=1e-9)


@pytest.mark.parametrize("leader", [0, 1])
@pytest.mark.parametrize("integers", [False, True])
def test_plays_without_regret_are_the_feedback_se(integers, leader):
    some = 0
    for game in random_games(12, integers):
        solution = feedback_se(game, leader)
        fixed = {
            (*a.tolist(), *b.tolist()) for a, b in zip(solution.leader_action, solution.follower_action, strict=True)
        }
        for play in itertools.product(range(2), repeat=4):
            responses = np.repeat(np.array(play[2:])[:, None], 2, axis=1)
            assert play_regret(game, play[:2], responses, leader).is_feedback_se == (play in fixed)
        for k in range(len(solution)):
            regret = play_regret(game, solution.leader_action[k], solution.responses[k], leader)
            assert regret.is_feedback_se and regret.worst_response_regret == 0
            np.testing.assert_allclose(regret.leader_value, solution.leader_value[k])
        some += len(solution)
    assert some


def test_regrets_are_what_one_deviation_gains():
    rng = np.random.default_rng(1)
    for game in random_games(5, actions=3):
        action, responses = rng.integers(3, size=2), rng.integers(3, size=(2, 3))
        regret = play_regret(game, action, responses)
        assert (regret.response_regret >= 0).all() and (regret.leader_regret >= 0).all()
        values = regret.leader_value, regret.follower_value
        for s in range(2):
            leads, follows = (game.rewards[i, s] + 0.9 * game.transitions[s] @ values[i] for i in range(2))
            for a in range(3):
                missed = follows[a].max() - follows[a, responses[s, a]]
                assert regret.response_regret[s, a] == pytest.approx(missed, abs=1e-9)
            deserved = [leads[a, follows[a].argmax()] for a in range(3)]
            assert regret.leader_regret[s] == pytest.approx(max(deserved) - deserved[action[s]], abs=1e-9)
            assert regret.played_response_regret[s] == regret.response_regret[s, action[s]]


def test_ties_are_nobodys_fault():
    payoffs = np.array([[[1.0, 5.0], [2.0, 2.0]], [[0.0, 0.0], [1.0, 0.0]]])
    game = MarkovGame.from_matrix(payoffs)
    assert play_regret(game, [0], [[1, 0]]).is_feedback_se  # (0, 1) pays 5, the optimistic value
    assert play_regret(game, [1], [[0, 0]]).is_feedback_se  # (1, 0) pays 2, the pessimistic one
    against = play_regret(game, [0], [[0, 0]])
    assert not against.is_feedback_se and against.leader_regret == [1] and against.worst_response_regret == 0


def test_nash_of_the_papers_games():
    comparison = compare_with_nash(maintain, [A], [[X, Y, Z]])
    assert comparison.play.tolist() == [20, 15] and comparison.nash.tolist() == [[5, 10], [10, 5]]
    assert comparison.better.all() and comparison.at_least.all()
    assert np.array_equal(compare_with_nash(maintain, [A], [[X, Y, Z]], start=np.int64(0)).play, comparison.play)
    comparison = compare_with_nash(escape, [A], [[X, X, Z]])  # the SE is C-Z
    assert comparison.nash.tolist() == [[10, 10], [15, 15], [30, 30]]
    assert comparison.at_least.tolist() == [True, True, False] and comparison.better.tolist() == [True, False, False]
    assert (comparison.dominates.tolist(), comparison.dominated.tolist(), comparison.equal.tolist()) == (
        [True, False, False],
        [False, False, True],
        [False, True, False],
    )
    led_by_columns = compare_with_nash(maintain, [Z], [[B, B, C]], leader=1)
    assert led_by_columns.play.tolist() == [5, 10]  # in the players' order, whoever leads


def test_a_game_without_pure_nash_has_nothing_to_compare_with():
    pennies = MarkovGame.from_matrix([[[1, -1], [-1, 1]], [[-1, 1], [1, -1]]])
    comparison = compare_with_nash(pennies, [0], [[1, 0]])
    assert comparison.nash.shape == (0, 2) and comparison.better.shape == (0,)


@pytest.mark.parametrize("leader", [0, 1])
def test_nash_of_markov_games_are_those_of_whole_policies(leader):
    for game in random_games(10):
        action, responses = [1, 0], [[0, 1], [1, 1]]
        comparison = compare_with_nash(game, action, responses, leader, start=1)
        regret = play_regret(game, action, responses, leader)
        by_role = np.array([regret.leader_value[1], regret.follower_value[1]])
        np.testing.assert_allclose(comparison.play, by_role if leader == 0 else by_role[::-1], atol=1e-9)
        table = policy_game(game, 1)
        found = {tuple(table[:, k, m]) for k, m in np.argwhere(pure_nash(table))}
        assert {tuple(pair) for pair in comparison.nash} == found


def test_one_start_of_several_is_drawn():
    for game in random_games(10):
        play = [1, 0], [[0, 1], [1, 1]]
        mixed = compare_with_nash(game, *play, start=[0.25, 0.75]).play
        each = [compare_with_nash(game, *play, start=s).play for s in (0, 1)]
        np.testing.assert_allclose(mixed, 0.25 * each[0] + 0.75 * each[1], atol=1e-9)
        table = 0.25 * policy_game(game, 0) + 0.75 * policy_game(game, 1)
        found = {tuple(table[:, k, m]) for k, m in np.argwhere(pure_nash(table))}
        assert {tuple(pair) for pair in compare_with_nash(game, *play, start=[0.25, 0.75]).nash} == found


def test_weak_dominance_needs_one_who_gains_and_nobody_who_loses():
    payoffs = np.array([[[2.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]])
    better = compare_with_nash(MarkovGame.from_matrix(payoffs), [0], [[0, 1]])  # 2 / 1 against 1 / 1
    assert better.nash.tolist() == [[1, 1], [2, 1]]
    assert better.dominates.tolist() == [True, False] and better.equal.tolist() == [False, True]
    assert not better.better.any() and not better.dominated.any()


@pytest.mark.parametrize(
    ("action", "responses", "message"),
    [
        ([0, 0], [[0, 0, 0]], "leader_action must"),
        ([3], [[0, 0, 0]], "leader_action must"),
        ([0.0], [[0, 0, 0]], "leader_action must"),
        ([0], [0, 0, 0], "responses must"),
        ([0], [[0, 0, -1]], "responses must"),
    ],
)
def test_unfit_plays_are_refused(action, responses, message):
    for measure in (play_regret, compare_with_nash):
        with pytest.raises(ValueError, match=message):
            measure(maintain, action, responses)
