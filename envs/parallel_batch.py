"""The batched form of anybody's PettingZoo `ParallelEnv`: a loop over N copies behind the interface of arrays."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from rllib_biac.envs import masks
from rllib_biac.envs.actions import ActionReader
from rllib_biac.envs.adapters import adapt
from rllib_biac.envs.adapters.common import name_of
from rllib_biac.envs.apart import SEEDS, STEPS, share
from rllib_biac.envs.batched import BatchedGame, BatchedStep
from rllib_biac.envs.contract import Contract, Look
from rllib_biac.envs.errors import RAISED_BY_GAMES, GameError, check_finite
from rllib_biac.envs.look import LOOK_SEED, look_at
from rllib_biac.envs.masks import ACTION_MASK
from rllib_biac.envs.one_game import ALL, OneGame
from rllib_biac.envs.reading import SpaceReader
from rllib_biac.envs.space_words import in_words, told_apart
from rllib_biac.envs.watchdog import Watchdog

logger = logging.getLogger(__name__)

# So many outcomes have a share of their own, which training reports; of further ones the share of all.
MOST_OUTCOMES, OTHER_OUTCOMES = 50, "other outcomes"


class ParallelEnvBatch(BatchedGame):
    """N copies of anybody's game, stepped one after the other.

    Observations: vectors (Box of rank 1) and images (uint8 Box of rank 3) stay as they are; every other Box, Dict,
    Tuple, Discrete, MultiBinary and MultiDiscrete is flattened to a vector by `gymnasium.spaces.flatten`. The same
    holds for the state, which the game has if both its `state()` and its `state_space` work; it is asked for only if
    `state` is. What a game returns is held to its spaces (`reading`).

    Actions: `ActionReader` says what a team plays of each action space. Action masks: either of PettingZoo's
    conventions, `"action_mask"` in a Dict observation, whose other entries are the observation, or
    `infos[agent]["action_mask"]`. Where none is given, all actions are allowed.

    **Agents that come and go.** An agent is absent where it is not in the game's `agents`, gets no observation, is not
    among the game's `acting`, where it has that, or may do nothing (a mask of zeros). An absent agent plays its null
    action, the only one it then may: action 0, or the middle of its range. Where a game has absences, every agent's
    own observation ends with one more entry, 1 where it acts and 0 where it is absent, and the state with one for each
    agent, so that null can be told from action 0. An absent agent's observation is the last one it was given. Every
    game step counts once, for all agents; what an agent earns while it is absent counts where the game pays it.

    Ends: an agent's `terminated` is final; a game is over when all agents are terminated or truncated, when a flag
    under `"__all__"` says so, or when its `agents` are empty. It is truncated if an agent of it is then. Who is
    truncated while others go on is absent from then on, and its part counts as over from the step after. An
    `infos[agent]["outcome"]` at the end, text or a whole number, names the outcome and joins `outcome_names` when new.

    The first reset of a copy is seeded from `rng`, later ones go on with the copy's own generator. Where a copy stands
    nobody can tell but itself, so that there is no `get_state`.

    Args:
        factory: makes one copy, of any make that `adapt` knows; every copy must be its own.
        num_games: N, at least 1.
        rng: the only source of the copies' seeds.
        look: what is known of the game, or, if it is of no steps, what is to be expected beyond what a look shows. One
            that is known spares the look, which needs a copy of its own.
        trusted: whether the game is known to keep the contract and to have no absences: it is not looked at, and held
            to finite numbers only.
        looking: whether this is that look, which puts up with absences and late masks, and reports them.

    Attributes:
        look: what is known of the game.
        contract: what its copies are held to.

    Raises:
        ValueError: if the factory makes no such game, or a space does not fit.
        GameError: when a copy breaks the contract: a value that is not of its space, an agent that comes back after
            its end, NaN or infinity; when something happens that the look has not shown.
    """

    ends_apart = True

    def __init__(
        self,
        factory: Callable[[], ParallelEnv],
        num_games: int,
        rng: np.random.Generator,
        *,
        look: Look | None = None,
        trusted: bool = False,
        looking: bool = False,
    ) -> None:
        if num_games < 1:
            raise ValueError(f"num_games must be at least 1; got {num_games}.")
        self.num_games, self.ends_apart = num_games, not trusted
        self._seeds: list[int | None] = rng.integers(2**31, size=num_games).tolist()
        self.outcome_names: list[str] = []
        if trusted or looking or (look and look.steps):
            first = self._first_of(factory)
            if trusted:
                look = Look(masks=bool(self.contract.masked) or self._masks_at_first(first))
        else:
            with Watchdog() as calling:
                calling("the constructor")
                first = self._first_of(factory)
                look = self._looked(factory, first, look or Look(), calling)
        self.contract.looking, self.contract.trusted = looking, trusted
        declared = {agent: reader.raw for agent, reader in self._actions.items()}  # now, whenever the look was
        self.look = self.contract.look = dataclasses.replace(look or Look(), actions=declared)
        self._make_arrays([first, *(self._like_the_first(adapt(factory())) for _ in range(num_games - 1))])

    def _first_of(self, factory: Callable[[], ParallelEnv]) -> ParallelEnv:
        """Makes the first copy, and reads what it declares."""
        env = adapt(factory())
        if isinstance(env.possible_agents, set | frozenset):
            raise ValueError(f"{env}: possible_agents is a set, whose order differs between processes: write a list.")
        self.possible_agents = list(env.possible_agents)
        if reserved := {ALL, "__common__"}.intersection(self.possible_agents):
            raise ValueError(f"{env}: an agent is named {min(reserved)!r}, which RLlib reserves: rename it.")
        if len(set(self.possible_agents)) < len(self.possible_agents):
            raise ValueError(f"{env}: possible_agents names one agent twice: {self.possible_agents}.")
        self.contract = self._read_spaces(env)
        return env

    def _looked(
        self, factory: Callable[[], ParallelEnv], first: ParallelEnv, expected: Look, calling: Watchdog
    ) -> Look:
        """Looks at a copy of a game made for that; returns what was found, and what is expected beyond."""
        other = self._like_the_first(adapt(factory()))
        if other.unwrapped is first.unwrapped:
            raise ValueError(f"{other}: the factory returned one object twice; make a new game at every call.")
        game = ParallelEnvBatch(lambda: other, 1, np.random.default_rng(LOOK_SEED), looking=True)
        found = look_at(game, game.contract, expected, calling)
        if found.seconds_per_step * STEPS < 1.0:  # else it would take too long
            self._check_apart(factory)
        return dataclasses.replace(found, unread=() if found.masks else _unread_masks(first))

    def _check_apart(self, factory: Callable[[], ParallelEnv]) -> None:
        one, other = adapt(factory()), adapt(factory())

        def alone(env: ParallelEnv, seed: int) -> ParallelEnvBatch:
            return ParallelEnvBatch(lambda: env, 1, np.random.default_rng(seed), looking=True)

        try:
            shared = share(lambda seed: alone(one, seed), alone(other, SEEDS[2]))
        except Exception:  # what is wrong with a game, the look has said
            return
        finally:
            for env in (one, other):
                with contextlib.suppress(Exception):
                    env.close()
        if shared:
            raise ValueError(
                f"{one}: what one copy of the game does changes what another one sees; let each hold what it is in "
                "itself, not in its class, its module, or an object that all are given."
            )

    def _like_the_first(self, env: ParallelEnv) -> ParallelEnv:
        """Returns a copy of the game, if it has the first one's agents, in their order, and their spaces."""
        if (agents := list(env.possible_agents)) != self.possible_agents:
            raise ValueError(
                f"{env}: the factory made copies with other agents, or the same in another order: "
                f"{self.possible_agents} and {agents}; let each copy have the same list."
            )
        for agent, declared in self.contract.spaces.items():
            for space, now in zip(declared, (env.observation_space(agent), env.action_space(agent)), strict=True):
                if now != space:
                    one, other = told_apart(space, now)
                    raise ValueError(
                        f"{env}: the factory made copies of which agent {agent!r} has the space {one} in one and "
                        f"{other} in another; make copies of one game, and forbid actions by an action mask."
                    )
        return env

    def _read_spaces(self, env: ParallelEnv) -> Contract:
        declared = {agent: _copied(env, agent) for agent in self.possible_agents}
        split = {agent: masks.split(seen, agent) for agent, (seen, _) in declared.items()}
        readers = {agent: SpaceReader(space, f"agent {agent!r}: observation") for agent, (space, _) in split.items()}
        masked = {agent for agent, (_, masked) in split.items() if masked}
        self._actions = {a: ActionReader(done, f"agent {a!r}") for a, (_, done) in declared.items()}
        self.action_spaces: dict[str, gym.Space] = {agent: reader.space for agent, reader in self._actions.items()}
        for agent, reader in self._actions.items():
            masks.check_names(split[agent][0], reader.mask_entries, agent)
        for agent in masked:
            if not isinstance(space := self.action_spaces[agent], spaces.Discrete):
                raise ValueError(f"agent {agent!r}: action masks are for discrete actions; got {in_words(space)}.")
        return Contract(self.possible_agents, declared, readers, masked, self._actions, Look(), was_masked=bool(masked))

    def _masks_at_first(self, env: ParallelEnv) -> bool:
        _, infos = env.reset(seed=self._seeds[0])
        return any(ACTION_MASK in infos.get(agent, {}) for agent in self.possible_agents)

    def _make_arrays(self, envs: list[ParallelEnv]) -> None:
        agents, readers = self.possible_agents, self.contract.readers
        self._ended = np.zeros((self.num_games, len(agents)), bool)
        self._acts = np.ones_like(self._ended)
        self._stale = np.ones(self.num_games, bool)  # whose state is to be asked for
        self._observations = {agent: reader.new_buffer(self.num_games) for agent, reader in readers.items()}
        self.observation_spaces = {agent: reader.space for agent, reader in readers.items()}
        if self.look.absences:
            for agent, space in self.observation_spaces.items():
                self.observation_spaces[agent] = _with_presence(space, 1, f"agent {agent!r}: observation")
        self._masks: dict[str, np.ndarray] | None = None
        if self.look.masks or self.look.absences or self.contract.looking:
            widths = {a: int(s.n) if isinstance(s, spaces.Discrete) else 1 for a, s in self.action_spaces.items()}
            self._masks = {agent: np.ones((self.num_games, widths[agent]), bool) for agent in agents}
        self.cuts = self.look.cuts
        self._cut = {agent: np.zeros_like(mask) for agent, mask in (self._masks or {}).items()} if self.cuts else None
        self._games = [
            OneGame(
                env,
                game,
                self.contract,
                observations={agent: buffer[game] for agent, buffer in self._observations.items()},
                masks=None if self._masks is None else {agent: mask[game] for agent, mask in self._masks.items()},
                ended=self._ended[game],
                acts=self._acts[game],
                cut=None if self._cut is None else {agent: cut[game] for agent, cut in self._cut.items()},
            )
            for game, env in enumerate(envs)
        ]

    @functools.cached_property
    def _state_reader(self) -> SpaceReader | None:
        first = self._games[0]
        try:
            if not first.episodes:
                first.env.reset(seed=self._seeds[0])  # some games have no state before their first reset
            space = first.env.state_space
            first.env.state()
        except (AttributeError, NotImplementedError):
            return None
        except RAISED_BY_GAMES as error:
            raise GameError(f"the game raised {error!r} when it was asked for its state.") from error
        return SpaceReader(space, "state") if isinstance(space, gym.Space) else None

    @functools.cached_property
    def state_space(self) -> gym.Space | None:  # type: ignore[override]
        """The space of one state, None where the game has none. Whoever does not ask for it asks for no state."""
        if self._state_reader is None:
            return None
        self._states = self._state_reader.new_buffer(self.num_games)
        space = self._state_reader.space
        return _with_presence(space, len(self.possible_agents), "state") if self.look.absences else space

    @property
    def copies(self) -> list[ParallelEnv]:
        """The games themselves, one after the other."""
        return [game.env for game in self._games]

    @property
    def acts(self) -> np.ndarray:
        """Who acts at the coming step, (N, agents) bool."""
        return self._acts.copy()

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Starts the games of `mask`, (N,) bool, anew; all of them by default."""
        for game in range(self.num_games) if mask is None else np.flatnonzero(mask).tolist():
            self._games[game].reset(self._seeds[game])
            self._seeds[game] = None  # from now on the copy's own generator goes on
            self._stale[game] = True
        check_finite("observation", self._observations, self._steps())

    def observe(self) -> dict[str, np.ndarray]:
        """Returns every agent's observations now, agent -> (N, *observation shape)."""
        if not self.look.absences:
            return {agent: array.copy() for agent, array in self._observations.items()}
        return {
            agent: np.concatenate([array, self._acts[:, i, None].astype(array.dtype)], 1)
            for i, (agent, array) in enumerate(self._observations.items())
        }

    def state(self) -> np.ndarray | None:
        """Returns the games' states now, (N, *state shape), or None where the game has none."""
        if self.state_space is None or self._state_reader is None:
            return None
        for game in np.flatnonzero(self._stale).tolist():
            self._games[game].state(self._state_reader, self._states[game])
        self._stale[:] = False
        check_finite("state", {"(all)": self._states}, self._steps())
        if self.look.absences:
            return np.concatenate([self._states, self._acts.astype(self._states.dtype)], 1)
        return self._states.copy()

    def action_masks(self) -> dict[str, np.ndarray] | None:
        """Returns which actions are allowed now, agent -> (N, |A_i|) bool, or None where the game masks none.

        Of a continuous action it is (N, 1): whether the agent acts.
        """
        return None if self._masks is None else {agent: mask.copy() for agent, mask in self._masks.items()}

    def step(self, actions: dict[str, np.ndarray]) -> BatchedStep:
        """Plays one joint action in every game, agent -> (N, *action shape).

        Raises:
            GameError: if the actions have the wrong shape, or a game breaks the contract.
        """
        rewards = {agent: np.zeros(self.num_games, np.float32) for agent in self.possible_agents}
        terminated, truncated = np.zeros(self.num_games, bool), np.zeros(self.num_games, bool)
        outcome = np.full(self.num_games, -1)
        for game, joint_action in enumerate(self._per_game(actions)):
            paid, terminated[game], truncated[game], infos = self._games[game].step(joint_action)
            for agent, reward in paid.items():
                rewards[agent][game] = reward
            if terminated[game] or truncated[game]:
                outcome[game] = self._outcome(infos)
        self._stale[:] = True
        steps = self._steps()
        check_finite("observation", self._observations, steps)
        check_finite("reward", rewards, steps)
        ended = None
        if self.ends_apart:
            ended = {agent: self._ended[:, i].copy() for i, agent in enumerate(self.possible_agents)}
        cut = None if self._cut is None else {agent: own.copy() for agent, own in self._cut.items()}
        return BatchedStep(rewards, terminated, truncated, outcome, ended, cut)

    def close(self) -> None:
        """Closes every copy."""
        for game in self._games:
            try:
                game.env.close()
            except Exception as error:  # nothing of the game is needed any more
                logger.warning("the game raised %r in close()", error)

    def _steps(self) -> np.ndarray:
        return np.array([game.steps for game in self._games])

    def _per_game(self, actions: dict[str, np.ndarray]) -> list[dict[str, Any]]:
        columns = []
        for agent, reader in self._actions.items():
            columns.append(reader.to_game(np.asarray(actions[agent])))
            if len(columns[-1]) != self.num_games:
                raise GameError(f"there are {len(columns[-1])} actions of agent {agent!r} for {self.num_games} games.")
        return [dict(zip(self.possible_agents, row, strict=True)) for row in zip(*columns, strict=True)]

    def _outcome(self, infos: Mapping[str, Any]) -> int:
        of_agents = [infos.get(agent) for agent in self.possible_agents]
        named = [info["outcome"] for info in of_agents if isinstance(info, Mapping) and "outcome" in info]
        if not named or not isinstance(named[0], str | int | np.integer | np.bool_) or named[0] == "":
            return -1  # a number such as a score names nothing
        name = str(named[0])
        if name not in self.outcome_names and len(self.outcome_names) >= MOST_OUTCOMES:
            name = OTHER_OUTCOMES
        if name not in self.outcome_names:
            self.outcome_names.append(name)
        return self.outcome_names.index(name)


