"""The two accounts that an `AECEnv` keeps of rewards, held against each other."""

from __future__ import annotations

from typing import Any

import numpy as np
from pettingzoo import AECEnv
from pettingzoo.utils.wrappers import BaseWrapper

from rllib_biac.envs.errors import GameError

# Both accounts are looked at over the first episodes of each copy; the check takes a third of a fast game's time.
CHECKED_EPISODES = 2
CHECKED_TURNS = 10_000


class AccountsWrapper(BaseWrapper):
    """An `AECEnv` whose accounts are compared over two episodes: `rewards` since an agent's last turn, and `last()`.

    Conversions to a `ParallelEnv` read `rewards`, everybody else reads `last()`. Where a game leaves old `rewards` in
    place, pays twice or forgets to start anew, the two differ, and nobody can tell which is meant.

    Args:
        env: the game.
    """

    def __init__(self, env: AECEnv) -> None:
        super().__init__(env)
        self._earned: dict[Any, Any] = {}  # since an agent's own last turn
        self._episodes = self._turns = 0

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        super().reset(seed=seed, options=options)
        self._earned = {}
        self._episodes += 1

    def unless_done(self) -> AECEnv:
        """Returns what to go on with at the next reset: the game itself, once enough of it has been seen."""
        return self.env if self._episodes >= CHECKED_EPISODES else self

    def step(self, action: Any) -> None:
        """Plays one turn.

        Raises:
            GameError: if the accounts differ of somebody who steps next.
        """
        self._turns += 1
        if self._turns > CHECKED_TURNS:
            self.env.step(action)
            return
        env, agent = self.env, self.env.agent_selection
        was_done = env.terminations[agent] or env.truncations[agent]
        self._earned[agent] = 0.0
        env.step(action)
        if was_done:  # pays nobody, as PettingZoo's own conversions have it
            return
        for other, reward in env.rewards.items():
            self._earned[other] = self._earned.get(other, 0.0) + reward
        done = [a for a in env.agents if env.terminations[a] or env.truncations[a]]
        accounts = {a: env._cumulative_rewards[a] for a in done}
        if env.agent_selection in env.agents:
            accounts[env.agent_selection] = env.last(observe=False)[1]  # a wrapper may have changed it
        for other, said in accounts.items():
            earned = self._earned.get(other, 0.0)
            differ = abs(earned - said) > 1e-6 + 1e-4 * abs(said)  # one, or one for each part of a vector
            if differ.any() if isinstance(differ, np.ndarray) else differ:
                raise GameError(
                    f"agent {other!r} earned {earned} since its last turn by `rewards` and {said} by `last()`; "
                    "at each step() clear `rewards`, set the acting agent's `_cumulative_rewards` to 0, and call "
                    "`_accumulate_rewards()` once; a wrapper that changes one of them must change both."
                )
