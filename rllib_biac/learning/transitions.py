"""Joint transitions: one row per game step, all agents side by side, and the one function that makes them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import gymnasium as gym
import numpy as np

# Columns of a joint transition. Per-agent columns are keyed (column, agent).
STATE = "state"
NEXT_STATE = "next_state"
OBS = "obs"
NEXT_OBS = "next_obs"
ACTIONS = "actions"
REWARDS = "rewards"
ACTION_MASK = "action_mask"
NEXT_ACTION_MASK = "next_action_mask"
TERMINATED = "terminated"
TRUNCATED = "truncated"
ENDED = "ended"
CUT = "cut"
START = "start"

# Key of the observation inside the Dict observation an agent's module receives, beside STATE and ACTION_MASK.
OBSERVATION = "observation"

PerAgent = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class JointTransitions:
    """Rows of joint transitions, as columns of one length.

    Attributes:
        columns: STATE, NEXT_STATE (rows, *state shape); (ACTIONS, i) (rows, *action shape) in the agent's own dtype;
            (REWARDS, i) (rows,) float32; TERMINATED, TRUNCATED (rows,) bool; where the game masks actions also
            (ACTION_MASK, i) and (NEXT_ACTION_MASK, i) (rows, |A_i|) bool; where the algorithm learns from observations
            also (OBS, i) and (NEXT_OBS, i) (rows, *observation shape); where one agent may be terminated before, or
            otherwise than, another also (ENDED, i) (rows,) bool; where one agent may be truncated while others go on
            also (CUT, i) (rows, |A_i|) bool, what it might have done next if it was; where it asks for starts also
            START (rows,) bool; and what else an algorithm adds.
        num_agents: how many agents act in a row.
    """

    columns: dict[Hashable, np.ndarray]
    num_agents: int

    def env_steps(self) -> int:
        """Returns the number of game steps: the rows."""
        return len(self.columns[TERMINATED])

    def agent_steps(self) -> int:
        """Returns the number of agents' steps."""
        return self.env_steps() * self.num_agents

    def __len__(self) -> int:
        return self.env_steps()

    @staticmethod
    def concatenate(parts: Sequence[JointTransitions]) -> JointTransitions:
        """Puts rows below one another. Parts must have the same columns; at least one part."""
        first = parts[0]
        if len(parts) == 1:
            return first
        return JointTransitions(
            {key: np.concatenate([part.columns[key] for part in parts]) for key in first.columns}, first.num_agents
        )


def joint_state(
    observations: PerAgent, agents: Sequence[str], spaces: Mapping[str, gym.Space] | None = None
) -> np.ndarray:
    """Concatenates all agents' flattened observations in the order given, uint8 scaled to [0, 1] by its bounds.

    Args:
        observations: agent -> (rows, *observation shape).
        agents: the game's own order.
        spaces: agent -> its observation space; without them uint8 is taken for pixels, 0 to 255.

    Returns:
        (rows, sum of observation sizes) float32.
    """
    return np.concatenate(
        [_flat(np.asarray(observations[agent]), (spaces or {}).get(agent)) for agent in agents], axis=1
    )


def _flat(observation: np.ndarray, space: gym.Space | None) -> np.ndarray:
    rows = observation.reshape(len(observation), -1).astype(np.float32)
    if observation.dtype != np.uint8:
        return rows
    low, width = scale_of(space) if space is not None else (np.float32(0.0), np.float32(255.0))
    return (rows - low.ravel()) / width.ravel()


def scale_of(space: gym.Space) -> tuple[np.ndarray, np.ndarray]:
    """Returns what is taken off whole numbers of 8 bits, and by what they are then divided: (*shape) float32 each."""
    assert isinstance(space, gym.spaces.Box)
    low, high = space.low.astype(np.float32), space.high.astype(np.float32)
    return low, np.where(high > low, high - low, np.float32(1.0))


def join(
    agents: Sequence[str],
    *,
    states: np.ndarray,
    next_states: np.ndarray,
    actions: PerAgent,
    rewards: PerAgent,
    terminated: np.ndarray,
    truncated: np.ndarray,
    action_masks: PerAgent | None = None,
    next_action_masks: PerAgent | None = None,
    observations: PerAgent | None = None,
    next_observations: PerAgent | None = None,
    starts: np.ndarray | None = None,
    ended: PerAgent | None = None,
    cut: PerAgent | None = None,
) -> JointTransitions:
    """Turns per-agent data of the same game steps into joint transitions: the only place where that happens.

    Args:
        agents: the game's own order.
        states, next_states: (rows, *state shape); `next_states` holds the final state where a game ended.
        actions, rewards, action_masks, next_action_masks, observations, next_observations: agent -> (rows, ...);
            `next_observations` like `next_states`.
        terminated, truncated: (rows,) bool, of the game: no bootstrap after `terminated`.
        starts: (rows,) bool, whether the game began with this step.
        ended: agent -> (rows,) bool, whose own part was over by then: no bootstrap of its values.
        cut: agent -> (rows, |A_i|) bool, as in `BatchedStep`.

    Returns:
        The joint transitions, rows in the order given.
    """
    columns: dict[Hashable, np.ndarray] = {
        STATE: states,
        NEXT_STATE: next_states,
        TERMINATED: np.asarray(terminated, bool),
        TRUNCATED: np.asarray(truncated, bool),
    }
    if starts is not None:
        columns[START] = starts
    for agent in agents:
        columns[ACTIONS, agent] = np.asarray(actions[agent])
        columns[REWARDS, agent] = np.asarray(rewards[agent], np.float32)
        if action_masks is not None and next_action_masks is not None:
            columns[ACTION_MASK, agent] = np.asarray(action_masks[agent], bool)
            columns[NEXT_ACTION_MASK, agent] = np.asarray(next_action_masks[agent], bool)
        if observations is not None and next_observations is not None:
            columns[OBS, agent] = observations[agent]
            columns[NEXT_OBS, agent] = next_observations[agent]
        if ended is not None:
            columns[ENDED, agent] = np.asarray(ended[agent], bool)
        if cut is not None:
            columns[CUT, agent] = np.asarray(cut[agent], bool)
    return JointTransitions(columns, len(agents))
