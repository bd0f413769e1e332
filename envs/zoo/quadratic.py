"""One-step games with quadratic payoffs, any hierarchy, continuous and discrete actions, with or without a context."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import EzPickle
from pettingzoo import ParallelEnv

from rllib_biac.envs.batched import BatchedGame, BatchedStep


@dataclass(frozen=True, slots=True)
class Peak:
    """A peak of one player's payoff over its own first action: height exp(-((x - at) / width)^2 / 2)."""

    player: int
    at: float
    width: float
    height: float


class QuadraticGame(ParallelEnv[str, np.ndarray, Any], EzPickle):
    """Every player acts once; player i is paid z' Q_i z of z = (1, context, all actions, the first player's first).

    Continuous actions are vectors within [-1, 1], discrete ones stand for numbers. The context is drawn uniformly from
    [-1, 1] in every episode; it is what everybody sees, and `state()`. Without one that is the constant `[1.0]`. The
    episode is TERMINATED after its one step.

    Args:
        levels: of players' numbers, top first: players are named in this order.
        sizes: numbers in each player's action.
        forms: (n, m, m) Q_i, m being 1 + context + all sizes.
        context: numbers in the context, 0 or more.
        discrete: player -> what its discrete actions stand for.
        peaks: that come on top.

    Attributes:
        hierarchy: levels of agents, top first.
        blocks: one slice of z per player.
    """

    metadata = {  # noqa: RUF012  (PettingZoo's form)
        "name": "zoo_v0",
        "render_modes": [],
        "render_fps": 1,
        "is_parallelizable": True,
    }

    def __init__(
        self,
        levels: Sequence[Sequence[int]],
        sizes: Sequence[int],
        forms: np.ndarray,
        context: int = 0,
        discrete: Mapping[int, Sequence[float]] | None = None,
        peaks: Sequence[Peak] = (),
    ) -> None:
        EzPickle.__init__(self, levels, sizes, forms, context, discrete, peaks)
        self.levels, self.sizes, self.context = [list(level) for level in levels], list(sizes), context
        self.forms, self.peaks = np.asarray(forms, np.float64), tuple(peaks)
        self.discrete = {i: np.asarray(numbers, np.float64) for i, numbers in (discrete or {}).items()}
        ends = 1 + context + np.cumsum([0, *self.sizes])
        self.blocks = [slice(int(a), int(b)) for a, b in itertools.pairwise(ends)]
        self.possible_agents = [f"player_{i}" for i in range(len(self.sizes))]
        self.hierarchy = tuple(tuple(self.possible_agents[i] for i in level) for level in self.levels)
        self.agents: list[str] = []
        self.render_mode = None
        low = -1.0 if context else 0.0
        self.state_space = gym.spaces.Box(low, 1.0, (max(context, 1),), np.float32)
        self.observation_spaces: dict[str, gym.Space] = {
            agent: gym.spaces.Box(low, 1.0, (max(context, 1),), np.float32) for agent in self.possible_agents
        }
        self.action_spaces: dict[str, gym.Space] = {
            agent: gym.spaces.Discrete(len(self.discrete[i]))
            if i in self.discrete
            else gym.spaces.Box(-1.0, 1.0, (self.sizes[i],), np.float32)
            for i, agent in enumerate(self.possible_agents)
        }
        self._rng = np.random.default_rng()
        self._seen = self.draw(1, self._rng)

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Returns what is seen of so many episodes, (count, d) float32."""
        if not self.context:
            return np.ones((count, 1), np.float32)
        return rng.uniform(-1, 1, (count, self.context)).astype(np.float32)

    def numbers(self, seen: np.ndarray, actions: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns z of N games, (N, m); the actions are (N, size) or, discrete, (N,) integers."""
        parts = [np.ones((len(seen), 1)), seen[:, : self.context].astype(np.float64)]
        for i, agent in enumerate(self.possible_agents):
            own = np.asarray(actions[agent])
            parts.append(self.discrete[i][own][:, None] if i in self.discrete else own.astype(np.float64))
        return np.concatenate(parts, 1)

    def payoffs(self, z: np.ndarray) -> np.ndarray:
        """Returns what z, (N, m), pays all players, (n, N)."""
        paid = np.einsum("na,iab,nb->in", z, self.forms, z)
        for peak in self.peaks:
            own = z[:, self.blocks[peak.player].start]
            paid[peak.player] += peak.height * np.exp(-0.5 * ((own - peak.at) / peak.width) ** 2)
        return paid

    def observation_space(self, agent: str) -> gym.Space:
        """Returns the agent's observation space, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> gym.Space:
        """Returns the agent's action space, always the same object."""
        return self.action_spaces[agent]

    def state(self) -> np.ndarray:
        """Returns the context, or the constant state."""
        return self._seen[0].copy()

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Starts an episode; the seed is of all contexts from now on."""
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self.agents = list(self.possible_agents)
        self._seen = self.draw(1, self._rng)
        return {agent: self.state() for agent in self.agents}, {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """Pays everybody, once."""
        players = self.possible_agents
        paid = self.payoffs(self.numbers(self._seen, {agent: np.asarray(actions[agent])[None] for agent in players}))
        self.agents = []
        return (
            {agent: self.state() for agent in players},
            {agent: float(own) for agent, own in zip(players, paid[:, 0], strict=True)},
            dict.fromkeys(players, True),
            dict.fromkeys(players, False),
            {agent: {} for agent in players},
        )


class BatchedQuadraticGame(BatchedGame):
    """The batched form of `QuadraticGame`; `rng` draws the contexts."""

    def __init__(self, game: QuadraticGame, num_games: int, rng: np.random.Generator) -> None:
        self.num_games, self._game, self._rng = num_games, game, rng
        self.possible_agents = game.possible_agents
        self.observation_spaces, self.action_spaces = game.observation_spaces, game.action_spaces
        self.state_space = game.state_space
        self.outcome_names = []
        self._seen = game.draw(num_games, rng)

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Draws the contexts of the games of `mask`, (N,) bool, anew; of all of them by default."""
        games = np.arange(self.num_games) if mask is None else np.flatnonzero(mask)
        self._seen[games] = self._game.draw(len(games), self._rng)

    def observe(self) -> dict[str, np.ndarray]:
        """Returns what everybody sees, agent -> (N, d) float32."""
        return {agent: self.state() for agent in self.possible_agents}

    def state(self) -> np.ndarray:
        """Returns the contexts, or the constant states, (N, d) float32."""
        return self._seen.copy()

    def get_state(self) -> dict[str, np.ndarray]:
        """Returns the contexts of all games."""
        return {"seen": self._seen.copy()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Puts the games where `get_state` said that they stood."""
        self._seen = state["seen"].copy()

    def step(self, actions: dict[str, np.ndarray]) -> BatchedStep:
        """Pays everybody in every game; agent -> (N, size) or, discrete, (N,) integers."""
        paid = self._game.payoffs(self._game.numbers(self._seen, actions)).astype(np.float32)
        return BatchedStep(
            rewards=dict(zip(self.possible_agents, paid, strict=True)),
            terminated=np.ones(self.num_games, bool),
            truncated=np.zeros(self.num_games, bool),
            outcome=np.full(self.num_games, -1),
        )
