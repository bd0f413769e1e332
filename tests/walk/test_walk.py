"""The walk, training's targets, tabular Q-learning and the exact equilibria play one joint action, with any masks."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from rllib_biac.algorithms.biac import BiAC
from rllib_biac.algorithms.bilevel_q.trainer import equilibrium
from rllib_biac.equilibria import hierarchy_se, stackelberg
from rllib_biac.execution import StackelbergPolicy
from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.model_config import MODEL_DEFAULTS
from rllib_biac.learning.team import TeamSpec
from rllib_biac.learning.transitions import NEXT_ACTION_MASK, NEXT_STATE, REWARDS, TERMINATED
from rllib_biac.walk import ByActions, ByTables, best, picked, restrict, walk

LEVELS = (("one",), ("two",))
GAMES = 300
SIZES = [(2, 2), (3, 5), (6, 1), (1, 4), (4, 4)]


def games(sizes, seed, *, ties):
    """Returns q1, q2 (games, |A_1|, |A_2|) float32, and a mask per player, in which a few rows allow nothing."""
    rng = np.random.default_rng(seed)
    shape = (2, GAMES, *sizes)
    q1, q2 = (rng.integers(3, size=shape) if ties else rng.normal(size=shape)).astype(np.float32)
    masks = {agent: rng.random((GAMES, size)) < 0.6 for agent, size in zip(("one", "two"), sizes, strict=True)}
    return q1, q2, masks


def exact(q1, q2, masks):
    """Returns the joint actions (games, 2) of the pure SE, forbidden rows and columns taken out of each game."""
    found = []
    for k in range(GAMES):
        allowed = [np.flatnonzero(mask[k]) if mask[k].any() else np.arange(mask.shape[1]) for mask in masks]
        se = stackelberg(np.stack([q1[k], q2[k]])[:, allowed[0]][:, :, allowed[1]])
        found.append((allowed[0][se.leader_action], allowed[1][se.follower_action]))
    return np.array(found)


def tensors(arrays):
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def joint(actions):
    return np.stack([np.asarray(actions["one"]), np.asarray(actions["two"])], 1)


def team_of(q1, q2, **settings):
    """Returns a Bi-AC team that plays game k in state k: its networks are tables, the follower's actor is its Q_2."""
    count, *sizes = q1.shape
    settings = {"model_config": MODEL_DEFAULTS | {"fcnet_hiddens": []}, "gamma": 1.0} | settings
    spaces = {agent: Discrete(size) for agent, size in zip(("one", "two"), sizes, strict=True)}
    state = Box(0.0, 1.0, (count,), np.float32)
    spec = TeamSpec(
        Hierarchy(LEVELS), ("one", "two"), dict.fromkeys(spaces, state), spaces, state, True, BiAC.settings(**settings)
    )
    team = BiAC.build_team(spec)
    with torch.no_grad():
        for agent, tables in zip(("one", "two"), (q1, q2), strict=True):
            networks = team[agent].networks() | {"target": team[agent].critic_target}
            for name, network in networks.items():
                # Targets are worth something else, so that it shows who chooses and who evaluates.
                sign = -1.0 if name == "target" else 1.0
                network.layers[0].weight.copy_(sign * torch.from_numpy(tables).reshape(count, -1).T)
                network.layers[0].bias.zero_()
    return team


@pytest.mark.parametrize("masked", [False, True], ids=["free", "masked"])
@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_all_choose_one_joint_action(sizes, ties, masked):
    q1, q2, masks = games(sizes, 0, ties=ties)
    expected = exact(q1, q2, masks.values() if masked else [np.ones((GAMES, size), bool) for size in sizes])
    masks = masks if masked else {}

    play = ByTables(LEVELS, q1, q2, masks)
    np.testing.assert_array_equal(joint(walk(LEVELS, play)), expected)
    play = ByTables(LEVELS, torch.from_numpy(q1), torch.from_numpy(q2), tensors(masks))
    np.testing.assert_array_equal(joint(walk(LEVELS, play)), expected)

    tabular = [equilibrium(q1[k], q2[k], *(mask[k] for mask in masks.values())) for k in range(GAMES)]
    np.testing.assert_array_equal(tabular, expected)


