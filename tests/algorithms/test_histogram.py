"""Critics that are histograms: what they say is the mean, in whatever units, and edges stay sharp."""

from functools import partial

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from rllib_biac.algorithms.biac import BiAC
from rllib_biac.algorithms.biac.histogram_losses import HistogramLosses
from rllib_biac.algorithms.biac.histogram_team import (
    MOST_SCALE,
    MOST_SHIFT,
    REACH,
    HistogramFollower,
    HistogramLeader,
    HistogramTeam,
)
from rllib_biac.algorithms.biac.losses import BiACLosses
from rllib_biac.learning.losses import Losses
from rllib_biac.learning.networks import MLP, renormalise
from tests.games import Masked, Probe, TwoStates
from tests.training import Run, train

LEVELS = [["one"], ["two"]]


class Cliff(Probe):
    """One step. Up to 0.5 in the state (0, 0) pays both 10; from there on it costs 10, and (1, 1) pays 1."""

    observation = Box(-np.inf, np.inf, (1,), np.float32)

    def start(self):
        self.at = self.rng.random()

    def state(self):
        return np.array([self.at], np.float32)

    def pay(self, one, two):
        edge = 10.0 if self.at <= 0.5 else -10.0
        return ({(0, 0): edge, (1, 1): 1.0}.get((one, two), 0.0),) * 2, True, False


def critic(num_atoms=21, env=TwoStates):
    """Returns a leader whose critic is a histogram."""
    return Run(BiAC, env, LEVELS, num_atoms=num_atoms).team["one"]


@pytest.mark.parametrize("num_atoms", [21, 51])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1.7, -0.6)])
def test_a_targets_histogram_has_its_mean(num_atoms, scale, shift):
    leader = critic(num_atoms)
    leader.value_scale.fill_(scale)
    leader.value_shift.fill_(shift)
    targets = torch.linspace(-10.0, 10.0, 401)
    mass = leader.histogram(targets)  # (K, 401)
    torch.testing.assert_close(mass.sum(0), torch.ones(401))
    # A mean that is too large by more than 1 - gamma, a share of it, would grow with every bootstrapped target.
    torch.testing.assert_close(leader.mean(mass.log()), targets, atol=1e-3, rtol=1e-3)


def as_critic(logits):
    """Returns a critic that says these histograms of four joint actions: (rows, 4 · K), by the number of the row."""
    network = torch.nn.Sequential(torch.nn.Linear(len(logits), logits.shape[1]))
    with torch.no_grad():
        network[0].weight.copy_(logits.T)
        network[0].bias.zero_()
    return network


@pytest.mark.parametrize(("scale", "shift"), [(0.45, 0.2), (2.2, -0.5), (1.0, 1.3), (0.3, -0.8), (1e-3, 0.7)])
@pytest.mark.parametrize("averaged", [False, True])
def test_intervals_are_laid_out_anew_and_values_stay(scale, shift, averaged):
    """Else values would grow with the spread of targets, and targets with values."""
    leader = critic()
    said = torch.linspace(-3.0, 3.0, 80)
    network = as_critic(leader.histogram(said).clamp(1e-6).log().view(21, 4, 20).permute(2, 1, 0).flatten(1))
    before = leader.q_table(network(torch.eye(20)))
    if averaged:
        latest = critic()
        latest.q_std.fill_(1 / scale)
        latest.q_mean.fill_(-shift / scale)
        leader.take_units_over([network], latest)
    else:
        leader.rescale_critics([network], torch.tensor(scale), torch.tensor(shift))
    assert (leader.value_scale, leader.value_shift) == (1.0, 0.0)
    torch.testing.assert_close(leader.q_table(network(torch.eye(20))), scale * before + shift, atol=0.15, rtol=0.1)


class Endless(Probe):
    """Pays both 1 in every step, and 1 more where they do the same; cut off after 50."""

    def pay(self, one, two):
        return (1.0 + (one == two),) * 2, False, self.time >= 50


def test_values_do_not_run_away_with_their_own_spread():
    run = train(BiAC, Endless, LEVELS, 900, num_atoms=21, gamma=0.97, tau=0.05)
    for q in run.team.q_tables(torch.eye(2)[:1]).values():
        assert 10.0 < q.max() < 70.0  # of 2 / (1 - 0.97) = 67, which takes longer


def test_approximators_learn_from_histograms():
    run = train(BiAC, TwoStates, LEVELS, 200, num_atoms=21, approximators=True)
    assert isinstance(run.team, HistogramTeam) and np.isfinite(list(run.trainer.take_report().values())).all()


class OneOutputEach(HistogramLeader):
    def build_network(self):
        return MLP([2, 8, 4])


def test_own_critics_without_histograms_are_refused():
    with pytest.raises(ValueError, match="critic of one has 4 outputs: num_atoms: 21 takes 84, 21 for each joint act"):
        Run(BiAC, TwoStates, LEVELS, num_atoms=21, leader_module_class=OneOutputEach)


@pytest.mark.parametrize("response", ["greedy", "enumerated"])
def test_no_rows_are_no_values(response):
    team = Run(BiAC, TwoStates, LEVELS, num_atoms=21, response=response).team
    assert team.q_tables(torch.zeros(0, 2))["one"].shape == (0, 2, 2)


def test_what_is_beyond_all_intervals_counts_as_in_the_last():
    leader = critic()
    far = leader.histogram(torch.tensor([1e6, -1e6]))
    assert far[:, 0].argmax() == 20 and far[:, 1].argmax() == 0 and torch.isfinite(far).all()


