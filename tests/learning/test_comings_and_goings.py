"""Agents that come and go, end each in its own way, or act in turns: what is learned of them is what is right."""

import numpy as np
import pytest
import torch

from rllib_biac.algorithms.biac import BiAC
from rllib_biac.algorithms.bilevel_q import BiLevelQ
from rllib_biac.algorithms.dqn import IDQN
from rllib_biac.algorithms.maddpg import MADDPG
from tests import foreign
from tests.training import Run, train

PAIR, PEERS = [["a"], ["b"]], [["a", "b"]]
FAST = {"gamma": 0.9, "lr": 3e-3, "tau": 0.05, "epsilon": 0.5, "state": "observations"}


def name(value):
    return getattr(value, "name", None)


def values(run, agent, sample=500):
    """Returns what the critic says of an agent's replayed first steps, and of steps at which it is absent."""
    rows = run.minibatch(run.replay.sample(sample))
    seen = rows | {"state": run.team[agent].encode(rows["state"])}
    with torch.no_grad():
        q = run.trainer.losses.replayed_q(run.trainer.losses.forward_online(seen), seen)[agent]
    return run.team[agent].raw(q), rows


def at_time(rows, time):
    return rows["state"][:, 0] == time


@pytest.mark.parametrize(
    ("algorithm", "levels"),
    [
        (BiAC, PAIR),
        *(pytest.param(algorithm, PEERS, marks=pytest.mark.slow) for algorithm in (BiAC, IDQN, MADDPG)),
    ],
    ids=name,
)
def test_a_leavers_value_ends_with_it(algorithm, levels):
    run = train(algorithm, foreign.Leaver, levels, 1200, **FAST)
    first, rows = values(run, "a")
    assert first[at_time(rows, 0)].mean() == pytest.approx(1 + 0.9 + 0.81 + 0.729, abs=0.25)
    of_b, rows = values(run, "b")
    assert of_b[at_time(rows, 0)].mean() == pytest.approx(1.9, abs=0.2)
    assert of_b[at_time(rows, 1)].mean() == pytest.approx(1.0, abs=0.2)
    assert of_b[at_time(rows, 3)].mean() == pytest.approx(0.0, abs=0.2)


@pytest.mark.slow
def test_who_comes_late_has_value_from_the_start():
    run = train(BiAC, foreign.LateComer, PAIR, 1500, **FAST)
    of_b, rows = values(run, "b")
    assert of_b[at_time(rows, 0)].mean() == pytest.approx(0.81 + 0.729, abs=0.25)


@pytest.mark.parametrize("algorithm", [BiAC, IDQN, BiLevelQ], ids=name)
def test_each_critic_bootstraps_by_its_own_agents_end(algorithm):
    levels = PEERS if algorithm is IDQN else PAIR
    # A table learns from each row in turn, in Python.
    given, steps = ({"lr": 0.5, "model_config": {}}, 300) if algorithm is BiLevelQ else ({}, 1500)
    run = train(algorithm, foreign.EndsApart, levels, steps, **FAST | given)
    # The state never changes: of `b`, who goes on, the value is 1 / (1 - gamma).
    state = torch.from_numpy(run.sampler.state())
    seen = {agent: torch.from_numpy(own) for agent, own in run.sampler.games.observe().items()}
    with torch.no_grad():
        tables = run.team.q_tables(state, seen)
    assert tables["a"].mean() == pytest.approx(1.0, abs=0.1)
    assert tables["b"].mean() == pytest.approx(10.0, abs=1.0)


