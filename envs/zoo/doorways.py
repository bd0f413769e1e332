"""Doorways: two robots on a grid have to pass one door, and who goes first is the leader's to say."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import EzPickle
from pettingzoo import ParallelEnv

from rllib_biac.envs.batched import BatchedGame, BatchedStep
from rllib_biac.envs.zoo.answers import DiscreteAnswer, margin
from rllib_biac.envs.zoo.game import Draft

MOVES = np.array([(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)])
"""Rows and columns of the five actions: stay, up, down, left, right."""

GRIDS = ((2, 5), (3, 5), (4, 5), (5, 5))
"""Rows and columns; the middle column is a wall with one door. They make 100, 196, 324 and 484 positions."""

HORIZON, GAMMA = 40, 0.99
BUMP, ARRIVED = 0.5, (10.0, 5.0)


class Doorway(ParallelEnv[str, np.ndarray, int], EzPickle):
    """Two robots on a grid; each is done, and off the grid, where it comes to its goal.

    Every step costs a robot what the cell costs that it is in afterwards. Robots that would meet, in one cell or by
    changing places, stay where they are and pay `BUMP` more. The game is TERMINATED when both are done, and after
    `HORIZON` steps: the time is in the state.

    Both see the state, which is also `state()`: one-hot cells of both, done being one more, and the share of the time.

    Args:
        rows, columns: of the grid; the column in the middle is a wall.
        door: the row of its door.
        starts, goals: (2, 2) rows and columns of both robots, all four different and off the wall.
        costs: (rows, columns) of a step into, or a wait in, each cell.
        arrived: (2,) what both are paid at their goals.
    """

    metadata = {  # noqa: RUF012  (PettingZoo's form)
        "name": "zoo_v0",
        "render_modes": [],
        "render_fps": 1,
        "is_parallelizable": True,
    }

    def __init__(
        self,
        rows: int,
        columns: int,
        door: int,
        starts: np.ndarray,
        goals: np.ndarray,
        costs: np.ndarray,
        arrived: tuple[float, float] = ARRIVED,
    ) -> None:
        EzPickle.__init__(self, rows, columns, door, starts, goals, costs, arrived)
        free = [(r, c) for r in range(rows) for c in range(columns) if c != columns // 2 or r == door]
        cell = {place: i for i, place in enumerate(free)}
        self.done = len(free)  # the cell of a robot that is
        goes = np.full((self.done + 1, len(MOVES)), self.done)  # where a robot alone would come to
        for (r, c), i in cell.items():
            for a, (down, right) in enumerate(MOVES.tolist()):
                goes[i, a] = cell.get((r + down, c + right), i)
        self._build(goes, [cell[tuple(g)] for g in goals.tolist()], [float(costs[place]) for place in free], arrived)
        self.first = int(np.ravel_multi_index([cell[tuple(s)] for s in starts.tolist()], (self.done + 1,) * 2))

        self.possible_agents = ["robot_0", "robot_1"]
        self.agents: list[str] = []
        self.render_mode = None
        size = 2 * (self.done + 1) + 1
        self.state_space = gym.spaces.Box(0.0, 1.0, (size,), np.float32)
        self.observation_spaces: dict[str, gym.Space] = {
            agent: gym.spaces.Box(0.0, 1.0, (size,), np.float32) for agent in self.possible_agents
        }
        self.action_spaces: dict[str, gym.Space] = {
            agent: gym.spaces.Discrete(len(MOVES)) for agent in self.possible_agents
        }
        self._at, self._time = np.array([self.first]), np.zeros(1, np.int64)

    def _build(self, goes: np.ndarray, goals: list[int], costs: list[float], arrived: tuple[float, float]) -> None:
        """Sets `rewards`, (2, positions, 5, 5), and `following`, (positions, 5, 5), of joint positions."""
        cells = self.done + 1
        here = np.stack(np.divmod(np.arange(cells * cells), cells))  # (2, positions)
        first, second = (goes[own] for own in here)  # (positions, 5)
        want = np.stack(np.broadcast_arrays(first[:, :, None], second[:, None, :]))  # (2, positions, 5, 5)
        was = here[:, :, None, None]
        on = was != self.done
        both = on.all(0)
        meet = both & ((want[0] == want[1]) | ((want[0] == was[1]) & (want[1] == was[0])))
        now = np.where(meet, was, want)
        paid = -np.array([*costs, 0.0])[now] - BUMP * meet
        home = on & (now == np.array(goals)[:, None, None, None])
        self.rewards = np.where(on, paid, 0.0) + home * np.array(arrived)[:, None, None, None]
        after = np.where(home, self.done, now)
        self.following = after[0] * cells + after[1]
        self.over = cells * cells - 1  # both done

    def features_of(self, positions: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Returns what is seen of joint positions (N,) at times (N,): (N, d) float32."""
        cells = np.eye(self.done + 1, dtype=np.float32)
        one, other = np.divmod(positions, self.done + 1)
        return np.concatenate([cells[one], cells[other], (time / HORIZON).astype(np.float32)[:, None]], 1)

    def observation_space(self, agent: str) -> gym.Space:
        """Returns the agent's observation space, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> gym.Space:
        """Returns the agent's action space, always the same object."""
        return self.action_spaces[agent]

    def state(self) -> np.ndarray:
        """Returns where both are and how late it is, (d,) float32."""
        return self.features_of(self._at, self._time)[0]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Starts an episode. Nothing here is random, so the seed changes nothing."""
        self.agents = list(self.possible_agents)
        self._at, self._time = np.array([self.first]), np.zeros(1, np.int64)
        return {agent: self.state() for agent in self.agents}, {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        """Moves both robots.

        Raises:
            ValueError: if an action is out of range.
        """
        players = self.possible_agents
        self._at, self._time, rewards, over = self.play(
            self._at, self._time, [np.array([int(actions[agent])]) for agent in players]
        )
        if over[0]:
            self.agents = []
        return (
            {agent: self.state() for agent in players},
            {agent: float(reward) for agent, reward in zip(players, rewards[:, 0], strict=True)},
            dict.fromkeys(players, bool(over[0])),
            dict.fromkeys(players, False),
            {agent: {} for agent in players},
        )

    def play(
        self, positions: np.ndarray, time: np.ndarray, actions: list[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Moves N pairs of robots: the next positions, times, rewards (2, N) and which games are over.

        Raises:
            ValueError: if an action is out of range.
        """
        np.ravel_multi_index(tuple(actions), (len(MOVES),) * 2)  # refuses what is out of range
        at = (positions, *actions)
        after, time = self.following[at], time + 1
        return after, time, self.rewards[:, *at], (after == self.over) | (time >= HORIZON)


