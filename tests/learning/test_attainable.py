"""What returns can add up to, by the rewards that were seen."""

import math

import numpy as np
import pytest
import torch

from rllib_biac.algorithms.biac import BiAC
from rllib_biac.learning.losses import Attainable
from rllib_biac.learning.transitions import REWARDS
from tests.training import train


def seen(rewards, on, gamma):
    bounds = Attainable(gamma)
    bounds.see(torch.tensor(rewards, dtype=torch.float32), torch.tensor(on))
    return bounds


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.95])
def test_no_return_is_outside(seed, gamma):
    rng = np.random.default_rng(seed)
    on, ends = rng.normal(size=3).astype(np.float32), rng.normal(size=2).astype(np.float32)
    bounds = seen([*on, *ends], [True] * 3 + [False] * 2, gamma)
    for _ in range(200):
        rewards = [*rng.choice(on, size=rng.integers(60)), rng.choice(ends)]
        assert bounds.low - 1e-5 <= np.dot(rewards, gamma ** np.arange(len(rewards))) <= bounds.high + 1e-5


def test_bounds_are_met():
    bounds = seen([0.0, 0.0, 2.0, -1.0], [True, True, False, False], 0.99)
    assert (bounds.low, bounds.high) == (-1.0, 2.0)  # it pays at its end alone
    bounds = seen([1.0, -3.0, 2.0], [True, True, False], 0.9)
    assert (bounds.low, bounds.high) == pytest.approx((-30.0, 10.0))


def test_the_range_of_rewards():
    assert Attainable(0.9).range == 0.0
    assert seen([2.0, 2.0], [True, False], 0.9).range == 0.0
    assert seen([1.0, 4.0, -3.0], [True, False, True], 0.9).range == 7.0
    assert seen([-5.0, -1.0], [False, False], 0.9).range == 4.0


def test_without_a_discount():
    bounds = seen([0.0, 5.0], [True, False], 1.0)
    assert (bounds.low, bounds.high) == (0.0, 5.0)
    bounds = seen([1.0, 5.0], [True, False], 1.0)
    assert (bounds.low, bounds.high) == (5.0, math.inf)
    for reward in (1.0, -1.0):
        bounds = seen([reward], [True], 1.0)
        assert (bounds.low, bounds.high) == (-math.inf, math.inf)  # until an end was seen


def test_bounds_only_widen_and_are_taken_back():
    bounds = seen([1.0, 4.0], [True, False], 0.5)
    bounds.see(torch.tensor([0.5]), torch.tensor([False]))
    assert bounds.high == 4.0
    again = Attainable(0.5)
    again.restore(bounds.state())
    assert (again.low, again.high, again.range) == (bounds.low, bounds.high, bounds.range)
    again.restore(Attainable(0.5).state())
    assert (again.low, again.high) == (bounds.low, bounds.high)  # where nothing was seen, nothing is known


@pytest.mark.parametrize("bound", [True, False])
def test_targets_hold_no_value_that_nothing_adds_up_to(bound):
    corridor = {"family": "corridor_10", "seed": 0}  # pays at its end alone
    levels = [["player_0"], ["player_1"]]
    run = train(BiAC, "zoo_v0", levels, 1500, env_config=corridor, gamma=0.9, bound_values=bound)
    losses, rows = run.trainer.losses, run.replay.sample(256)
    for agent in run.trainer.team.agents:
        run.trainer.team[agent].critic_target.layers[-1].bias.data += 100.0
    targets = losses.compute_targets(run.minibatch(rows))
    for agent, own in targets.items():
        largest = float(run.replay.columns[REWARDS, agent].max())
        assert (own.max() <= largest + 1e-5) == bound