@pytest.mark.parametrize(
    ("algorithm", "levels", "more"),
    [
        (BiAC, PAIR, {}),
        pytest.param(IDQN, PEERS, {}, marks=pytest.mark.slow),
        pytest.param(BiAC, PAIR, {"normalize_observations": True}, marks=pytest.mark.slow),
        pytest.param(BiAC, PEERS, {}, marks=pytest.mark.slow),
        pytest.param(BiAC, PAIR, {"information": "own"}, marks=pytest.mark.slow),
        pytest.param(MADDPG, PEERS, {}, marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_what_the_truncated_could_still_have_earned_counts(algorithm, levels, more):
    run = train(algorithm, foreign.TruncatedAlone, levels, 1500, **FAST | more)
    of_b, rows = values(run, "b")
    there = rows["action_mask", "b"].all(1)
    assert of_b[there].mean() == pytest.approx(10.0, abs=1.5)
    assert of_b[~there].mean() == pytest.approx(0.0, abs=0.5)
    if algorithm in (IDQN, MADDPG):
        return  # `a` does not see whether `b` is there
    of_a, rows = values(run, "a")
    alone = ~rows["action_mask", "b"].all(1)
    assert of_a[alone].mean() == pytest.approx(3.571, abs=0.6)
    assert of_a[~alone].mean() == pytest.approx(5.549, abs=0.8)


@pytest.mark.parametrize(
    ("algorithm", "given"),
    [(BiLevelQ, {"lr": 0.5, "model_config": {}}), (BiAC, {"num_hypotheses": 2})],
    ids=name,
)
def test_who_does_not_learn_from_it_refuses_agents_truncated_alone(algorithm, given):
    with pytest.raises(ValueError, match="an agent is truncated while others go on"):
        Run(algorithm, foreign.TruncatedAlone, PAIR, **FAST | given)


@pytest.mark.slow
def test_play_in_turns_that_is_cut_off_has_the_value_of_play_that_goes_on():
    run = train(IDQN, foreign.TurnsCutOff, PEERS, 2500, **FAST)
    for agent in "ab":
        q, rows = values(run, agent)
        on_turn = rows["action_mask", agent].all(1)
        assert q[on_turn].mean() == pytest.approx(1 / (1 - 0.81), abs=0.4)
        assert q[~on_turn].mean() == pytest.approx(0.9 / (1 - 0.81), abs=0.4)


def test_play_in_turns_is_learned():
    """Who is second answers who was first: subgame perfection, and the best return is 2 + 2 + 2 + 2 less the start."""
    run = train(BiAC, foreign.Turns, PAIR, 1500, **FAST)
    run.sampler.sample(0, num_episodes=20, explore=False)
    assert run.sampler.finished.returns().sum(1).mean() == pytest.approx(8.0)


@pytest.mark.parametrize("game", [foreign.ForbiddenOnce, foreign.MaskBesideGoal])
@pytest.mark.parametrize("algorithm", [BiAC, IDQN, pytest.param(MADDPG, marks=pytest.mark.slow)], ids=name)
def test_no_forbidden_action_is_ever_played(algorithm, game):
    """The games raise if one is."""
    run = train(algorithm, game, PAIR if algorithm is BiAC else PEERS, 400, **FAST)
    run.sampler.sample(0, num_episodes=20, explore=False)
    if game is foreign.ForbiddenOnce and algorithm is BiAC:
        assert run.sampler.finished.returns().mean() == pytest.approx(3.0, abs=0.3)


@pytest.mark.parametrize(
    ("algorithm", "levels"), [(BiAC, PAIR), pytest.param(MADDPG, PEERS, marks=pytest.mark.slow)], ids=name
)
def test_an_absent_vehicle_stands_in_the_middle(algorithm, levels):
    run = train(algorithm, foreign.Steerers, levels, 600, **FAST | {"epsilon": 0.3})
    rows = run.replay.sample(500).columns
    gone = rows["action_mask", "b"][:, 0] == 0
    assert gone.any() and not rows["actions", "b"][gone].any() and rows["actions", "b"][~gone].any()
    run.sampler.sample(20, explore=False)


def test_bits_are_seen_as_bits():
    run = Run(BiAC, foreign.Bits, PAIR, **FAST | {"gamma": 0.0})
    run.train(1500)
    run.sampler.sample(0, num_episodes=200, explore=False)
    assert run.sampler.finished.returns().mean() > 0.9


def test_evaluation_cuts_what_never_ends(caplog):
    run = Run(BiAC, foreign.Circles, PAIR, **FAST | {"max_episode_steps": 30})
    run.sampler.sample(0, num_episodes=20, explore=False)
    assert set(run.sampler.finished.lengths()) == {30}
    assert "did not end within 30 steps" in caplog.text


def test_rows_are_the_same_however_play_is_cut():
    whole = Run(BiAC, foreign.Leaver, PAIR, **FAST).sampler.sample(120).columns
    parts = Run(BiAC, foreign.Leaver, PAIR, **FAST)
    cut = [parts.sampler.sample(steps).columns for steps in (10, 30, 50, 30)]
    for key, column in whole.items():
        np.testing.assert_array_equal(column, np.concatenate([part[key] for part in cut]))
