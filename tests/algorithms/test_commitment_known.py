"""Commitments in games whose tables are known, against exact answers."""

import numpy as np
import pytest
import torch

from rllib_biac.algorithms.commitment.ascent import climbed
from rllib_biac.algorithms.commitment.known import KnownGame
from rllib_biac.equilibria import MarkovGame, quantal_commitment, quantal_response

STATES, ACTIONS = 4, (3, 2)


def tables(seed):
    rng = np.random.default_rng(seed)
    moves = rng.dirichlet(np.ones(STATES), (STATES, 1, ACTIONS[1])) * 0.9  # the leader's action moves nothing
    return rng.normal(size=(2, STATES, *ACTIONS)), moves


def game_of(rewards, moves, temperature, *, hears=False, gamma=0.9):
    start = np.eye(len(moves))[0]
    given = [torch.from_numpy(np.ascontiguousarray(array)) for array in (rewards, moves, start)]
    return KnownGame(*given, gamma=gamma, hears=hears, temperature=temperature, spread=1.0)


def commitments(count, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.ones(ACTIONS[0]), (count, STATES)))


@pytest.mark.parametrize("hears", [False, True])
@pytest.mark.parametrize("temperature", [0.0, 0.3])
def test_moves_that_leave_the_leader_out_are_those_that_repeat_them(hears, temperature):
    rewards, moves = tables(1)
    short = game_of(rewards, moves, temperature, hears=hears)
    long = game_of(rewards, np.broadcast_to(moves, (STATES, *ACTIONS, STATES)), temperature, hears=hears)
    z = commitments(5)
    one, other = short.answered(z), long.answered(z)
    torch.testing.assert_close(one.values, other.values)
    torch.testing.assert_close(one.answer, other.answer)
    if temperature:
        torch.testing.assert_close(short.gradient(z, one, temperature), long.gradient(z, other, temperature))


def test_worth_is_that_of_the_quantal_response():
    rewards, moves = tables(2)
    game = MarkovGame(rewards, np.broadcast_to(moves, (STATES, *ACTIONS, STATES)), 0.9)
    z = commitments(6)
    exact = [quantal_response(game, policy.numpy(), 0.3, announced=False).leader_payoff for policy in z]
    assert game_of(rewards, moves, 0.3).worth(z).numpy() == pytest.approx(exact)


@pytest.mark.parametrize("temperature", [0.02, 0.3])
def test_what_is_climbed_to_is_the_best_commitment_of_one_step_games(temperature):
    for seed in range(3):
        payoffs = np.random.default_rng([3, seed]).normal(size=(2, 3, 3))
        game = game_of(payoffs[:, None], np.zeros((1, 1, 3, 1)), temperature)
        first = commitments(8, seed)[:, :1].float()
        best = float(game.worth(climbed(game, first, torch.zeros(1, dtype=torch.int64))).max())
        assert best == pytest.approx(quantal_commitment(payoffs, temperature).lower, abs=0.01 * np.ptp(payoffs[0]))
