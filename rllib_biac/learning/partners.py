"""Agents that play and do not learn: frozen, scripted or random partners, as part of the game of those who learn."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rllib_biac.envs.batched import BatchedGame, BatchedStep, BatchedWrapper
from rllib_biac.envs.errors import GameError
from rllib_biac.envs.space_words import in_words
from rllib_biac.files.policy import Taken
from rllib_biac.learning.describe import taken_as
from rllib_biac.learning.transitions import joint_state

_GENERATOR = "partners_generator"


@dataclass(frozen=True)
class Seen:
    """What a partner may know when it acts, of N games at once.

    Attributes:
        agent: who acts.
        games: all agents' games.
        rng: draws what it draws.
    """

    agent: str
    games: BatchedGame
    rng: np.random.Generator

    @property
    def observation(self) -> np.ndarray:
        """The agent's own observations, (N, *observation shape), as networks see them."""
        return self.games.observe()[self.agent]

    @property
    def mask(self) -> np.ndarray | None:
        """Its allowed actions, (N, |A_i|) bool; None where all always are."""
        masks = self.games.action_masks()
        return None if masks is None else masks[self.agent]

    @property
    def space(self) -> gym.Space:
        """The space of one of its actions."""
        return self.games.action_spaces[self.agent]

    def state(self, source: str) -> np.ndarray:
        """The games' states, (N, *state shape), as the setting `state` names them."""
        own = self.games.state() if source == "env" else None
        if own is not None:
            return own
        return joint_state(self.games.observe(), self.games.possible_agents, self.games.observation_spaces)


class Partner(Protocol):
    """Who plays one agent."""

    def __call__(self, seen: Seen) -> np.ndarray:
        """Returns its actions, (N,) int64 or (N, *action shape)."""


def at_random(seen: Seen) -> np.ndarray:
    """Plays uniformly among the allowed actions."""
    space, mask, count = seen.space, seen.mask, seen.games.num_games
    if isinstance(space, spaces.Box):
        return seen.rng.uniform(space.low, space.high, (count, *space.shape)).astype(space.dtype)
    assert isinstance(space, spaces.Discrete)
    if mask is None:
        return seen.rng.integers(int(space.n), size=count)
    drawn = seen.rng.random(mask.shape) * mask
    return np.where(mask.any(1), drawn.argmax(1), 0)


@dataclass(frozen=True)
class Scripted:
    """A function of the user's: one observation, a vector as networks see it, -> one action, as the game takes it.

    Attributes:
        function: it.
        name: for messages.
    """

    function: Callable[[np.ndarray], Any]
    name: str

    def __call__(self, seen: Seen) -> np.ndarray:
        space, mask = seen.space, seen.mask
        declared = getattr(getattr(seen.games, "look", None), "actions", None) or {}
        taken = taken_as(declared.get(seen.agent, space))
        actions = np.zeros((seen.games.num_games, *(space.shape or ())), space.dtype)
        for row, observation in enumerate(seen.observation):
            if mask is not None and mask[row].sum() <= 1 and isinstance(space, spaces.Discrete):
                actions[row] = mask[row].argmax()  # nothing to choose, or absent
                continue
            try:
                action = np.asarray(self.function(observation))
            except Exception as error:
                raise GameError(f"partner {self.name} of agent {seen.agent!r} raised {error!r}.") from error
            own = action if taken is None else _own(action, taken)
            if not _is_allowed(own, space, None if mask is None else mask[row]):
                raise GameError(
                    f"partner {self.name} of agent {seen.agent!r} played {action}, which its space "
                    f"{in_words(declared.get(seen.agent, space))} or its action mask does not allow."
                )
            actions[row] = own
        return actions


def _own(action: np.ndarray, taken: Taken) -> np.ndarray:
    """Returns the team's form of an action of the game's, -1 for none."""
    try:
        if action.shape == (taken.shape or ()) and action.dtype.kind in ("iub" if taken.counts else "iuf"):
            return np.asarray(taken.back(action[None])[0])
    except ValueError:
        pass
    return np.asarray(-1)


def _is_allowed(action: np.ndarray, space: gym.Space, mask: np.ndarray | None) -> bool:
    if isinstance(space, spaces.Box):
        return action.shape == space.shape and bool(((action >= space.low) & (action <= space.high)).all())
    assert isinstance(space, spaces.Discrete)
    whole = action.shape == () and action.dtype.kind in "iu" and 0 <= int(action) < int(space.n)
    return bool(whole) and (mask is None or bool(mask[int(action)]))


