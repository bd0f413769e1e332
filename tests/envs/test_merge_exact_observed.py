"""The bracket of the best decentralised play of Highway Merge, against enumeration of policies and against replay."""

import itertools
from functools import cache

import numpy as np
import pytest

from rllib_biac.envs import make
from rllib_biac.envs.merge import rules
from rllib_biac.envs.merge.batched import BatchedMerge, command, drive, start
from rllib_biac.envs.merge.exact import merge_equilibrium, policy_outcomes
from rllib_biac.envs.merge.exact_observed import (
    MULTIPLIERS,
    _bracket,
    _Level,
    _qmdp,
    midpoint_starts,
    observed_equilibrium,
    observed_play,
)

MAIN, AUXILIARY = rules.AGENTS
RANGES = (10.0, 30.0, 60.0)


@cache
def solved(sensor_range, leader=MAIN):
    return observed_equilibrium(midpoint_starts(6), sensor_range, leader)


# Synthetic games of two levels and two actions, small enough to try every pair of policies.


def random_level(rng, origin, numbers, own):
    """A level with its nodes' start `origin` and what the agents may tell apart `own`, (2 agents, n) labels."""
    n = origin.size
    branch = np.arange(4 * n).reshape(n, 2, 2).transpose(1, 2, 0)
    seen = np.empty((2, n), dtype=np.int64)
    for agent in range(2):
        for node in range(n):
            # All, or which start and what was done oneself, or only what is told apart without seeing the other.
            label = (
                (agent, "all", len(numbers), node),
                (agent, origin[node], own[agent][node]),
                (agent, own[agent][node]),
            )
            seen[agent, node] = numbers.setdefault(label[rng.integers(3)], len(numbers))
    payoff = rng.choice([-10.0, 10.0, 50.0, 20.0], size=(2, 4 * n))
    return {"branch": branch, "payoff": payoff, "start": origin, "seen": seen}