class BatchedDoorway(BatchedGame):
    """The batched form of `Doorway`. Nothing in it is random."""

    def __init__(self, game: Doorway, num_games: int) -> None:
        self.num_games, self._game = num_games, game
        self.possible_agents = game.possible_agents
        self.observation_spaces, self.action_spaces = game.observation_spaces, game.action_spaces
        self.state_space = game.state_space
        self.outcome_names = []
        self._at, self._time = np.full(num_games, game.first), np.zeros(num_games, np.int64)

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Starts the games of `mask`, (N,) bool, anew; all of them by default."""
        games = slice(None) if mask is None else mask
        self._at[games], self._time[games] = self._game.first, 0

    def observe(self) -> dict[str, np.ndarray]:
        """Returns what both see, agent -> (N, d) float32."""
        return {agent: self.state() for agent in self.possible_agents}

    def state(self) -> np.ndarray:
        """Returns the states, (N, d) float32."""
        return self._game.features_of(self._at, self._time)

    def get_state(self) -> dict[str, np.ndarray]:
        """Returns every game's joint position and how many steps it has taken, (N,) int64 each."""
        return {"at": self._at.copy(), "time": self._time.copy()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Puts the games where `get_state` said that they stood."""
        self._at, self._time = state["at"].copy(), state["time"].copy()

    def step(self, actions: dict[str, np.ndarray]) -> BatchedStep:
        """Moves all robots, agent -> (N,) integers.

        Raises:
            ValueError: if an action is out of range.
        """
        joint = [np.asarray(actions[agent]) for agent in self.possible_agents]
        self._at, self._time, rewards, over = self._game.play(self._at, self._time, joint)
        return BatchedStep(
            rewards=dict(zip(self.possible_agents, rewards.astype(np.float32), strict=True)),
            terminated=over,
            truncated=np.zeros(self.num_games, bool),
            outcome=np.full(self.num_games, -1),
        )


def doorway_answer(game: Doorway, leader: int, gamma: float = GAMMA) -> DiscreteAnswer:
    """Solves a doorway backwards from its last step; its states are (time, joint position), in that order."""
    from rllib_biac.equilibria.feedback import stage_equilibria
    from rllib_biac.equilibria.markov import round_off
    from rllib_biac.equilibria.matrix import stackelberg

    order = [leader, 1 - leader]
    rewards, following = game.rewards[order], game.following
    if leader:
        rewards, following = rewards.swapaxes(2, 3), following.swapaxes(1, 2)
    positions = len(following)
    values, random = np.zeros((2, positions)), np.zeros((2, positions))
    games = []
    for _ in range(HORIZON):
        goes_on = np.where(following == game.over, 0.0, gamma)
        q = round_off((rewards + goes_on * values[:, following]).swapaxes(0, 1), (-4, -2, -1))  # (positions, 2, 5, 5)
        random = (rewards + goes_on * random[:, following]).mean((-1, -2))
        found = stackelberg(q)
        values = q[np.arange(positions), :, found.leader_action, found.follower_action].T
        games.append(q)
    every = np.concatenate(games[::-1])  # (HORIZON * positions, 2, 5, 5)
    time = np.arange(HORIZON)[:, None, None, None]
    after = np.where(following == game.over, -1, following + (time + 1) * positions)
    after[-1] = -1
    at = np.arange(HORIZON * positions)
    return DiscreteAnswer(
        rewards=np.tile(rewards, (1, HORIZON, 1, 1)),
        following=after.reshape(-1, len(MOVES), len(MOVES)),
        gamma=gamma,
        start=np.eye(1, len(at), game.first)[0],
        q=every[None],
        right=stage_equilibria(every)[None],
        values=values[None, :, game.first],
        random=random[:, game.first],
        states=game.features_of(at % positions, at // positions),
    )


def _on_path(found: DiscreteAnswer) -> np.ndarray:
    """Returns the states that some right play comes to."""
    reached = found.start > 0
    new = np.flatnonzero(reached)
    while new.size:
        new = np.unique(found.following[new][found.right[0, new]])
        new = new[(new >= 0) & ~reached[new]]
        reached[new] = True
    return np.flatnonzero(reached)


def doorway(rng: np.random.Generator, seed: int) -> Draft:
    """Two robots, one door, grids of 100 to 484 positions; 40 steps, the time in the state.

    Each starts beyond the wall from its goal, at opposite sides. Every cell has a cost of its own, so that no two ways
    tie. The margin is that of the states that right play comes to.
    """
    rows, columns = GRIDS[seed % len(GRIDS)]
    leader, door = int(rng.integers(2)), int(rng.integers(rows))
    side = rng.permutation(2)  # of the first robot's start
    left, right = np.arange(columns // 2), np.arange(columns // 2 + 1, columns)
    places = []
    for columns_of in (left, right):
        cells = [(r, int(c)) for r in range(rows) for c in columns_of]
        picked = rng.permutation(len(cells))[:2]
        places.append([cells[i] for i in picked])  # one robot's start, the other's goal
    starts = np.array([places[side[0]][0], places[side[1]][0]])
    goals = np.array([places[side[1]][1], places[side[0]][1]])
    costs = rng.uniform(0.1, 0.6, (rows, columns))
    game = Doorway(rows, columns, door, starts, goals, costs, (ARRIVED[leader], ARRIVED[1 - leader]))
    found = doorway_answer(game, leader)
    path = _on_path(found)
    # Two ways that tie lead to other states and other values: nobody could say which is right.
    settled = len(path) <= HORIZON and all(
        np.ptp(found.q[0, s][:, found.right[0, s]], axis=-1).max() == 0 for s in path.tolist()
    )
    return Draft(
        game,
        leader,
        GAMMA,
        found if settled else None,
        margin(found.q[0, path], found.q[0].std((0, 2, 3))),
        {"grid": f"{rows}x{columns}", "positions": len(game.following), "steps": len(path)},
    )
