"""Highway Merge with a `sensor_range`: the best play of two policies of the own observation, bracketed.

The leader commits to a policy of its own observations, and the follower best-responds with a policy of its own; both
forget what they no longer see. From each start the game is a small tree, but a car that does not see the other does the
same in all starts that look alike to it, and this ties the starts together. So the leader's return is bracketed:

- from below by a pair of policies, that of the QMDP approximation (Littman, Cassandra & Kaelbling 1995), which is what
  actors of the own observation are trained for when the critics know the whole state;
- from above by Lagrangian relaxation: the leader may see and remember everything, but the follower must not be better
  off in another policy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from rllib_biac.envs.merge import rules
from rllib_biac.envs.merge.batched import BatchedMerge, Cars, command, drive, start
from rllib_biac.envs.merge.exact import NUM_ACTIONS, _checked, _expand, _solve

Policy = Callable[[np.ndarray], np.ndarray]  # observations of one agent (m, 9) float32 -> its actions (m,) int

EXPLORATION = 0.1  # share of random actions in the play whose states the QMDP approximation weighs by
TIE = 1e-9  # expected returns that differ by less are equal
# Lagrange multipliers tried, one of which is taken for each set of starts that are tied together. Every one of them
# gives valid bounds; 0 bounds by cooperation, the largest turns the follower's preference into a constraint.
MULTIPLIERS = np.concatenate([[0.0], np.geomspace(0.1, 1000.0, 17)])


@dataclass(frozen=True)
class ObservedPlay:
    """What becomes of n games.

    Attributes:
        outcome: (n,) int, indices into `rules.OUTCOMES`.
        value: agent -> (n,), discounted returns.
    """

    outcome: np.ndarray
    value: dict[str, np.ndarray]


@dataclass(frozen=True)
class ObservedMerge:
    """The best decentralised play from n starts, equally likely.

    `lower` and `upper` bracket the most that a leader can expect which commits to a deterministic policy of its own
    observations, the follower answering with the policy of its own observations that is best for the follower. Ties of
    the follower go against the leader in `lower` and its way in `upper`.

    Attributes:
        lower: what the leader's part of `policies` brings it at least.
        upper: what no commitment brings more than, be it to a policy that sees everything.
        cooperative: the leader's best if the follower did whatever suits the leader.
        full: (n,), the leader's return in the feedback equilibrium of the game in which both always see all.
        policies: agent -> the pair of policies of the QMDP approximation; they know the observations that may follow
            from the starts and no others.
        play: how that pair plays.
    """

    lower: float
    upper: float
    cooperative: float
    full: np.ndarray
    policies: dict[str, Policy]
    play: ObservedPlay


@dataclass(frozen=True)
class _Level:
    """The games after as many decisions, n nodes. Axes of the two agents are leader, follower."""

    branch: np.ndarray  # (5, 5, n), the leader's and the follower's action at a node -> branch
    payoff: np.ndarray  # (2 agents, branches), 0 where the game goes on
    ongoing: np.ndarray  # (branches,) bool; the next level's nodes are these branches, in order
    start: np.ndarray  # (n,), which start it follows from
    seen: np.ndarray  # (2 agents, n), number of what the agent observes, equal over all levels where observations are
    private: np.ndarray  # (n,) bool, the follower observes this after no other start
    q: np.ndarray  # (2 agents, 5, 5, n), Q of the full-information feedback equilibrium
    action: np.ndarray  # (2 agents, n), its actions


def midpoint_starts(cells: int = 40, low: float = 30.0, high: float = 40.0, x: float = 215.0) -> np.ndarray:
    """Returns starts (cells², 4) that stand for both speeds uniform between `low` and `high`: the centres of a grid.

    Columns are those of `rules.START_NAMES`, m and m/s. An even number of cells leaves 35 m/s on an edge between two,
    which is where the cars' choice of speeds changes.

    Raises:
        ValueError: if there is no cell.
    """
    if cells < 1:
        raise ValueError(f"cells={cells!r} must be at least 1.")
    centres = low + (np.arange(cells) + 0.5) * (high - low) / cells
    main, auxiliary = (speeds.ravel() for speeds in np.meshgrid(centres, centres, indexing="ij"))
    return np.column_stack([np.full(main.size, x), main, np.full(main.size, x), auxiliary])


def observed_play(
    policies: Mapping[str, Policy], starts: np.ndarray, sensor_range: float | None, gamma: float = 0.99
) -> ObservedPlay:
    """Plays policies of the own observation from every start.

    Args:
        policies: agent -> function from its observations (m, 9) float32, of the games still going, to actions (m,).
            Without a `sensor_range` observations are (m, 8).
        starts: (n, 4), columns main_x, main_speed, auxiliary_x, auxiliary_speed; m and m/s.
        sensor_range: m, as for `merge_v0`.
        gamma: discount per decision.
    """
    cars = start(starts)
    outcomes, value = np.full(len(cars), rules.ONGOING), np.zeros((2, len(cars)))
    going, discount = np.arange(len(cars)), 1.0
    while going.size:
        observations = _observe(cars, sensor_range)
        actions = [np.asarray(policies[agent](observations[agent])) for agent in rules.AGENTS]
        cars, outcome = drive(command(cars, np.stack(actions)))
        outcomes[going] = outcome
        value[:, going] = discount * rules.REWARDS[outcome].T
        cars, going = cars[outcome == rules.ONGOING], going[outcome == rules.ONGOING]
        discount *= gamma
    return ObservedPlay(outcomes, dict(zip(rules.AGENTS, value, strict=True)))


def observed_equilibrium(
    starts: np.ndarray, sensor_range: float | None, leader: str = rules.MAIN, gamma: float = 0.99
) -> ObservedMerge:
    """Brackets the best decentralised play.

    The starts should be a grid of speeds, such as `midpoint_starts`. Among starts drawn at random no two have a speed
    in common, and then a car's own speed alone tells what the other's is.

    Takes about 20 s for 40 × 40 starts, and memory in proportion, some 100 nodes per start.

    Args:
        starts: (n, 4), columns main_x, main_speed, auxiliary_x, auxiliary_speed; m and m/s.
        sensor_range: m, as for `merge_v0`; None: both always see each other.
        leader: `main_0` or `auxiliary_0`.
        gamma: discount per decision.

    Raises:
        ValueError: if there is no such agent, `starts` has another shape, or no car can see that far.
    """
    rules.MergeRules(sensor_range=sensor_range)  # says what is wrong with it
    starts, lead = _checked(starts, leader)
    levels, observations = _levels(starts, sensor_range, lead, gamma)
    policy = _qmdp(levels)
    order = (lead, 1 - lead)
    policies = {rules.AGENTS[agent]: _lookup(observations[i], policy[i]) for i, agent in enumerate(order)}
    play = observed_play(policies, starts, sensor_range, gamma)

    follower_value = play.value[rules.AGENTS[1 - lead]]
    lower, upper = _bracket(levels, policy, follower_value, MULTIPLIERS, gamma)
    root = levels[0]
    return ObservedMerge(
        lower=lower,
        upper=upper,
        cooperative=float(_most(levels, policy[1], 0.0, gamma).mean()),
        full=root.q[0][(*root.action, np.arange(len(starts)))],
        policies=policies,
        play=play,
    )


def _observe(cars: Cars, sensor_range: float | None) -> dict[str, np.ndarray]:
    game = BatchedMerge(len(cars), np.random.default_rng(0), sensor_range=sensor_range)
    game.restore(cars)
    return game.observe()


def _levels(
    starts: np.ndarray, sensor_range: float | None, lead: int, gamma: float
) -> tuple[list[_Level], list[np.ndarray]]:
    """Returns the levels of the tree, and for (leader, follower) the observations, (numbers of `seen`, 8 or 9)."""
    order = [lead, 1 - lead]
    trees = [_expand(start(starts))]
    while (below := trees[-1].below) is not None:
        trees.append(below)
    origins = [np.arange(len(starts))]
    for tree in trees[:-1]:
        node = np.empty(tree.outcome.size, dtype=np.int64)
        node[tree.branch] = np.arange(tree.branch.shape[-1])
        origins.append(origins[-1][node[tree.outcome == rules.ONGOING]])

    observed = [_observe(tree.cars, sensor_range) for tree in trees]
    observations, seen = [], []
    for i in order:
        # Adding 0 makes -0 the number that it is equal to, as the rows are compared as bytes.
        rows = np.concatenate([each[rules.AGENTS[i]] for each in observed]) + np.float32(0)
        _, first, number = np.unique(_keys(rows), return_index=True, return_inverse=True)
        observations.append(rows[first])
        seen.append(number)

    origin = np.concatenate(origins)
    lowest, highest = np.full(seen[1].max() + 1, len(starts)), np.full(seen[1].max() + 1, -1)
    np.minimum.at(lowest, seen[1], origin)
    np.maximum.at(highest, seen[1], origin)
    private = (lowest == highest)[seen[1]]

    levels, at = [], 0
    for tree, origin in zip(trees, origins, strict=True):
        here = slice(at, at := at + origin.size)
        solution = _solve(tree, lead, gamma)
        leader_first = tree.branch if lead == 0 else tree.branch.swapaxes(0, 1)
        q = solution.q if lead == 0 else solution.q[::-1].swapaxes(1, 2)
        levels.append(
            _Level(
                branch=leader_first,
                payoff=rules.REWARDS[tree.outcome].T[order],
                ongoing=tree.outcome == rules.ONGOING,
                start=origin,
                seen=np.stack([numbers[here] for numbers in seen]),
                private=private[here],
                q=q,
                action=solution.action[order],
            )
        )
    return levels, observations


def _keys(observations: np.ndarray) -> np.ndarray:
    """Returns the rows as one item each, (m,), which compare as bytes."""
    rows = np.ascontiguousarray(observations, dtype=np.float32)
    return rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1])))[:, 0]


def _lookup(observations: np.ndarray, actions: np.ndarray) -> Policy:
    """Returns the policy that takes `actions`, (m,), on `observations`, (m, 8 or 9)."""
    table = {key.tobytes(): int(action) for key, action in zip(_keys(observations), actions, strict=True)}

    def policy(observed: np.ndarray) -> np.ndarray:
        try:
            return np.array([table[key.tobytes()] for key in _keys(observed + np.float32(0))], dtype=np.int64)
        except KeyError:
            raise ValueError(
                "this policy is a table of what may be observed from the starts it was made for; play it from those."
            ) from None

    return policy


def _qmdp(levels: list[_Level]) -> list[np.ndarray]:
    """Returns the actions of (leader, follower) by the number of what each observes.

    Each maximises the expected Q of the full-information equilibrium given what it observes, as if everything were seen
    from the next decision on: the leader `E[Q_1(s, a_1, π_2(s, a_1))]`, the follower `E[Q_2(s, π'_1(o_1), a_2)]`. Ties
    go to the lowest action.
    """
    weights = _reached(levels)
    seen = np.concatenate([level.seen for level in levels], axis=1)  # (2 agents, nodes)

    def best(agent: int, values: np.ndarray) -> np.ndarray:  # values (5, nodes)
        summed = np.stack([np.bincount(seen[agent], weights * each) for each in values])
        expected = summed / np.bincount(seen[agent], weights)
        return (expected >= expected.max(axis=0) - TIE).argmax(axis=0)

    q_1, q_2 = (np.concatenate([level.q[agent] for level in levels], axis=-1) for agent in range(2))  # (5, 5, nodes)
    answered = np.take_along_axis(q_1, q_2.argmax(axis=1)[:, None], axis=1)[:, 0]
    leader = best(0, answered)
    follower = best(1, q_2[leader[seen[0]], :, np.arange(seen.shape[1])].T)
    return [leader, follower]


def _reached(levels: list[_Level]) -> np.ndarray:
    """Returns how likely each node, of all levels, is when the full-information equilibrium is played and explored."""
    weights = [np.full(levels[0].start.size, 1 / levels[0].start.size)]
    for level in levels[:-1]:
        chosen = np.arange(NUM_ACTIONS)[:, None] == level.action[:, None]  # (2 agents, 5, n)
        leader, follower = EXPLORATION / NUM_ACTIONS + (1 - EXPLORATION) * chosen
        joint = leader[:, None] * follower[None] * weights[-1]  # (5, 5, n)
        branches = np.bincount(level.branch.ravel(), joint.ravel(), minlength=level.ongoing.size)
        weights.append(branches[level.ongoing])
    return np.concatenate(weights)


def _bracket(
    levels: list[_Level], policy: list[np.ndarray], follower_value: np.ndarray, multipliers: np.ndarray, gamma: float
) -> tuple[float, float]:
    """Returns what the leader gets at least with its part of `policy`, and at most with any, in the mean over starts.

    `follower_value`, (n,), is what the pair brings the follower. To the follower, starts of different groups have
    nothing to do with each other, so its best response is one in each group, and each group takes its tightest bound.
    """
    groups = _groups(levels)
    follower = np.bincount(groups, follower_value)  # (groups,)
    least = [np.bincount(groups, _least(levels, policy[0], c, gamma)) + c * follower for c in multipliers]
    most = [np.bincount(groups, _most(levels, policy[1], c, gamma)) for c in multipliers]
    return float(np.max(least, axis=0).sum() / groups.size), float(np.min(most, axis=0).sum() / groups.size)


def _groups(levels: list[_Level]) -> np.ndarray:
    """Returns for each start, (n,), the number of its group: starts that the follower may take for one another."""
    origin = np.concatenate([level.start for level in levels])
    seen = np.concatenate([level.seen[1] for level in levels])
    n, size = levels[0].start.size, levels[0].start.size + int(seen.max()) + 1
    graph = coo_array((np.ones(origin.size), (origin, n + seen)), shape=(size, size))
    return np.unique(connected_components(graph, directed=False)[1][:n], return_inverse=True)[1]


def _least(levels: list[_Level], leader: np.ndarray, multiplier: float, gamma: float) -> np.ndarray:
    """Returns the least of L - c F, (n,), by anything that the follower might do against the leader's policy.

    L and F are the two returns from a start, c the multiplier. If some policy of the follower's brings it F° in a group
    of starts, its best response brings it at least that, so the leader gets at least `Σ least(L - c F) + c F°`.
    """
    worth = np.empty(0)
    for level in reversed(levels):
        after = level.payoff[0] - multiplier * level.payoff[1]  # (branches,)
        after[level.ongoing] = gamma * worth
        nodes = np.arange(level.start.size)
        worth = after[level.branch[leader[level.seen[0]], :, nodes]].min(axis=1)
    return worth


def _most(levels: list[_Level], follower: np.ndarray, multiplier: float, gamma: float) -> np.ndarray:
    """Returns the most of L + c (F - F'), (n,), over all play of a leader that sees everything.

    L and F are the two returns from a start, c the multiplier, and F' is what the follower would get, the leader's
    policy being the same, from a deviation: where it observes what may be observed after several starts, it does as
    `follower` says; elsewhere what is best for it, as it can do without changing anything after other starts. Together
    that is a policy of its observations. So in its best response F is at least F' in every group of starts, and the
    leader's return there is at most the sum of `most`.
    """
    most = together = deviation = np.empty(0)  # of the nodes below: as returned; the most of L + c F; F' at the least
    for level in reversed(levels):
        leader_after, follower_after = level.payoff
        after = [leader_after.copy(), leader_after + multiplier * follower_after, follower_after.copy()]
        for each, below in zip(after, (most, together, deviation), strict=True):
            each[level.ongoing] = gamma * below
        most, together, deviation = (each[level.branch] for each in after)  # (5, 5, n) each

        nodes = np.arange(level.start.size)
        rule = follower[level.seen[1]]  # (n,)
        deviation = np.where(level.private, deviation.max(axis=1), deviation[:, rule, nodes])  # (5, n)
        # Where the deviation may part from the play, the leader's policy on the two ways is chosen apart.
        apart = together - multiplier * deviation[:, None]  # (5, 5, n)
        same = level.branch == level.branch[:, rule, nodes][:, None]
        worth = np.where(level.private | same, np.minimum(most, apart), apart)
        most, together, deviation = worth.max(axis=(0, 1)), together.max(axis=(0, 1)), deviation.min(axis=0)
    return most
