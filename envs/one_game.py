"""One copy of anybody's `ParallelEnv`, held to the contract of games at every call."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rllib_biac.envs.adapters import Adapter
from rllib_biac.envs.adapters.common import check_named
from rllib_biac.envs.contract import Contract
from rllib_biac.envs.errors import RAISED_BY_GAMES, GameError
from rllib_biac.envs.left_states import LeftStates
from rllib_biac.envs.masks import ACTION_MASK, check_infos
from rllib_biac.envs.reading import Misfit, SpaceReader, read_flag, read_mask, read_number
from rllib_biac.envs.space_words import told_apart

ALL = "__all__"  # RLlib's name for the whole game among flags
# Values are held to their bounds in every step of a copy's first episodes, later in one step of so many.
FIRST_EPISODES, ONE_STEP_OF = 3, 64

# Where games that begin anew by themselves, as vectorised ones do, keep what was seen last.
_SEEN_LAST = {"final_observation", "final_obs", "terminal_observation"}
_RETURNED = ("observations", "rewards", "terminations", "truncations")


class OneGame:
    """One copy of a game.

    Args:
        env: it.
        number: by which errors name it.
        contract: what it is held to.
        observations: agent -> (*observation shape), written in place.
        masks: agent -> (|A_i|,) bool, written in place; of a continuous action (1,), whether the agent acts. None where
            no masks are expected.
        ended: (agents,) bool, written in place: whose own part is terminated.
        acts: (agents,) bool, written in place: who acts at the coming step.
        cut: agent -> (|A_i|,) bool, written in place, as in `BatchedStep`; None where that is not expected.

    Attributes:
        steps: since the last reset.
        episodes: begun so far.
        terminated: whether the game is.
    """

    def __init__(
        self,
        env: Any,
        number: int,
        contract: Contract,
        *,
        observations: dict[str, np.ndarray],
        masks: dict[str, np.ndarray] | None,
        ended: np.ndarray,
        acts: np.ndarray,
        cut: dict[str, np.ndarray] | None = None,
    ) -> None:
        self.env, self._number, self._contract = env, number, contract
        self._observations, self._masks, self._ended, self._acts = observations, masks, ended, acts
        self._index = {agent: i for i, agent in enumerate(contract.agents)}
        # Sets, for arrays of two or three cost more than a small game's own step.
        self._over: set[str] = set()  # whose own part is over
        self._cut = cut
        self._cut_now: set[str] = set()  # who was truncated alone at this very step
        self._truncated: set[str] = set()  # and before
        self._left: set[str] = set()  # who was gone after that
        self._acting: set[str] = set()
        self._asked: set[str] = set()  # who is to act; of them some may do nothing
        self._handed: set[str] = set()  # who is handed an action: also those who are over and still listed
        self._left_states = LeftStates(contract, self.where)
        self.steps = self.episodes = 0
        self.terminated = self._lists_agents = False
        self._given: dict[str, tuple[gym.Space, gym.Space]] = {}  # the spaces that it handed out last
        self._bounds = False  # whether what is returned now is held to its bounds

    def where(self) -> str:
        """Returns where the game stands, for messages."""
        return f"in game {self._number} at step {self.steps}"

    def reset(self, seed: int | None) -> None:
        """Starts the game anew.

        Raises:
            GameError: if it raises, or what it returns breaks the contract.
        """
        try:
            check_named(self.env, self._contract.agents)
            result = self.env.reset(seed=seed)
        except GameError as error:  # of an adapter, too
            raise GameError(f"{error} (in reset() in game {self._number})") from error
        except RAISED_BY_GAMES as error:
            raise GameError(f"the game raised {error!r} in reset() in game {self._number}.") from error
        if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[0], Mapping):
            raise GameError(f"reset() returned {_kind(result)} in game {self._number}; write (observations, infos).")
        self.steps, self.episodes = 0, self.episodes + 1
        self.terminated = False
        self._over.clear()
        self._left.clear()
        self._truncated.clear()
        self._forget_cuts()
        self._left_states.begin()
        self._ended[:] = False
        self._lists_agents = _count(getattr(self.env, "agents", None)) > 0
        self._check_names("reset()", "observations", result[0])
        if not self._lists_agents and not result[0]:
            raise GameError(
                f"reset() returned nobody who plays in game {self._number}: no observations, and no `agents`; an "
                "episode takes at least one step."
            )
        for agent, buffer in self._observations.items():
            if agent not in result[0]:
                buffer[...] = 0  # it comes late
        self._keep(result[0], _entries(result[1]))

    def step(self, joint_action: Mapping[str, Any]) -> tuple[dict[str, float], bool, bool, Mapping[str, Any]]:
        """Plays one joint action; of it the game is handed what those do who are to act.

        Returns:
            agent -> reward; whether the game is terminated, truncated; infos.

        Raises:
            GameError: as `reset`.
        """
        actions = joint_action
        if len(self._handed) < len(self._index):
            actions = {agent: action for agent, action in joint_action.items() if agent in self._handed}
        self.steps += 1
        if self._cut_now:  # of the rows that come they have no part
            self._ended[[self._index[agent] for agent in self._cut_now]] = True
            self._forget_cuts()
        try:
            result = self.env.step(actions)
        except GameError as error:
            raise GameError(f"{error} ({self.where()})") from error
        except RAISED_BY_GAMES as error:
            raise GameError(f"the game raised {error!r} in step() {self.where()}, on actions {actions}.") from error
        if not isinstance(result, tuple) or len(result) != 5:
            raise GameError(
                f"step() returned {_kind(result)} {self.where()}; write "
                "(observations, rewards, terminations, truncations, infos)."
            )
        *given, infos = result
        for entries, what in zip(given, _RETURNED, strict=True):
            if type(entries) is not dict or not entries.keys() <= self._index.keys():
                self._check_names("step()", what, entries)
        observations, paid, terminations, truncations = given
        if silent := not any(given):
            self._check_over()
        rewards = self._rewards(paid, silent)
        terminated, truncated = self._ends(terminations, truncations, silent)
        self.terminated = terminated
        if self._contract.looking and (terminated or truncated):
            self._check_not_begun_anew(_entries(infos))
        asked = self._asked
        self._keep(observations, _entries(infos), terminated or truncated, truncated)
        if self._cut_now:
            self._left_states.check_alone(self._cut_now & asked, observations)
        if truncated:
            left = [agent for agent in self._index if agent in asked - self._over - self._acting]
            self._left_states.check_all(left, observations, self._acting)
        return rewards, terminated, truncated, _entries(infos)

    def state(self, reader: SpaceReader, buffer: np.ndarray) -> None:
        """Writes the game's state into a buffer, (*state shape); after its end the buffer may stay as it is.

        Raises:
            GameError: if the game raises, or its state is not of the state space.
        """
        try:
            state = self.env.state()
        except RAISED_BY_GAMES as error:
            if self.terminated:
                return  # what comes after the end is worth nothing, whatever it is
            raise GameError(f"the game raised {error!r} in state() {self.where()}.") from error
        self._write(buffer, reader, state, "state", None, self._bounds)

    def _check_names(self, call: str, what: str, entries: Any) -> None:
        if not isinstance(entries, Mapping):
            raise GameError(f"{call} returned {entries!r} as {what} {self.where()}; write agent -> value.")
        if entries.keys() <= self._index.keys():
            return
        for name in entries:
            if name not in self._index and not (name == ALL and what.endswith("ations") and what[0] == "t"):
                raise GameError(
                    f"{call} returned {what} of {name!r} {self.where()}; the game's possible_agents are "
                    f"{self._contract.agents}."
                )

    def _rewards(self, paid: Mapping[str, Any], silent: bool) -> dict[str, float]:
        rewards = dict.fromkeys(self._contract.agents, 0.0)
        for agent in rewards:
            if agent not in paid:
                if agent in self._asked and not silent:
                    raise GameError(f"agent {agent!r} needs one number as its reward {self.where()}; got none.")
                continue
            try:
                rewards[agent] = read_number(paid[agent])
            except Misfit as error:
                raise GameError(f"agent {agent!r} {error} {self.where()}.") from error
            if self._over and rewards[agent] and agent in self._over:
                raise GameError(
                    f"agent {agent!r} earned {rewards[agent]} {self.where()}, after it was {self._how(agent)}: flag it "
                    "as terminated when there is nothing more to earn."
                )
            if self._contract.looking:
                low, high = self._contract.paid.get(agent, (np.inf, -np.inf))
                self._contract.paid[agent] = min(low, rewards[agent]), max(high, rewards[agent])
        return rewards

    def _ends(self, terminations: Mapping[str, Any], truncations: Mapping[str, Any], silent: bool) -> tuple[bool, bool]:
        """Keeps who is terminated; returns whether the game is terminated or truncated."""
        terminated = self._flagged(terminations, "termination")
        if self._over:
            self._check_stays_over(terminations.keys() - terminated)
        truncated = self._flagged(truncations, "truncation") - terminated - self._over
        gone = silent or (self._lists_agents and not _count(self.env.agents))
        if not (terminated or truncated or gone):
            return False, False
        self._over |= terminated
        if gone:  # the game says by an empty list, or by saying nothing, that it is over
            self._over |= self._index.keys() - truncated
        for agent in self._over:
            self._ended[self._index[agent]] = True
        going = [agent for agent in self._index if agent not in self._over and agent not in truncated]
        if truncated and going:
            self._leave(truncated)
        return not going and not truncated, bool(truncated) and not going

    def _leave(self, truncated: set[str]) -> None:
        """Takes agents out that are truncated while others go on."""
        contract = self._contract
        if self._cut is None and not contract.looking:
            raise GameError(
                f"agent {min(truncated, key=self._index.__getitem__)!r} is truncated {self.where()} while others go "
                f"on; a look of {contract.look.steps} steps at the game showed no such thing. Write absences: true."
            )
        contract.was_cut = True
        self._cut_now = truncated
        self._truncated |= truncated
        self._over |= truncated

    def _how(self, agent: str) -> str:
        return "truncated" if agent in self._truncated else "terminated"

    def _forget_cuts(self) -> None:
        for agent in self._cut_now:
            if self._cut is not None:
                self._cut[agent][:] = False
        self._cut_now = set()

    def _check_not_begun_anew(self, infos: Mapping[str, Any]) -> None:
        for info in (infos, *infos.values()):
            if kept := _SEEN_LAST.intersection(_entries(info)):
                raise GameError(
                    f"the game seems to begin anew by itself {self.where()}, for its infos hold {min(kept)!r}: return "
                    "what is seen last as the observations, and begin anew in reset() alone."
                )

    def _check_over(self) -> None:
        if self._lists_agents and _count(self.env.agents):
            raise GameError(
                f"step() returned nothing at all {self.where()}, though the game's agents still are "
                f"{list(self.env.agents)}: leave none in `agents` when it is over, else say what each sees and earns."
            )

    def _check_stays_over(self, unflagged: Set[str]) -> None:
        for agent in self._index:
            if agent in unflagged and agent in self._over and self._lists_agents and agent in self.env.agents:
                raise GameError(
                    f"agent {agent!r} goes on {self.where()}, after it was {self._how(agent)}: flag it as terminated "
                    "when its part is over, or take it out of `agents` without a flag while it is only absent."
                )

    def _flagged(self, given: Mapping[str, Any], what: str) -> set[str]:
        found: set[str] = set()
        for name, flag in given.items():
            if flag is False:
                continue
            try:
                if read_flag(flag):
                    found |= self._index.keys() if name == ALL else {name}
            except Misfit as error:
                raise GameError(f"the {what} flag of {name!r} {error} {self.where()}.") from error
        return found

    def _keep(
        self, observations: Mapping[str, Any], infos: Mapping[str, Any], over: bool = False, truncated: bool = False
    ) -> None:
        """Keeps what agents see and may do now, and who acts next, also where the game is cut off."""
        contract = self._contract
        listed = self.env.agents if self._lists_agents else None
        acting = getattr(self.env, "acting", None)
        if not isinstance(acting, Collection):  # some wrappers have an answer to every name
            acting = None
        if over:  # then a game may have taken out all who are not over, whoever would act next
            listed, acting = (
                None if names is None or self._over.issuperset(names) else names for names in (listed, acting)
            )
        self._bounds = not contract.trusted and (
            self.episodes <= FIRST_EPISODES or (self.steps + self._number) % ONE_STEP_OF == 0
        )
        if self._bounds:
            self._check_spaces()
            if strangers := [agent for agent in (() if listed is None else listed) if agent not in contract.agents]:
                raise GameError(
                    f"the game's `agents` hold {strangers[0]!r} {self.where()}, which is none of its possible_agents "
                    f"{contract.agents}: write the names of those who are there."
                )
        if contract.looking and infos:
            unmasked = {a: own.mask_entries * (a not in contract.masked) for a, own in contract.actions.items()}
            check_infos(infos, unmasked, self.where())
        self._acting, self._asked, self._handed = set(), set(), set()
        for agent, reader in contract.readers.items():
            info = infos.get(agent)
            mask = _entries(info).get(ACTION_MASK) if info else None
            observation = observations.get(agent)
            if seen := agent in observations and not (observation is None and agent in self._over):
                if agent in contract.masked:
                    beside, (observation, mask) = mask, self._split(agent, observation)
                    if self._bounds and beside is not None and not np.array_equal(beside, mask):
                        raise GameError(f"agent {agent!r} got two action masks {self.where()}, {mask} and {beside}.")
                self._write(
                    self._observations[agent], reader, observation, "observation of agent ", agent, self._bounds
                )
            allowed = self._keep_mask(agent, mask)
            if agent in self._cut_now and self._cut is not None and self._masks is not None:
                self._cut[agent][:] = self._masks[agent] if allowed else True
            there = seen and agent not in self._over and (acting is None or agent in acting)
            if listed is not None:
                is_listed = agent in listed
                if not over:
                    self._check_listed(agent, is_listed, seen)
                if is_listed and agent in self._over:
                    self._handed.add(agent)
                there = there and is_listed
            if there or (seen and agent in self._cut_now):
                self._left_states.check_mask(agent, mask is not None, truncated or agent in self._cut_now)
            if there:
                self._asked.add(agent)
                if allowed:
                    self._acting.add(agent)
                    continue
            self._keep_absence(agent, over)
        self._handed |= self._asked
        contract.was_idle |= not self._acting and not over
        all_act = len(self._acting) == len(self._index)
        self._acts[:] = True if all_act else [agent in self._acting for agent in self._index]

    def _check_spaces(self) -> None:
        """Refuses spaces that change: networks are built for those that the game declared."""
        if isinstance(self.env, Adapter):
            return
        for agent, declared in self._contract.spaces.items():
            given = self.env.observation_space(agent), self.env.action_space(agent)
            for space, now, before in zip(declared, given, self._given.get(agent, (None, None)), strict=True):
                # What is handed out again may have been changed in place, which takes longer to see: at resets only.
                if not (self.steps and now is before) and now != space:
                    now_is, was = told_apart(now, space)
                    raise GameError(
                        f"a space of agent {agent!r} {f'is {now_is}' if now_is != was else 'was changed in place'} "
                        f"{self.where()}, and was {was}: declare one that holds throughout; forbid actions by a mask."
                    )
            self._given[agent] = given

    def _check_listed(self, agent: str, listed: bool, seen: bool) -> None:
        if listed and not seen and agent not in self._over and not isinstance(self.env, Adapter):
            raise GameError(
                f"agent {agent!r} has no observation {self.where()}, though it is among the game's agents; give it "
                "one, or take it out of `agents` while it does nothing."
            )
        if not self._over or agent not in self._over:
            return
        if listed and agent in self._left:
            raise GameError(
                f"agent {agent!r} is back among the game's agents {self.where()}, after it was {self._how(agent)}: "
                "leave it out of `agents` without a flag while it is only absent."
            )
        if not listed:
            self._left.add(agent)

    def _split(self, agent: str, observation: Any) -> tuple[Any, Any]:
        if not isinstance(observation, Mapping) or ACTION_MASK not in observation:
            raise GameError(
                f"observation of agent {agent!r} {self.where()} has no entry 'action_mask', which its space has."
            )
        rest = {key: value for key, value in observation.items() if key != ACTION_MASK}
        return rest["observation"] if set(rest) == {"observation"} else rest, observation[ACTION_MASK]

    def _write(
        self, buffer: np.ndarray, reader: SpaceReader, value: Any, what: str, agent: str | None, bounds: bool = False
    ) -> None:
        try:
            buffer[...] = reader(value, bounds=bounds)
        except (TypeError, ValueError) as error:
            raise GameError(f"{what}{'' if agent is None else repr(agent)} {self.where()} {error}.") from error

    def _keep_mask(self, agent: str, mask: Any) -> bool:
        """Keeps what an agent may do now, all where no mask is given; returns whether that is anything."""
        if mask is None:
            if self._masks is not None:
                self._masks[agent][:] = True
            return True
        if self._masks is None:
            raise GameError(
                f"agent {agent!r} got its first action mask {self.where()}; a look of {self._contract.look.steps} "
                "steps at the game showed none. Write masks: true."
            )
        self._contract.was_masked = True
        actions = self._contract.actions[agent]
        try:
            if isinstance(actions.raw, spaces.Discrete):
                allowed = read_mask(mask, int(actions.raw.n))
            else:
                allowed = actions.allowed(mask)
        except Misfit as error:
            raise GameError(f"action mask of agent {agent!r} {self.where()} {error}.") from error
        except GameError as error:
            raise GameError(f"{self.where()}: {error}") from error
        self._masks[agent][:] = allowed
        return bool(allowed.any())

    def _keep_absence(self, agent: str, over: bool) -> None:
        contract = self._contract
        if not (over or contract.look.absences or contract.looking):
            raise GameError(
                f"agent {agent!r} does not act {self.where()}; a look of {contract.look.steps} steps at the game "
                "showed no absences. Write absences: true."
            )
        contract.was_absent |= not over
        if self._masks is not None:  # the null action alone: action 0, or the middle of its range
            self._masks[agent][:] = False
            self._masks[agent][0] = isinstance(contract.actions[agent].space, spaces.Discrete)


def _entries(given: Any) -> Mapping[str, Any]:
    """Returns infos, none for what is no mapping: some games return None."""
    return given if isinstance(given, Mapping) else {}


def _count(agents: Any) -> int:
    """Returns how many agents are listed, in whatever holds them; none where there is no list."""
    return len(agents) if hasattr(agents, "__len__") else 0


def _kind(value: Any) -> str:
    return f"a tuple of {len(value)}" if isinstance(value, tuple) else type(value).__name__
