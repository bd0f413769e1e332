"""The update of tabular bi-level Q-learning (Eqs. 8-11), transition by transition."""

from __future__ import annotations

from typing import Any

import numpy as np
from ray.rllib.algorithms.dqn.dqn_learner import QF_MEAN_KEY, TD_ERROR_MEAN_KEY
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import (
    ALL_MODULES,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_TRAINED,
    NUM_ENV_STEPS_TRAINED_LIFETIME,
)

from rllib_biac.core.learner import JointLearner
from rllib_biac.core.rl_module import piecewise
from rllib_biac.core.transitions import ACTIONS, NEXT_ACTION_MASK, NEXT_STATE, REWARDS, STATE, TERMINATED


class BiLevelQLearner(JointLearner):
    """Learns both tables from replayed transitions, one after the other."""

    @override(JointLearner)
    def update(self, batch: Any = None, **kwargs: Any) -> Any:
        """Updates both tables by every row of the batch in turn; arguments as for `JointLearner.update`."""
        if (training_data := kwargs.get("training_data")) is not None:
            training_data.solve_refs()
            batch = training_data.batch
        timesteps = kwargs.get("timesteps") or {}
        alpha = piecewise(self.config.lr, timesteps.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0))
        self._weights_seq_no += 1
        rows = self._to_tensors(batch)
        modules = [self.agent_module(agent) for agent in self.agents]
        # Each module has a list of states of its own, and they are the same: both meet the same states in one order.
        here, _ = [module.rows(rows[STATE], add=True).numpy() for module in modules]
        following, _ = [module.rows(rows[NEXT_STATE], add=True).numpy() for module in modules]
        q = [module.q.numpy() for module in modules]  # views: (max_states + 1, |A_1|, |A_2|) each
        actions = np.stack([rows[ACTIONS, agent].numpy() for agent in self.agents], 1)  # (batch, 2)
        rewards = np.stack([rows[REWARDS, agent].numpy() for agent in self.agents], 1)  # (batch, 2)
        masks = [
            rows[NEXT_ACTION_MASK, agent].numpy() if (NEXT_ACTION_MASK, agent) in rows else None
            for agent in self.agents
        ]
        errors = np.zeros_like(rewards, float)
        for k, (s, after, (a1, a2), over) in enumerate(
            zip(here, following, actions, rows[TERMINATED].numpy(), strict=True)
        ):
            target = rewards[k].astype(float)  # (2,)
            if not over:
                allowed = [None if mask is None else mask[k] for mask in masks]
                b1, b2 = equilibrium(q[0][after], q[1][after], *allowed)
                target += self.config.gamma * np.array([q[0][after, b1, b2], q[1][after, b1, b2]])
            for i in range(2):
                errors[k, i] = target[i] - q[i][s, a1, a2]
                q[i][s, a1, a2] += alpha * errors[k, i]  # Eqs. 10, 11
        self.num_updates += 1
        for i, agent in enumerate(self.agents):
            replayed = q[i][here, actions[:, 0], actions[:, 1]]
            self._reported.setdefault((agent, QF_MEAN_KEY), []).append(float(replayed.mean()))
            self._reported.setdefault((agent, TD_ERROR_MEAN_KEY), []).append(float(np.abs(errors[:, i]).mean()))
        self.metrics.log_value((ALL_MODULES, NUM_ENV_STEPS_TRAINED), len(here), reduce="sum")
        self.metrics.log_value((ALL_MODULES, NUM_ENV_STEPS_TRAINED_LIFETIME), len(here), reduce="lifetime_sum")
        return self._flush() if kwargs.get("report", True) else {}


def equilibrium(
    q1: np.ndarray, q2: np.ndarray, mask1: np.ndarray | None = None, mask2: np.ndarray | None = None
) -> tuple[int, int]:
    """Returns the SE of one state's tables, (|A_1|, |A_2|) each (Eqs. 8, 9); ties go to the lowest actions."""
    if mask2 is not None and mask2.any():
        q2 = np.where(mask2, q2, -np.inf)
    responses = q2.argmax(1)
    values = q1[np.arange(len(responses)), responses]
    if mask1 is not None and mask1.any():
        values = np.where(mask1, values, -np.inf)
    a1 = int(values.argmax())
    return a1, int(responses[a1])
