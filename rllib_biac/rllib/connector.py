"""The centralized leader-follower connector: from RLlib's per-agent episodes to joint transitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.utils.annotations import override

from rllib_biac.envs.errors import GameError, check_finite
from rllib_biac.learning.transitions import ACTION_MASK, CUT, ENDED, OBSERVATION, STATE, JointTransitions, join


class JointTransitionsConnector(ConnectorV2):
    """Joins the agents of `MultiAgentEpisode`s, row by row, on the way into replay.

    Called with `episodes`, returns `{"joint": JointTransitions}`; an episode cut into fragments gives the same rows as
    one that was not, for each fragment carries its own last observation.

    Args:
        agents: the game's own order.
        keep_observations: whether rows hold each agent's own observations beside the state.
        keep_starts: whether rows say where an episode begins.
    """

    def __init__(self, agents: Sequence[str], *, keep_observations: bool = False, keep_starts: bool = False) -> None:
        super().__init__()
        self.agents = list(agents)
        self.keep_observations = keep_observations
        self.keep_starts = keep_starts

    @override(ConnectorV2)
    def __call__(
        self,
        *,
        rl_module: Any = None,
        batch: dict[str, Any] | None = None,
        episodes: list[MultiAgentEpisode],
        explore: bool | None = None,
        shared_data: dict | None = None,
        metrics: Any = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        parts = [self._join_episode(episode) for episode in episodes if len(episode)]
        return (batch or {}) | ({"joint": JointTransitions.concatenate(parts)} if parts else {})

    def _join_episode(self, episode: MultiAgentEpisode) -> JointTransitions:
        steps = len(episode)
        observations, actions, rewards = {}, {}, {}
        for agent in self.agents:
            played = episode.agent_episodes.get(agent)
            if played is None or len(played) != steps:
                raise GameError(
                    f"agent {agent!r} took {0 if played is None else len(played)} of {steps} steps: every agent must "
                    "act at every step until the game ends for all of them."
                )
            observations[agent] = played.get_observations(slice(0, steps + 1))
            # RLlib shortens discrete actions to int32 on their way to the game; Discrete's own dtype is int64.
            taken = np.asarray(played.get_actions(slice(0, steps)))
            actions[agent] = taken.astype(np.int64) if taken.dtype.kind == "i" else taken
            rewards[agent] = np.asarray(played.get_rewards(slice(0, steps)), np.float32)
        columns = {agent: _stacked(seen) for agent, seen in observations.items()}
        first = columns[self.agents[0]]
        states, masks, ended = first[STATE], None, None
        if ACTION_MASK in first:
            masks = {agent: column[ACTION_MASK].astype(bool) for agent, column in columns.items()}
        if ENDED in first:
            ended = {agent: column[ENDED][1:, 0].astype(bool) for agent, column in columns.items()}
        cut = None
        if CUT in first:
            cut = {agent: column[CUT][1:].astype(bool) for agent, column in columns.items()}
        own = {agent: seen[OBSERVATION] for agent, seen in columns.items()}
        kept = own if self.keep_observations else None
        at = episode.env_t_started + 1 + np.arange(steps)
        check_finite("reward", rewards, at)
        check_finite("observation", {self.agents[0]: states}, episode.env_t_started + np.arange(steps + 1))
        terminated, truncated = np.zeros(steps, bool), np.zeros(steps, bool)
        # RLlib calls an episode whose agents were all truncated terminated as well: the former says what happened.
        truncated[-1] = episode.is_truncated
        terminated[-1] = episode.is_terminated and not episode.is_truncated
        return join(
            self.agents,
            states=states[:-1],
            next_states=states[1:],
            actions=actions,
            rewards=rewards,
            terminated=terminated,
            truncated=truncated,
            action_masks=masks and {agent: mask[:-1] for agent, mask in masks.items()},
            next_action_masks=masks and {agent: mask[1:] for agent, mask in masks.items()},
            observations=kept and {agent: seen[:-1] for agent, seen in kept.items()},
            next_observations=kept and {agent: seen[1:] for agent, seen in kept.items()},
            starts=at == 1 if self.keep_starts else None,
            ended=ended,
            cut=cut,
        )


def _stacked(seen: Any) -> Any:
    """Stacks a list of observations (or of dicts of them) over time; leaves stacked ones alone."""
    if isinstance(seen, list):
        if isinstance(seen[0], dict):
            return {key: np.stack([item[key] for item in seen]) for key in seen[0]}
        return np.stack(seen)
    if isinstance(seen, dict):
        return {key: np.asarray(column) for key, column in seen.items()}
    return np.asarray(seen)
