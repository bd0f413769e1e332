"""PettingZoo's `AECEnv`, whose agents move in turn, as a `ParallelEnv` of one row per turn."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from pettingzoo import AECEnv

from rllib_biac.envs.adapters.common import PETTINGZOO_HINT, Adapter, pettingzoo_spaces, read_spaces
from rllib_biac.envs.errors import GameError


class TurnsEnv(Adapter):
    """An `AECEnv`, one turn per step: the agent on turn acts, all others are absent.

    Everybody's observation is returned at each step, since critics look at all of them; `acting` says who is on turn.
    Everybody else's action mask is zero. Rewards are those that each agent earned in exactly this step (AEC's
    `rewards`), whoever was on turn; AEC's second account of them (`last()`) is held against it. An agent that is done
    is said to be so in the step in which the game takes it out, so that nothing it earns until then is lost.

    Args:
        env: the game.

    Attributes:
        acting: who acts at the coming step.
    """

    def __init__(self, env: AECEnv) -> None:
        super().__init__(env, read_spaces(env, pettingzoo_spaces, PETTINGZOO_HINT)[0])
        self.acting: set[Any] = set()
        self._earned: dict[Any, Any] = {}  # since an agent's own last turn

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        self.env.reset(seed=seed, options=options)
        self._earned = {}
        seen = self._take_out_the_done({})
        return seen | self._look(), self._infos()

    def step(self, actions: dict[Any, Any]) -> tuple[dict, dict, dict, dict, dict]:
        agent, present = self.env.agent_selection, list(self.agents)
        if agent not in actions:
            raise GameError(f"it is the turn of agent {agent!r}, which has no action; actions came of {list(actions)}.")
        self._earned[agent] = 0.0
        self.env.step(actions[agent])
        rewards = dict.fromkeys(present, 0.0) | dict(self.env.rewards)
        self._check_accounts(rewards)
        infos = self._infos()
        over: dict[Any, tuple[bool, bool]] = {}
        last_seen = self._take_out_the_done(over)
        flags = dict.fromkeys([*present, *self.agents], (False, False)) | over
        terminated, truncated = ({a: flag[i] for a, flag in flags.items()} for i in (0, 1))
        return last_seen | self._look(), rewards, terminated, truncated, infos | self._infos()

    def _check_accounts(self, rewards: dict[Any, Any]) -> None:
        for agent, reward in rewards.items():
            self._earned[agent] = self._earned.get(agent, 0.0) + reward
        env = self.env
        # What those see who step next: by `last()`, since a wrapper may change it, or by what it is made of.
        done = [a for a in env.agents if env.terminations[a] or env.truncations[a]]
        accounts = {a: env._cumulative_rewards[a] for a in done}
        if env.agent_selection in env.agents:
            accounts[env.agent_selection] = env.last(observe=False)[1]
        for agent, said in accounts.items():
            earned = self._earned.get(agent, 0.0)
            if not np.allclose(earned, said, rtol=1e-4, atol=1e-6, equal_nan=True):
                raise GameError(
                    f"agent {agent!r} earned {earned} since its last turn by `rewards` and {said} by `last()`; "
                    "at each step() clear `rewards`, set the acting agent's `_cumulative_rewards` to 0, and call "
                    "`_accumulate_rewards()` once; a wrapper that changes one of them must change both."
                )

    def _take_out_the_done(self, over: dict[Any, tuple[bool, bool]]) -> dict[Any, Any]:
        env, seen = self.env, {}
        while env.agents:
            if (agent := env.agent_selection) not in env.agents:
                raise GameError(f"it is the turn of agent {agent!r}, which is none of its agents {env.agents}.")
            if not (env.terminations[agent] or env.truncations[agent]):
                break
            seen[agent] = copy.deepcopy(env.observe(agent))
            over[agent] = bool(env.terminations[agent]), bool(env.truncations[agent])
            env.step(None)  # pays nobody, as PettingZoo's own conversions have it
            if agent in env.agents:
                raise GameError(f"agent {agent!r} is done and not taken out; call `_was_dead_step(action)` in step().")
        self.agents = list(env.agents)
        self.acting = {env.agent_selection} if self.agents else set()
        return {agent: value for agent, value in seen.items() if value is not None}

    def _look(self) -> dict[Any, Any]:
        # Copied, since a game may hand out one buffer again and again.
        seen = {agent: copy.deepcopy(self.env.observe(agent)) for agent in self.agents}
        return {agent: self._masked(agent, value) for agent, value in seen.items() if value is not None}

    def _infos(self) -> dict[Any, dict[str, Any]]:
        return {agent: self._masked(agent, dict(info or {})) for agent, info in self.env.infos.items()}

    def _masked(self, agent: Any, entries: Any) -> Any:
        if agent in self.acting or not isinstance(entries, dict) or "action_mask" not in entries:
            return entries
        return entries | {"action_mask": np.zeros_like(entries["action_mask"])}
