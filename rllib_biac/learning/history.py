"""Games whose agents see the last few observations at once, for games in which one look does not tell enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from rllib_biac.envs.batched import BatchedGame, BatchedStep, BatchedWrapper
from rllib_biac.walk.recent import Recent

_STATE = "state"
_KEPT = "history/"  # before the names of what `get_state` adds to the games' own


@dataclass(frozen=True)
class GameWithHistory:
    """What makes a game in which the last few observations are seen at once.

    Attributes:
        env: the game, as `make_games` takes it.
        length: how many are seen.
        source: what the state is, as for `StateReader`: a game's own `state()` is asked for only if it is used.
    """

    env: Any
    length: int
    source: str


class WithHistory(BatchedWrapper):
    """N games of which the last k observations are seen side by side, and so the last k states (`Recent`).

    Args:
        games: as they are.
        length: k, at least 1.
        source: as for `GameWithHistory`.
    """

    def __init__(self, games: BatchedGame, length: int, source: str) -> None:
        super().__init__(games)
        self.observation_spaces = {agent: _repeated(space, length) for agent, space in games.observation_spaces.items()}
        own = games.state_space if source == "env" else None
        self._state_space = None if own is None else _repeated(own, length)
        names = [*self.possible_agents, *([] if own is None else [_STATE])]
        self._recent = {name: Recent(length) for name in names}

    @property
    def state_space(self) -> gym.Space | None:  # type: ignore[override]
        """The space of one game's last k states, None where it has none, or nobody asks for it."""
        return self._state_space

    def _now(self) -> dict[str, np.ndarray]:
        seen = self.games.observe()
        if _STATE in self._recent:
            state = self.games.state()
            assert state is not None
            seen = seen | {_STATE: state}
        return seen

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Starts the games of `mask`, (N,) bool, anew; all of them by default."""
        self.games.reset(mask)
        for name, seen in self._now().items():
            self._recent[name].start(seen, mask)

    def observe(self) -> dict[str, np.ndarray]:
        """Returns the last k observations, agent -> (N, *observation shape)."""
        return {agent: self._recent[agent]() for agent in self.possible_agents}

    def state(self) -> np.ndarray | None:
        """Returns the games' last k states, (N, *state shape), or None where the game has none."""
        return self._recent[_STATE]() if _STATE in self._recent else None

    def step(self, actions: dict[str, np.ndarray]) -> BatchedStep:
        """Plays one joint action in every game."""
        step = self.games.step(actions)
        for name, seen in self._now().items():
            self._recent[name].add(seen)
        return step

    def get_state(self) -> dict[str, np.ndarray] | None:
        """Returns where all games stand and what was seen; None where games cannot tell."""
        state = self.games.get_state()
        if state is None:
            return None
        kept = {_KEPT + name: recent.get_state() for name, recent in self._recent.items()}
        return state | {name: seen for name, seen in kept.items() if seen is not None}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Puts the games where `get_state` said that they stood."""
        self.games.set_state({key: array for key, array in state.items() if not key.startswith(_KEPT)})
        for name, recent in self._recent.items():
            if _KEPT + name in state:
                recent.set_state(state[_KEPT + name])


def _repeated(space: gym.Space, length: int) -> gym.spaces.Box:
    assert isinstance(space, gym.spaces.Box)
    low, high = (np.concatenate([bound] * length, axis=-1) for bound in (space.low, space.high))
    return gym.spaces.Box(low, high, dtype=space.dtype)  # type: ignore[arg-type]