@pytest.mark.parametrize("masked", [False, True], ids=["free", "masked"])
@pytest.mark.parametrize("response", ["greedy", "enumerated"])
@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
def test_targets_and_play_of_networks_are_those_of_their_tables(response, ties, masked):
    q1, q2, masks = games((3, 4), 1, ties=ties)
    expected = exact(q1, q2, masks.values() if masked else [np.ones((GAMES, size), bool) for size in (3, 4)])
    masks = masks if masked else {}
    team = team_of(q1, q2, response=response)
    states = torch.eye(GAMES)

    np.testing.assert_array_equal(joint(team.act(states, masks=tensors(masks) or None)), expected)

    losses = BiAC.build_trainer(team, seed=0).losses
    rows = {NEXT_STATE: states, TERMINATED: torch.arange(GAMES) % 3 == 0}
    rows |= {(REWARDS, agent): torch.full((GAMES,), 10.0) for agent in ("one", "two")}
    rows |= {(NEXT_ACTION_MASK, agent): torch.from_numpy(mask) for agent, mask in masks.items()}
    chosen = losses.next_joint_actions(rows, losses.networks.forward(states)).squeeze(1)
    np.testing.assert_array_equal(np.stack(np.unravel_index(chosen, (3, 4)), 1), expected)

    targets = losses.compute_targets(rows)  # Eqs. 14 and 19, by target networks that say -Q
    for agent, tables in (("one", q1), ("two", q2)):
        values = -tables[np.arange(GAMES), *expected.T]
        np.testing.assert_array_equal(targets[agent], 10.0 + np.where(rows[TERMINATED], 0.0, values))

    policy = StackelbergPolicy.from_module(team)
    playable = np.logical_and.reduce([mask.any(1) for mask in masks.values()] or [np.ones(GAMES, bool)])
    given = {agent: mask[playable] for agent, mask in masks.items()} or None  # it refuses masks that allow nothing
    np.testing.assert_array_equal(joint(policy.act(np.eye(GAMES)[playable], masks=given)), expected[playable])


def test_a_leader_that_is_told_what_to_do_is_answered():
    q1, q2, masks = games((3, 4), 2, ties=False)
    given = np.random.default_rng(0).integers(3, size=GAMES)
    for convert in (np.asarray, torch.from_numpy):
        own = {agent: convert(mask) for agent, mask in masks.items()}
        play = ByTables(LEVELS, convert(q1), convert(q2), own)
        actions = walk(LEVELS, play, lambda agent, greedy: convert(given) if agent == "one" else greedy)  # noqa: B023
        np.testing.assert_array_equal(actions["one"], given)
        np.testing.assert_array_equal(actions["two"], best(q2[np.arange(GAMES), given], masks["two"]))


# Hierarchies of any depth.

HIERARCHIES = [
    (("a",), ("b",)),
    (("b",), ("a", "c")),
    (("a", "b"), ("c",)),
    (("c",), ("a",), ("b",)),
    (("a",), ("b", "c"), ("d",)),
    (("a", "b", "c"),),
]
NUM_ACTIONS = {"a": 2, "b": 3, "c": 4, "d": 2}


class Tables:
    """What every agent's network says, of indices: tables (games, sizes above, |A_i|), and the leader's critic."""

    def __init__(self, levels, seed):
        rng = np.random.default_rng(seed)
        self.levels, self.count = levels, 40
        self.agents = [agent for level in levels for agent in level]
        self.sizes = {agent: NUM_ACTIONS[agent] for agent in self.agents}
        self.above = {
            agent: [x for upper in levels[:k] for x in upper] for k, own in enumerate(levels) for agent in own
        }
        self.actors = {
            agent: rng.normal(size=(self.count, *(self.sizes[x] for x in self.above[agent]), self.sizes[agent]))
            for agent in self.agents
        }
        self.critic = rng.normal(size=(self.count, *self.sizes.values()))
        self.masks = {agent: rng.random((self.count, size)) < 0.6 for agent, size in self.sizes.items()}
        self.enumerates = len(levels[0]) == 1

    def play(self, convert, masks):
        """Returns the same as networks that see one state number and one-hot actions."""
        eye = {agent: convert(np.eye(size)) for agent, size in self.sizes.items()}

        def looked_up(table, agents, seen):
            seen = np.asarray(seen)
            at = np.split(seen[..., 1:], np.cumsum([self.sizes[x] for x in agents])[:-1], -1) if agents else []
            return convert(table[seen[..., 0].astype(int), *(part.argmax(-1) for part in at)])

        def leads():
            _, q = play.tries(
                leader, eye[leader], {}, lambda seen: looked_up(self.critic, self.agents, seen)[..., None]
            )
            return {leader: eye[leader][best(q, masks.get(leader))]}

        leader = self.agents[0]
        play = ByActions(
            self.levels,
            convert(np.arange(self.count, dtype=float)[:, None]),
            actor=lambda agent, seen: looked_up(self.actors[agent], self.above[agent], seen),
            vector=lambda agent, output, mask: eye[agent][best(output, mask)],
            masks=masks,
            leads=leads if self.enumerates else None,
        )
        return play

    def answered(self, k, joint, masks):
        """Lets everybody who has no action yet answer those above, in plain loops over one game."""
        for agent in self.agents:
            if agent not in joint:
                said = self.actors[agent][k, *(joint[x] for x in self.above[agent])]
                joint = joint | {agent: max(self.allowed(k, agent, masks), key=said.__getitem__)}
        return joint

    def allowed(self, k, agent, masks):
        every = range(self.sizes[agent])
        return [a for a in every if agent not in masks or masks[agent][k, a]] or every

    def brute_force(self, k, masks):
        if not self.enumerates:
            return self.answered(k, {}, masks)
        leader = self.agents[0]
        plays = [self.answered(k, {leader: a}, masks) for a in self.allowed(k, leader, masks)]
        return max(plays, key=lambda joint: self.critic[k, *(joint[agent] for agent in self.agents)])


