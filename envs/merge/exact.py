"""The exact feedback Stackelberg equilibrium of Highway Merge, by backward induction over the tree of joint actions.

From given starts the game is deterministic and short, so every joint play can be tried. At each node the leader takes
the action that is best for it when the follower best-responds, values coming from the nodes below (stage-wise, what
Bi-AC learns; Zhang et al. 2020, Eq. 12). All starts of a batch go down the tree level by level.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import numpy as np

from rllib_biac.envs.merge import rules
from rllib_biac.envs.merge.batched import Cars, command, start, state_features, step
from rllib_biac.envs.merge.rules import PAPER, MergeRules

NUM_ACTIONS = len(rules.ACTION_NAMES)  # of the paper's game
STARTS_AT_ONCE = 128  # bounds the widest level of the tree, some hundred nodes per start
GAMES_AT_ONCE = 2048  # driven together: few enough for the processor's cache, enough to make numpy's overhead small


@dataclass(frozen=True)
class MergeEquilibrium:
    """The equilibrium of n starts.

    Attributes:
        outcome: (n,) int, what becomes of the game, an index into `rules.OUTCOMES`.
        leader_value, follower_value: (n,) discounted returns.
        action: (n, 2) int, the first joint action, main's and auxiliary's.
        contested: (n,) bool, either car goes first if it leads, so who leads decides.
        tied: (n,) bool, somewhere along the equilibrium another choice is worth exactly as much to the one who chooses
            but leads to another outcome, so the outcome hangs on ties going to the lowest action.
        q: agent -> (n, A, A), what each first joint action (main's, auxiliary's) is worth if the equilibrium follows; A
            is 5 in the paper's game.
    """

    outcome: np.ndarray
    leader_value: np.ndarray
    follower_value: np.ndarray
    action: np.ndarray
    contested: np.ndarray
    tied: np.ndarray
    q: dict[str, np.ndarray]

    def shares(self) -> dict[str, float]:
        """Returns the share of the starts, 0 to 1, by outcome."""
        return outcome_shares(self.outcome)


@dataclass(frozen=True)
class _Tree:
    """One level of the tree, n nodes, and what is below. A branch is what one or more joint actions lead to."""

    cars: Cars  # at the nodes
    branch: np.ndarray  # (A, A, n), main's and auxiliary's action at a node -> branch
    outcome: np.ndarray  # (branches,)
    reward: np.ndarray  # (branches, 2 agents)
    below: _Tree | None  # whose nodes are the branches with outcome ONGOING, in order


@dataclass(frozen=True)
class _Solution:
    """The equilibrium at n nodes; agents' axes are in the order main, auxiliary."""

    q: np.ndarray  # (2 agents, A, A, n)
    action: np.ndarray  # (2 agents, n)
    value: np.ndarray  # (2 agents, n)
    outcome: np.ndarray  # (n,)
    tied: np.ndarray  # (n,) bool


def merge_equilibrium(
    starts: np.ndarray, leader: str = rules.MAIN, gamma: float = 0.99, game: MergeRules = PAPER
) -> MergeEquilibrium:
    """Solves the game from every start.

    The tree widens about tenfold with every decision, so this is for starts from which a game lasts at most five or six
    (x from about 200 m on, and no speed below 20 m/s). Ties go to the lowest action.

    Args:
        starts: (n, 4), columns main_x, main_speed, auxiliary_x, auxiliary_speed; m and m/s.
        leader: `main_0` or `auxiliary_0`.
        gamma: discount per decision.
        game: the rules; what they say of starts and sensors does not matter here.

    Raises:
        ValueError: if there is no such agent, `starts` has another shape, or the actions are accelerations.
    """
    starts, lead = _checked(starts, leader)
    if game.actions == "acceleration":
        raise ValueError("actions='acceleration' is no tree of joint actions; solve the game with 'speeds' instead.")
    parts, contested = [], []
    for at in range(0, len(starts), STARTS_AT_ONCE):
        tree = _expand(start(starts[at : at + STARTS_AT_ONCE], game), game)
        by_leader = [_solve(tree, agent, gamma) for agent in range(2)]
        contested.append((by_leader[0].outcome == rules.MAIN_FIRST) & (by_leader[1].outcome == rules.AUXILIARY_FIRST))
        parts.append(by_leader[lead])
    q, action, value, outcome, tied = (
        np.concatenate([getattr(part, field.name) for part in parts], axis=-1) for field in fields(_Solution)
    )
    return MergeEquilibrium(
        outcome=outcome,
        leader_value=value[lead],
        follower_value=value[1 - lead],
        action=action.T,
        contested=np.concatenate(contested),
        tied=tied,
        q={agent: np.moveaxis(q[i], -1, 0) for i, agent in enumerate(rules.AGENTS)},
    )


def _checked(starts: np.ndarray, leader: str) -> tuple[np.ndarray, int]:
    """Returns the starts as floats, and the number of the leader.

    Raises:
        ValueError: if there is no such agent, or `starts` has another shape.
    """
    if leader not in rules.AGENTS:
        raise ValueError(f"leader={leader!r} is not one of {', '.join(rules.AGENTS)}.")
    starts = np.asarray(starts, dtype=np.float64)
    if starts.ndim != 2 or not len(starts) or starts.shape[1] != len(rules.START_NAMES):
        columns = ", ".join(rules.START_NAMES)
        raise ValueError(f"starts has shape {starts.shape}; it must be (n, 4) with n at least 1, columns {columns}.")
    return starts, rules.AGENTS.index(leader)