def _copied(env: ParallelEnv, agent: str) -> tuple[gym.Space, gym.Space]:
    declared = env.observation_space(agent), env.action_space(agent)
    try:
        return copy.deepcopy(declared)
    except Exception as error:  # what a space of the game's own make holds may be anything
        raise ValueError(
            f"agent {agent!r}: its spaces {declared} cannot be copied ({error}), and so not be handed to workers; "
            "write gymnasium's own, and keep in the game what else they hold."
        ) from error


def _unread_masks(env: ParallelEnv) -> tuple[str, ...]:
    names = masks.unread(env)
    if names:
        _say_unread(name_of(env), ", ".join(names))
    return names


@functools.cache  # once is enough
def _say_unread(game: str, names: str) -> None:
    logger.warning(
        "%s: %s: by the name an action mask, and not read: all actions are taken to be allowed always; where some are "
        "forbidden, say so by infos[agent]['action_mask']",
        game,
        names,
    )


def _with_presence(space: gym.Space, count: int, what: str) -> gym.Space:
    """Returns a space with entries added that say who acts: 1, or 0 where an agent is absent."""
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        raise ValueError(
            f"{what} space {in_words(space)} is an image, and agents of this game are absent at times, which is to be "
            "told beside it: write a vector (a Box of one dimension)."
        )
    dtype: Any = space.dtype
    low, high = np.zeros(count, dtype), np.ones(count, dtype)
    return spaces.Box(np.append(space.low, low), np.append(space.high, high), dtype=dtype)
