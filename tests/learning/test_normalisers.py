"""Running means and spreads, and critics whose output can be rescaled by them."""

import numpy as np
import pytest
import torch

from rllib_biac.algorithms.biac import BiAC
from rllib_biac.learning.networks import RunningMoments, check_rescalable
from rllib_biac.learning.transitions import REWARDS, TERMINATED
from tests.algorithms.test_biac_losses import transitions
from tests.games import Masked
from tests.training import Run


@pytest.mark.parametrize("value", [0.0, 7.0, -1e6])
def test_targets_that_never_differ_have_a_usable_scale(value):
    mean, std = RunningMoments(100).update(torch.full((50,), value, dtype=torch.float64))
    assert mean.item() == value
    assert std.item() == pytest.approx(abs(value) or 1.0)


def test_moments_equal_numpys_and_forget():
    values = np.random.default_rng(0).normal(1000.0, 0.5, (5, 40))
    moments = RunningMoments(float("inf"))
    for part in values:
        mean, std = moments.update(torch.as_tensor(part))
    assert mean.item() == pytest.approx(values.mean()) and std.item() == pytest.approx(values.std(), rel=1e-6)
    short = RunningMoments(100)
    for level in (0.0, 5.0):
        for _ in range(30):
            mean, _ = short.update(torch.as_tensor(level + values[0] - 1000.0))
    assert mean.item() == pytest.approx(5.0 + values[0].mean() - 1000.0, abs=0.01)


class OutputDeclaredFirst(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.output = torch.nn.Linear(8, 4)
        self.hidden = torch.nn.Linear(3, 8)

    def forward(self, x):
        return self.output(self.hidden(x))


@pytest.mark.parametrize("critic", [torch.nn.Linear(3, 4, bias=False), OutputDeclaredFirst()])
def test_a_critic_that_cannot_be_rescaled_is_refused(critic):
    with pytest.raises(ValueError, match="output layer"):
        check_rescalable(critic, (3,))


def test_checking_a_critic_leaves_it_alone():
    critic = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 4))
    before = [p.clone() for p in critic.parameters()]
    check_rescalable(critic, (3,))
    assert all(torch.equal(old, new) for old, new in zip(before, critic.parameters(), strict=True))


@pytest.mark.parametrize("num_hypotheses", [1, 2])
@pytest.mark.parametrize(("ends", "least"), [(False, 0.4), (True, 0.0)])
def test_the_first_rewards_are_few_spreads_where_values_are_learned(ends, least, num_hypotheses):
    """Of one-step games all rewards count from the start, and small ones may decide beside a large one."""
    run = Run(BiAC, Masked, [["one"], ["two"]], gamma=0.9, num_hypotheses=num_hypotheses)
    rows = transitions(4_096)
    for agent in ("one", "two"):
        rows.columns[REWARDS, agent][:] = 0.0
        rows.columns[REWARDS, agent][7] = -4.0
    rows.columns[TERMINATED][:] = ends
    run.update(rows, 256)
    for agent in ("one", "two"):
        module = run.team[agent]
        for spread in [float(module.q_std), *(module.challengers_std.tolist() if num_hypotheses > 1 else [])]:
            assert spread >= least and (not ends or spread == pytest.approx(4.0 / 64, rel=1e-3))