def _expand(cars: Cars, game: MergeRules = PAPER) -> _Tree:
    """Plays every joint action at n nodes, and so on from the games that are not over."""
    n, num_actions = len(cars), int(game.action_space().n)  # type: ignore[union-attr]
    # An action only sets a target speed and a lane, so actions that set the same ones are one branch.
    commands = [command(cars, np.full((2, n), action), game) for action in range(num_actions)]
    target = np.stack([c.target_speed for c in commands])  # (A, 2 agents, n)
    lane = np.stack([c.lane for c in commands])
    lowest = ((target[:, None] == target) & (lane[:, None] == lane)).argmax(axis=1)  # (A, 2, n), lowest action alike
    new = lowest == np.arange(num_actions)[:, None, None]
    *joint, node = np.nonzero(new[:, None, 0] & new[None, :, 1])  # main's and auxiliary's action, node; (branches,)

    moved = [
        step(cars[node[piece]], np.stack(joint)[:, piece], game)
        for piece in (slice(at, at + GAMES_AT_ONCE) for at in range(0, node.size, GAMES_AT_ONCE))
    ]
    outcome = np.concatenate([ended for _, ended, _ in moved])
    reward = np.concatenate([earned for _, _, earned in moved])
    ongoing = Cars.concatenate([after[ended == rules.ONGOING] for after, ended, _ in moved])

    branch = np.empty((num_actions, num_actions, n), dtype=np.int64)
    branch[(*joint, node)] = np.arange(node.size)
    branch = branch[lowest[:, None, 0], lowest[None, :, 1], np.arange(n)]
    return _Tree(cars, branch, outcome, reward, _expand(ongoing, game) if len(ongoing) else None)


def _solve(tree: _Tree, lead: int, gamma: float) -> _Solution:
    """Backward induction with agent `lead`, 0 or 1, leading."""
    outcome = tree.outcome.copy()
    value = tree.reward.T.copy()  # (2, branches)
    tied = np.zeros(outcome.size, dtype=bool)
    if tree.below is not None:
        below = _solve(tree.below, lead, gamma)
        ongoing = tree.outcome == rules.ONGOING
        value[:, ongoing] += gamma * below.value
        outcome[ongoing], tied[ongoing] = below.outcome, below.tied

    branch = tree.branch if lead == 0 else tree.branch.swapaxes(0, 1)  # (leader's action, follower's, n)
    nodes = np.arange(branch.shape[-1])
    answer = value[1 - lead][branch].argmax(axis=1)  # (A, n), best responses to each of the leader's actions
    answered = np.take_along_axis(branch, answer[:, None], axis=1)[:, 0]  # (A, n) branches
    choice = value[lead][answered].argmax(axis=0)  # (n,), Eq. 12
    chosen = answered[choice, nodes]

    best, ends = value[:, chosen], outcome[chosen]
    leader_tie = (value[lead][answered] == best[lead]) & (outcome[answered] != ends)  # (A, n)
    responses = branch[choice, :, nodes].T  # (A, n) branches
    follower_tie = (value[1 - lead][responses] == best[1 - lead]) & (outcome[responses] != ends)
    joint = [choice, answer[choice, nodes]]
    return _Solution(
        q=value[:, tree.branch],
        action=np.stack(joint if lead == 0 else joint[::-1]),
        value=best,
        outcome=ends,
        tied=tied[chosen] | leader_tie.any(axis=0) | follower_tie.any(axis=0),
    )


Policy = Callable[[np.ndarray], Mapping[str, np.ndarray]]


def policy_outcomes(policy: Policy, starts: np.ndarray, game: MergeRules = PAPER) -> np.ndarray:
    """Plays a policy from every start.

    Args:
        policy: takes states (m, 8) float32 of the games still going, returns agent -> (m,) int actions, or (m, 1).
        starts: (n, 4), columns main_x, main_speed, auxiliary_x, auxiliary_speed; m and m/s.
        game: the rules.

    Returns:
        The outcomes, (n,) int, indices into `rules.OUTCOMES`.
    """
    cars = start(starts, game)
    outcomes = np.full(len(cars), rules.ONGOING)
    going = np.arange(len(cars))
    while going.size:
        actions = policy(state_features(cars))
        cars, outcome, _ = step(cars, np.stack([np.asarray(actions[agent]) for agent in rules.AGENTS]), game)
        outcomes[going] = outcome
        cars, going = cars[outcome == rules.ONGOING], going[outcome == rules.ONGOING]
    return outcomes


def outcome_shares(outcomes: np.ndarray) -> dict[str, float]:
    """Returns the share, 0 to 1, of every outcome among `outcomes`, (n,) indices into `rules.OUTCOMES`."""
    return {name: float(np.mean(outcomes == index)) for index, name in enumerate(rules.OUTCOMES)}