def test_other_units_change_no_q_value_until_they_are_laid_out_anew():
    leader = critic()
    output = torch.randn(7, 4 * 21)
    before = leader.q_table(output)
    leader.rescale_critics([], torch.tensor(0.8), torch.tensor(0.3))
    torch.testing.assert_close(leader.q_table(output), 0.8 * before + 0.3)
    leader.rescale_critics([], torch.tensor(1.5 * MOST_SCALE), torch.tensor(0.0))
    assert (leader.value_scale, leader.value_shift) == (1.0, 0.0)
    leader.rescale_critics([], torch.tensor(1.0), torch.tensor(-1.5 * MOST_SHIFT))
    assert (leader.value_scale, leader.value_shift) == (1.0, 0.0)
    assert torch.linspace(-REACH, REACH, 22).equal(leader.ends)


@pytest.mark.parametrize("env", [TwoStates, Masked])
def test_one_joint_action_is_read_as_the_table_says(env):
    leader = critic(env=env)
    count = leader.num_actions[0] * leader.num_actions[1]
    output, joint = torch.randn(50, count * 21), torch.randint(count, (50, 1))
    table = leader.q_table(output).flatten(1)
    torch.testing.assert_close(leader.q_of(output, joint), table.gather(1, joint).squeeze(1))
    # Rows may lie first or last.
    torch.testing.assert_close(leader.q_table(output.T.contiguous().T), leader.q_table(output))


@pytest.mark.slow
def test_it_bootstraps_over_two_states():
    settings = {"lr": 3e-3, "gamma": 0.5, "tau": 0.1, "epsilon": 1.0, "num_atoms": 21}
    run = train(BiAC, TwoStates, LEVELS, 1600, **settings)
    assert isinstance(run.team, HistogramTeam) and isinstance(run.trainer.losses, HistogramLosses)
    with torch.no_grad():
        one, two = (q.numpy() for q in run.team.q_tables(torch.eye(2)).values())
    np.testing.assert_allclose(one[1], [[2, 4], [2.5, 4.5]], atol=0.15)
    np.testing.assert_allclose(two[1], [[4, 5], [2, 3]], atol=0.15)
    np.testing.assert_allclose(one[0], np.array([[1, 1], [2, 2]]) + 0.5 * 4.5, atol=0.15)
    np.testing.assert_allclose(two[0], np.eye(2) + 0.5 * 3, atol=0.15)


def test_own_losses_are_histograms_too():
    with pytest.raises(ValueError, match=r"with num_atoms write a subclass of .*HistogramLosses, or leave num_atoms"):
        Run(BiAC, TwoStates, LEVELS, num_atoms=11, losses_class=BiACLosses)
    own = type("Own", (HistogramLosses,), {})
    assert type(Run(BiAC, TwoStates, LEVELS, num_atoms=11, losses_class=own).trainer.losses) is own


def test_a_rare_reward_far_beyond_the_first_ones_is_learned():
    """The first targets spread by a thousandth of what is to come: intervals are laid out anew."""
    run = Run(BiAC, TwoStates, LEVELS, num_atoms=21)
    leader, losses = run.team["one"], run.trainer.losses
    small, large = 1e-3 * torch.randn(64), 1.0 + torch.randn(64)
    rescale = partial(leader.rescale_critics, [])
    for targets in (small, *[large] * 20):
        renormalise(rescale, targets, losses.target_statistics["one"], leader.q_mean, leader.q_std)
        reach = leader.raw(leader.value_scale * leader.atoms + leader.value_shift)
    assert reach[0] < large.min() and large.max() < reach[-1]


@pytest.mark.slow
def test_play_is_right_on_both_sides_of_a_cliff():
    run = train(BiAC, Cliff, LEVELS, 4000, num_atoms=21, lr=3e-3, epsilon=0.5)
    states = torch.linspace(0.0, 1.0, 201).unsqueeze(1)
    states = states[(states - 0.5).abs().squeeze(1) > 0.05]
    with torch.no_grad():
        act = run.team.act(states)
        q = run.team.q_tables(states)["one"][:, 0, 0]
    expected = (states > 0.5).long().squeeze(1)
    assert act["one"].equal(expected) and act["two"].equal(expected)
    torch.testing.assert_close(q, torch.where(expected == 0, 10.0, -10.0), atol=2.0, rtol=0.0)


@pytest.mark.parametrize("env", [TwoStates, Masked])
@pytest.mark.parametrize("response", ["greedy", "enumerated"])
def test_the_gradient_in_closed_form_is_autograds(env, response):
    run = train(BiAC, env, LEVELS, 300, num_atoms=11, response=response)
    losses, rows = run.trainer.losses, run.trainer._last
    assert losses._is_known
    told = {}
    for how in (losses.known_gradient, partial(Losses.differentiate, losses)):
        with torch.no_grad():
            measured = how(rows)
        gradients = torch.cat([group.grad.flatten() for _, group in losses.networks.groups])
        told[how] = gradients.clone(), torch.stack([measured[key].detach() for key in sorted(measured)])
    (closed, own), (plain, theirs) = told.values()
    assert plain.abs().max() > 0.0
    torch.testing.assert_close(closed, plain)
    torch.testing.assert_close(own, theirs)


class ActorWithMore(HistogramFollower):
    """Its actor holds a layer that says nothing."""

    def build_actor(self):
        actor = super().build_actor()
        actor.unused = torch.nn.Linear(2, 2)
        return torch.nn.Sequential(actor)


def test_an_own_actor_may_hold_what_it_does_not_use():
    run = Run(BiAC, TwoStates, LEVELS, num_atoms=11, follower_module_class=ActorWithMore)
    assert run.trainer.losses._is_known
    unused = run.team["two"].actor[0].unused.weight
    before = unused.detach().clone()
    run.train(120)
    assert run.trainer.num_updates > 0 and unused.equal(before)