@dataclass(frozen=True)
class Noisy:
    """A partner that plays at random at times.

    Attributes:
        partner: what it does otherwise.
        epsilon: probability of a random action, in [0, 1].
    """

    partner: Partner
    epsilon: float

    def __call__(self, seen: Seen) -> np.ndarray:
        own, random = self.partner(seen), at_random(seen)
        coin = seen.rng.random(len(own)) < self.epsilon
        return np.where(coin.reshape(-1, *[1] * (own.ndim - 1)), random, own)


@dataclass(frozen=True)
class GameWithPartners:
    """What makes a game in which some agents are played by partners.

    Attributes:
        env: the game, as `make_games` takes it.
        partners: agent -> who plays it.
    """

    env: Any
    partners: Mapping[str, Partner]


class WithPartners(BatchedWrapper):
    """N games in which some agents are played by partners: those who learn see nothing of them but what they do.

    Args:
        games: of all agents.
        partners: agent -> who plays it.
        rng: draws what partners draw.

    Raises:
        ValueError: if a partner is no agent of the game, or no agent is left to learn.
    """

    def __init__(self, games: BatchedGame, partners: Mapping[str, Partner], rng: np.random.Generator) -> None:
        super().__init__(games)
        self._partners, self._rng = dict(partners), rng
        if unknown := [agent for agent in partners if agent not in games.possible_agents]:
            raise ValueError(
                f"partners: {unknown[0]!r} is no agent of this game; its agents are {', '.join(games.possible_agents)}."
            )
        self.possible_agents = [agent for agent in games.possible_agents if agent not in partners]
        if not self.possible_agents:
            raise ValueError("partners: all agents have one, so that none is left to learn.")
        self.observation_spaces = {agent: games.observation_spaces[agent] for agent in self.possible_agents}
        self.action_spaces = {agent: games.action_spaces[agent] for agent in self.possible_agents}

    def observe(self) -> dict[str, np.ndarray]:
        """Returns the learners' observations now, agent -> (N, *observation shape)."""
        return self._of_learners(self.games.observe())

    @property
    def acts(self) -> np.ndarray:
        """Which learner acts at the coming step, (N, learners) bool."""
        return self.games.acts[:, [agent not in self._partners for agent in self.games.possible_agents]]

    def action_masks(self) -> dict[str, np.ndarray] | None:
        """Returns which actions are allowed now, agent -> (N, |A_i|) bool, or None where all always are."""
        masks = self.games.action_masks()
        return None if masks is None else self._of_learners(masks)

    def step(self, actions: dict[str, np.ndarray]) -> BatchedStep:
        """Plays the learners' joint action in every game, and the partners'."""
        theirs = {agent: partner(Seen(agent, self.games, self._rng)) for agent, partner in self._partners.items()}
        step = self.games.step(actions | theirs)
        terminated, ended = step.terminated, None
        if step.ended is not None:
            ended = self._of_learners(step.ended)
            # Where all learners are over, what partners still do concerns nobody.
            terminated = terminated | (np.all(list(ended.values()), axis=0) & ~step.truncated)
        cut = None if step.cut is None else self._of_learners(step.cut)
        return BatchedStep(self._of_learners(step.rewards), terminated, step.truncated, step.outcome, ended, cut)

    def try_partners(self) -> None:
        """Lets each partner act once, so that one that does not fit is told before the first step.

        Raises:
            GameError: if one does not.
        """
        self.games.reset()
        for agent, partner in self._partners.items():
            partner(Seen(agent, self.games, np.random.default_rng(0)))

    def _of_learners(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {agent: arrays[agent] for agent in self.possible_agents}

    def get_state(self) -> dict[str, np.ndarray] | None:
        """Returns where all games stand, and the partners' generator; None where games cannot tell."""
        state = self.games.get_state()
        if state is None:
            return None
        return state | {_GENERATOR: np.frombuffer(json.dumps(self._rng.bit_generator.state).encode(), np.uint8)}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Puts the games where `get_state` said that they stood."""
        self._rng.bit_generator.state = json.loads(state[_GENERATOR].tobytes())
        self.games.set_state({key: array for key, array in state.items() if key != _GENERATOR})