@pytest.mark.parametrize("masked", [False, True], ids=["free", "masked"])
@pytest.mark.parametrize("levels", HIERARCHIES, ids=str)
def test_levels_play_as_by_brute_force(levels, masked):
    tables = Tables(levels, 0)
    masks = tables.masks if masked else {}
    expected = [tables.brute_force(k, masks) for k in range(tables.count)]
    for convert in (np.asarray, torch.from_numpy):
        actions = walk(levels, tables.play(convert, {agent: convert(mask) for agent, mask in masks.items()}))
        for agent in tables.agents:
            np.testing.assert_array_equal(actions[agent].argmax(-1), [play[agent] for play in expected])


@pytest.mark.parametrize(
    "levels", [levels for levels in HIERARCHIES if all(len(level) == 1 for level in levels)], ids=str
)
def test_a_chain_of_best_responses_is_the_exact_equilibrium(levels):
    tables = Tables(levels, 1)
    agents = tables.agents
    payoffs = np.random.default_rng(2).normal(size=(len(agents), tables.count, *tables.sizes.values()))
    tables.critic = payoffs[0]
    # From the bottom up, each actor becomes the best response: its payoff, those below answering.
    for level in reversed(range(1, len(agents))):
        agent, shape = agents[level], tables.actors[agents[level]].shape
        tables.actors[agent] = np.zeros(shape)
        for k, *given in itertools.product(*map(range, shape)):
            play = tables.answered(k, dict(zip(agents, given, strict=False)), {})
            tables.actors[agent][k, *given] = payoffs[level, k, *(play[x] for x in agents)]
    for convert in (np.asarray, torch.from_numpy):
        actions = walk(levels, tables.play(convert, {}))
        for k in range(tables.count):
            se = hierarchy_se(payoffs[:, k], [[i] for i in range(len(agents))])
            assert tuple(int(actions[agent][k].argmax()) for agent in agents) == se.optimistic


# The small functions.


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_a_mask_that_allows_nothing_forbids_nothing(convert):
    values = convert(np.array([[1.0, 3.0, 2.0]] * 3))
    mask = convert(np.array([[False] * 3, [True, False, True], [True] * 3]))
    assert restrict(values, None) is values
    np.testing.assert_array_equal(restrict(values, mask), [[1, 3, 2], [1, -np.inf, 2], [1, 3, 2]])
    np.testing.assert_array_equal(best(values, mask), [1, 2, 1])


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_entries_and_vectors_are_picked(convert):
    rng = np.random.default_rng(0)
    values, rows = rng.normal(size=(5, 3, 4)), np.arange(5)
    index = rng.integers(4, size=(5, 3))
    expected = values[rows[:, None], np.arange(3), index]
    np.testing.assert_array_equal(picked(convert(values), convert(index)), expected)
    np.testing.assert_array_equal(picked(convert(values), convert(index[:, 0] % 3)), values[rows, index[:, 0] % 3])


def test_the_walk_needs_numpy_alone():
    script = "import sys, rllib_biac.walk; print({'torch', 'ray', 'gymnasium', 'scipy'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=100)
    assert run.stdout.strip() == "set()"
