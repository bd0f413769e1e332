"""PettingZoo's `AECEnv`, whose agents move in turn, as a `ParallelEnv` of one row per turn."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from itertools import islice
from typing import Any

import numpy as np
from pettingzoo import AECEnv
from pettingzoo.utils import conversions
from pettingzoo.utils.wrappers import OrderEnforcingWrapper

from rllib_biac.envs.adapters.accounts import AccountsWrapper
from rllib_biac.envs.adapters.common import PETTINGZOO_HINT, Adapter, flag, pettingzoo_spaces, read_spaces
from rllib_biac.envs.errors import GameError

# What PettingZoo itself makes of an `AECEnv`.
CONVERTED = (conversions.aec_to_parallel_wrapper, conversions.turn_based_aec_to_parallel_wrapper)


class TurnsEnv(Adapter):
    """An `AECEnv`, one turn per step: the agent on turn acts, all others are absent.

    Everybody's observation is returned at each step, since critics look at all of them; `acting` says who is on turn.
    Everybody else's action mask is zero. Rewards are those that each agent earned in exactly this step (AEC's
    `rewards`), whoever was on turn. An agent that is done is said to be so in the step in which the game takes it out,
    so that nothing it earns until then is lost.

    Where the game is truncated, who would have acted next is whom it selects before those who are done are taken out.
    If that one is terminated, or its mask is all zero, it is the next in the agents' order of which neither holds.

    Args:
        env: the game.

    Attributes:
        acting: who acts at the coming step.
    """

    def __init__(self, env: AECEnv) -> None:
        super().__init__(env, read_spaces(env, pettingzoo_spaces, PETTINGZOO_HINT)[0])
        self.acting: set[Any] = set()

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        if isinstance(self.env, AccountsWrapper):
            self.env = self.env.unless_done()
        self._reset(seed, options)
        self.acting = {self._on_turn()}
        seen = self._take_out_the_done({})
        return self._masked(seen | self._look(), self.acting), self._masked(self._infos(), self.acting)

    def step(self, actions: dict[Any, Any]) -> tuple[dict, dict, dict, dict, dict]:
        agent, present = self.env.agent_selection, list(self.agents)
        if agent not in actions:
            raise GameError(f"it is the turn of agent {agent!r}, which has no action; actions came of {list(actions)}.")
        self.env.step(actions[agent])
        self.acting = {self._on_turn()}
        rewards = dict.fromkeys(present, 0.0) | dict(self.env.rewards)
        infos = self._infos()
        over: dict[Any, tuple[bool, bool]] = {}
        last_seen = self._take_out_the_done(over)
        flags = dict.fromkeys([*present, *self.agents], (False, False)) | over
        terminated, truncated = ({a: flag[i] for a, flag in flags.items()} for i in (0, 1))
        seen, infos = last_seen | self._look(), infos | self._infos()
        if not self.agents:
            # Cut off, some games select who is terminated, or their first agent, whoever is on turn.
            first, *_ = self.acting
            open_to = {a for a, (ended, _) in over.items() if not ended and not _has_no_action(a, seen, infos)}
            self.acting = set(islice((a for a in self._from(first) if a in open_to), 1)) or self.acting
        # Of who leaves others behind, what counts is what it might do if it still were there.
        may_act = self.acting.union(over if self.agents else ())
        return self._masked(seen, may_act), rewards, terminated, truncated, self._masked(infos, may_act)

    def _take_out_the_done(self, over: dict[Any, tuple[bool, bool]]) -> dict[Any, Any]:
        env, seen = self.env, {}
        while env.agents:
            if (agent := env.agent_selection) not in env.agents:
                raise GameError(f"it is the turn of agent {agent!r}, which is none of its agents {env.agents}.")
            done = flag(env.terminations[agent], agent), flag(env.truncations[agent], agent)
            if not any(done):
                break
            seen[agent], over[agent] = self._observed(agent), done
            env.step(None)  # pays nobody, as PettingZoo's own conversions have it
            if agent in env.agents:
                raise GameError(f"agent {agent!r} is done and not taken out; call `_was_dead_step(action)` in step().")
        self.agents = list(env.agents)
        if self.agents:
            self.acting = {env.agent_selection}
        return {agent: value for agent, value in seen.items() if value is not None}

    def _from(self, agent: Any) -> list[Any]:
        """Returns all agents in their order, round from this one on."""
        names = self.possible_agents
        at = names.index(agent)
        return names[at:] + names[:at]

    def _on_turn(self) -> Any:
        """Returns whose turn it is, those who are done aside."""
        # Where these step first, PettingZoo keeps there who is on turn after them.
        kept = getattr(self.env.unwrapped, "_skip_agent_selection", None)
        return self.env.agent_selection if kept is None else kept

    def _look(self) -> dict[Any, Any]:
        seen = {agent: self._observed(agent) for agent in self.agents}
        return {agent: value for agent, value in seen.items() if value is not None}

    def _observed(self, agent: Any) -> Any:
        seen = self.env.observe(agent)
        try:
            return copy.deepcopy(seen)  # a game may hand out one buffer again and again
        except Exception as error:  # an object of another library may raise anything
            raise GameError(f"observation of agent {agent!r} cannot be copied ({error}); write an array.") from error

    def _infos(self) -> dict[Any, Any]:
        return {agent: dict(info) if isinstance(info, dict) else info for agent, info in self.env.infos.items()}

    @staticmethod
    def _masked(entries: dict[Any, Any], may_act: Collection[Any]) -> dict[Any, Any]:
        """Returns observations or infos in which action masks of all others are zero."""
        return {
            agent: own
            if agent in may_act or not isinstance(own, dict) or "action_mask" not in own
            else own | {"action_mask": np.zeros_like(own["action_mask"])}
            for agent, own in entries.items()
        }


def _has_no_action(agent: Any, *places: Mapping[Any, Any]) -> bool:
    """Returns whether an agent has an action mask, in its observation or its infos, and all of it is zero."""
    entries = [place.get(agent) for place in places]
    masks = [own["action_mask"] for own in entries if isinstance(own, dict) and "action_mask" in own]
    return bool(masks) and not any(np.any(mask) for mask in masks)


class AtOnceEnv(conversions.aec_to_parallel_wrapper):
    """An `AECEnv` in which everybody moves at once, by PettingZoo's conversion; `AccountsWrapper` looks on at first."""

    aec_env: Any

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        self.aec_env = self.aec_env.unless_done() if isinstance(self.aec_env, AccountsWrapper) else self.aec_env
        return super().reset(seed=seed, options=options)


def from_turns(env: Any) -> Any:
    """Returns an `AECEnv`, or what PettingZoo has made of one, as a `ParallelEnv`.

    A game that is_parallelizable by its metadata only writes down in turn who moves at once; PettingZoo's conversion
    gives it back as it is. All others become a `TurnsEnv`: PettingZoo's conversion for turns does not say
    whose turn it is.
    """
    at_once = (getattr(env, "metadata", None) or {}).get("is_parallelizable", False)
    if type(env) in CONVERTED:
        at_once, env = type(env) is conversions.aec_to_parallel_wrapper, env.aec_env
    if isinstance(env, OrderEnforcingWrapper) and isinstance(env.env, conversions.parallel_to_aec_wrapper):
        return env.env.env  # was written for moves at once
    return (AtOnceEnv if at_once else TurnsEnv)(AccountsWrapper(env))
