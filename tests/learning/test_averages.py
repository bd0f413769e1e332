"""Averaged weights in play, and rates that fall: against their plain forms."""

import math

import numpy as np
import pytest
import torch

from rllib_biac.algorithms.biac import BiAC
from rllib_biac.algorithms.maddpg import MATD3
from rllib_biac.learning.trainer import Averages
from tests.games import EndsByRule, Kinds, Masked, TwoStates
from tests.training import Run, differ

LEADS = [["one"], ["two"]]
CASES = {
    "BiAC": (BiAC, TwoStates, LEADS, {}),
    "levels": (BiAC, Kinds, LEADS, {}),
    "own information": (BiAC, Masked, LEADS, {"information": "own"}),
    "MATD3": (MATD3, Kinds, [["one", "two"]], {}),
}


def trained(team):
    return {
        (owner, name): [p.detach().clone() for p in network.parameters()]
        for owner, member in team.members().items()
        for name, network in member.networks().items()
    }


@pytest.mark.parametrize("case", CASES)
def test_play_has_the_mean_of_the_latest_weights(case):
    """Each update weighs in with 1 / (share · n): the recursion, written out, one update at a time."""
    algorithm, env, hierarchy, settings = CASES[case]
    run = Run(algorithm, env, hierarchy, averaging=0.25, normalize_targets=False, **settings)
    rows = run.sampler.sample(400)
    expected = trained(run.team)
    assert not differ(flat(expected), flat(trained(run.trainer.team)))  # both begin alike
    for n in range(1, 21):
        run.trainer.train(run_minibatch(rows, n), minibatch_size=16)
        weight = 1 / max(1, 0.25 * n)
        for key, latest in trained(run.trainer.team).items():
            expected[key] = [a + weight * (b - a) for a, b in zip(expected[key], latest, strict=True)]
    found = flat(trained(run.team))
    for key, value in flat(expected).items():
        torch.testing.assert_close(found[key], value)
    assert differ(found, flat(trained(run.trainer.team)))


def run_minibatch(rows, n):
    return {key: column[16 * (n - 1) : 16 * n].copy() for key, column in rows.columns.items()}


def flat(parameters):
    return {(*key, i): p for key, own in parameters.items() for i, p in enumerate(own)}


def test_new_units_change_nothing_that_averages_say():
    run = Run(BiAC, TwoStates, LEADS, averaging=0.5).train(200)
    states = torch.from_numpy(run.sampler.state())
    before = run.team.q_tables(states)
    for agent in run.trainer.team.agents:
        member = run.trainer.team[agent]
        member.q_mean += 3.0
        member.q_std *= 7.0
    run.trainer.averages.take_units_over()
    for agent, table in run.team.q_tables(states).items():
        torch.testing.assert_close(table, before[agent], rtol=1e-4, atol=1e-4)
        assert run.team[agent].q_std == run.trainer.team[agent].q_std


def test_without_averages_who_learns_plays():
    run = Run(BiAC, TwoStates, LEADS, averaging=0.0).train(100)
    assert run.trainer.averages is None
    assert run.trainer.team is run.trainer.played is run.team


def test_averages_come_to_rest_where_weights_do_not():
    """Of weights that are drawn anew at every update only 1 / sqrt(share · n) of their spread is left."""
    run = Run(BiAC, "escape_v0", [["player_0"], ["player_1"]], averaging=0.5)
    averages = run.trainer.averages
    assert isinstance(averages, Averages)
    generator = torch.Generator().manual_seed(0)
    latest = [p for network in run.trainer.team["player_0"].networks().values() for p in network.parameters()]
    for n in range(1, 2001):
        for p in latest:
            p.data.normal_(generator=generator)
        averages.update(n)
    played = [p for network in run.team["player_0"].networks().values() for p in network.parameters()]
    spread = torch.cat([p.detach().flatten() for p in played]).std()
    assert spread < 0.1


@pytest.mark.parametrize(
    ("env", "gamma", "horizon"), [(TwoStates, 0.9, 10.0), (TwoStates, 1.0, math.inf), (EndsByRule, 0.9, 1.0)]
)
def test_a_rate_falls_by_the_horizon_and_a_schedule_is_left_alone(env, gamma, horizon):
    run = Run(BiAC, env, LEADS, gamma=gamma, lr=1e-2, actor_lr=[[0, 1e-3], [100, 2e-3]], lr_fade=50)
    rows = run.sampler.sample(200).columns
    run.trainer.train(rows, env_steps=500)
    rates = run.trainer.optimizers.rates
    for agent in ("one", "two"):
        assert rates[agent, "critic"] == pytest.approx(1e-2 / math.sqrt(1 + 500 / (50 * math.sqrt(horizon))))
    assert rates["two", "actor"] == 2e-3


def test_loaded_weights_are_learned_from():
    """Weights that come alone are those of who plays; who learns goes on from them."""
    run = Run(BiAC, TwoStates, LEADS, averaging=0.5).train(100)
    other = Run(BiAC, TwoStates, LEADS, averaging=0.5, seed=1)
    for agent in other.team.agents:
        other.team[agent].load_state_dict(run.team[agent].state_dict())
    other.trainer.take_over_weights()
    np.testing.assert_equal(other.trainer.team.weights(), run.team.weights())


def test_averages_may_begin_where_there_were_none():
    learned = Run(BiAC, TwoStates, LEADS, averaging=0.0).train(100).learned()
    other = Run(BiAC, TwoStates, LEADS, averaging=0.5, seed=1).take_over(learned)
    np.testing.assert_equal(other.trainer.team.weights(), learned["weights"])
    other.train(100)