def random_game(seed, n=2, blind=True):
    rng = np.random.default_rng(seed)
    numbers = {}
    first = random_level(rng, np.arange(n), numbers, [["start"] * n] * 2)
    first["ongoing"] = rng.random(4 * n) < 0.7
    first["payoff"][:, first["ongoing"]] = 0
    node, joint = np.divmod(np.flatnonzero(first["ongoing"]), 4)
    second = random_level(rng, node, numbers, [joint // 2, joint % 2])
    second["ongoing"] = np.zeros(4 * node.size, dtype=bool)
    if not blind:
        for at, level in enumerate((first, second)):
            level["seen"] = np.repeat([np.arange(level["start"].size) + 100 * at], 2, axis=0)
    numbers, origins = (
        np.concatenate(parts) for parts in ([first["seen"][1], second["seen"][1]], [np.arange(n), node])
    )
    alone = [number for number in numbers if len(set(origins[numbers == number])) == 1]
    return [
        _Level(
            **level,
            private=np.isin(level["seen"][1], alone),
            q=np.empty((2, 2, 2, level["start"].size)),
            action=np.empty((2, level["start"].size)),
        )
        for level in (first, second)
    ]


def every_pair(levels, gamma):
    """Returns all policies of both, (K, numbers), and what each pair is worth at each start, (K_1, K_2, n, 2)."""
    size = max(int(level.seen.max()) for level in levels) + 1
    policies = []
    for agent in range(2):
        used = np.unique(np.concatenate([level.seen[agent] for level in levels]))
        every = np.zeros((2**used.size, size), dtype=np.int64)
        every[:, used] = list(itertools.product(range(2), repeat=used.size))
        policies.append(every)
    first, second = levels
    value = np.empty((len(policies[0]), len(policies[1]), first.start.size, 2))
    below = np.cumsum(first.ongoing) - 1
    for k in range(first.start.size):
        branch = first.branch[policies[0][:, None, first.seen[0, k]], policies[1][None, :, first.seen[1, k]], k]
        value[:, :, k] = np.moveaxis(first.payoff[:, branch], 0, -1)
        rows, columns = np.nonzero(first.ongoing[branch])
        node = below[branch[rows, columns]]
        leaf = second.branch[policies[0][rows, second.seen[0, node]], policies[1][columns, second.seen[1, node]], node]
        value[rows, columns, k] = gamma * second.payoff[:, leaf].T
    return policies, value


def commitments(value):
    """What each leader policy is worth, the follower's ties going against the leader and its way; (K_1,) each."""
    leader, follower = np.moveaxis(value.mean(axis=2), -1, 0)
    best = follower >= follower.max(axis=1, keepdims=True) - 1e-9
    return np.where(best, leader, np.inf).min(axis=1), np.where(best, leader, -np.inf).max(axis=1)


# In the last five the follower's best policy treats starts that it cannot tell apart at the expense of one of them.
@pytest.mark.parametrize("seed", [*range(6), 41, 98, 124, 232, 256])
def test_bracket_holds_whatever_pair_it_is_made_from(seed):
    levels = random_game(seed)
    policies, value = every_pair(levels, 0.9)
    worst, best = commitments(value)
    rng = np.random.default_rng(seed)
    for _ in range(16):
        i, j = (rng.integers(len(every)) for every in policies)
        lower, upper = _bracket(levels, [policies[0][i], policies[1][j]], value[i, j, :, 1], MULTIPLIERS, 0.9)
        assert lower <= worst[i] + 1e-9
        assert upper >= best.max() - 1e-9


def test_bracket_is_tight_if_the_follower_sees_all():
    """Then the upper end is the best commitment, and the lower what the given one is worth."""
    for seed in range(6):
        levels = random_game(seed, n=1, blind=False)
        policies, value = every_pair(levels, 0.9)
        worst, best = commitments(value)
        i = int(worst.argmax())
        j = int(value[i, :, 0, 1].argmax())
        lower, upper = _bracket(levels, [policies[0][i], policies[1][j]], value[i, j, :, 1], MULTIPLIERS, 0.9)
        assert lower == pytest.approx(worst[i])
        assert upper == pytest.approx(best.max())


def test_some_brackets_are_wider_without_sight_and_none_is_empty():
    """The upper end is no maximum over everything: it is below what the leader would get from a follower that obeys."""
    below = 0
    for seed in range(12):
        levels = random_game(seed)
        policies, value = every_pair(levels, 0.9)
        j = len(policies[1]) // 2
        _, upper = _bracket(levels, [policies[0][0], policies[1][j]], value[0, j, :, 1], MULTIPLIERS, 0.9)
        below += upper < value[..., 0].max(axis=(0, 1)).mean() - 1e-9
    assert below >= 3


def test_qmdp_averages_over_what_it_cannot_tell_apart():
    q = np.zeros((2, 5, 5, 2))  # agent, leader's action, follower's, node
    q[0, 1], q[0, 2] = [9.0, 0.0], [5.0, 6.0]  # the first node alone would have 1, both together 2
    q[1, :, 3], q[1, :, 4] = [1.0, 1.0], [0.0, 9.0]  # likewise 3, and together 4
    seen = np.zeros((2, 2), dtype=np.int64)
    branch = np.arange(50).reshape(5, 5, 2)
    level = _Level(
        branch, np.zeros((2, 50)), np.zeros(50, bool), np.arange(2), seen, np.zeros(2, bool), q, np.zeros((2, 2))
    )
    leader, follower = _qmdp([level])
    assert (leader[0], follower[0]) == (2, 4)


# Highway Merge itself.


def test_without_a_sensor_range_the_pair_plays_the_feedback_equilibrium():
    found, truth = solved(None), merge_equilibrium(midpoint_starts(6))
    np.testing.assert_array_equal(found.play.outcome, truth.outcome)
    np.testing.assert_allclose(found.full, truth.leader_value)
    np.testing.assert_allclose(found.play.value[MAIN], truth.leader_value)
    np.testing.assert_allclose(found.play.value[AUXILIARY], truth.follower_value)


@pytest.mark.parametrize("leader", rules.AGENTS)
@pytest.mark.parametrize("sensor_range", RANGES)
def test_bracket_from_the_usual_starts(sensor_range, leader):
    """At the start the cars see each other, and what they then chose to do their own speeds go on telling them."""
    found, sighted = solved(sensor_range, leader), solved(None, leader)
    assert found.lower == pytest.approx(found.upper)
    assert found.lower == pytest.approx(found.full.mean())
    assert found.play.value[leader].mean() == pytest.approx(found.lower)
    assert found.lower <= sighted.upper + 1e-9
    assert found.upper < found.cooperative - 5


@pytest.mark.parametrize("sensor_range", RANGES)
def test_the_pair_replayed_in_the_batched_game(sensor_range):
    found, starts = solved(sensor_range), midpoint_starts(6)
    game = BatchedMerge(len(starts), np.random.default_rng(0), sensor_range=sensor_range)
    game.reset(starts=starts)
    over, value, discount, blind = np.zeros(len(starts), dtype=bool), np.zeros((2, len(starts))), 1.0, 0
    while not over.all():
        observations = game.observe()
        blind += sum((observations[agent][~over, 8] == 0).sum() for agent in rules.AGENTS)
        actions = {agent: np.zeros(len(starts), dtype=np.int64) for agent in rules.AGENTS}
        for agent in rules.AGENTS:
            actions[agent][~over] = found.policies[agent](observations[agent][~over])
        step = game.step(actions)
        value += discount * np.where(over, 0.0, [step.rewards[agent] for agent in rules.AGENTS])
        over |= step.terminated
        discount *= 0.99
    assert blind > len(starts) / 2
    np.testing.assert_allclose(value, [found.play.value[agent] for agent in rules.AGENTS], rtol=1e-6)


def test_play_on_observations_is_that_of_highway_env():
    def cautious(observations):
        return np.where(observations[:, 8] == 1, rules.SLOWER, rules.FASTER)

    policies = {MAIN: cautious, AUXILIARY: lambda observations: np.full(len(observations), rules.IDLE)}
    starts = np.array([[215.0, 38.0, 215.0, 33.0], [215.0, 31.0, 222.0, 39.0], [230.0, 33.0, 215.0, 39.0]])
    played = observed_play(policies, starts, 10.0, gamma=0.5)
    env = make("merge_v0", sensor_range=10.0)
    for i, each in enumerate(starts):
        observations, _ = env.reset(options=dict(zip(rules.START_NAMES, each, strict=True)))
        discount, value = 1.0, 0.0
        while env.agents:
            actions = {agent: int(policies[agent](observations[agent][None])[0]) for agent in rules.AGENTS}
            observations, rewards, _, _, infos = env.step(actions)
            value += discount * rewards[MAIN]
            discount *= 0.5
        assert infos[MAIN]["outcome"] == rules.OUTCOMES[played.outcome[i]]
        assert value == pytest.approx(played.value[MAIN][i])


def test_play_on_full_observations_is_play_on_states():
    def choose(own, other):
        return np.where(own[:, 2] > other[:, 2], rules.FASTER, rules.SLOWER)

    starts = midpoint_starts(8)
    policy = {agent: lambda o: choose(o[:, :4], o[:, 4:8]) for agent in rules.AGENTS}
    outcomes = policy_outcomes(
        lambda s: {MAIN: choose(s[:, :4], s[:, 4:]), AUXILIARY: choose(s[:, 4:], s[:, :4])}, starts
    )
    np.testing.assert_array_equal(observed_play(policy, starts, None).outcome, outcomes)


ALWAYS = (rules.IDLE, rules.FASTER, rules.SLOWER)


def best_response(cars, plan, gamma):
    """(leader's, follower's return) against a main car that follows a plan whatever happens, auxiliary seeing all."""
    values = []
    for action in (rules.LANE_LEFT, *ALWAYS):
        after, (outcome,) = drive(command(cars, np.array([[plan[0]], [action]])))
        if outcome == rules.ONGOING:
            values.append(gamma * np.array(best_response(after, plan[1:], gamma)))
        else:
            values.append(rules.REWARDS[outcome])
    return max(values, key=lambda value: (value[1], -value[0]))


def test_a_leader_that_sees_nothing_can_commit_to_more_than_stagewise_play():
    """Every plan of a main car that drives ahead, blind, while auxiliary comes up from behind: a plan is a threat."""
    starts = np.array([[246.7, 40.7, 221.8, 54.9], [246.7, 40.7, 221.8, 57.6]])
    worth = [
        np.mean([best_response(start(each[None]), plan, 0.99) for each in starts], axis=0)[0]
        for plan in itertools.product(ALWAYS, repeat=2)
    ]
    found = observed_equilibrium(starts, 60.0)
    assert found.lower < max(worth)
    assert max(worth) == pytest.approx(found.upper)
    assert found.full.mean() < found.upper - 10


def test_midpoints_stand_for_the_range():
    starts = midpoint_starts(4, 30, 40, 215)
    assert starts.shape == (16, 4)
    np.testing.assert_allclose(np.unique(starts[:, 1]), [31.25, 33.75, 36.25, 38.75])
    np.testing.assert_allclose(starts.mean(axis=0), [215, 35, 215, 35])


def test_bad_arguments_are_refused():
    starts = midpoint_starts(1)
    with pytest.raises(ValueError, match="leader"):
        observed_equilibrium(starts, 10.0, leader="main")
    with pytest.raises(ValueError, match="shape"):
        observed_equilibrium(starts[0], 10.0)
    with pytest.raises(ValueError, match="sensor_range"):
        observed_equilibrium(starts, -1.0)
    with pytest.raises(ValueError, match="cells"):
        midpoint_starts(0)
    with pytest.raises(ValueError, match="starts it was made for"):
        solved(10.0).policies[MAIN](np.zeros((1, 9), dtype=np.float32))
