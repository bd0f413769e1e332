"""The update of tabular bi-level Q-learning (Eqs. 8-11), transition by transition."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np

from rllib_biac.learning.settings import piecewise
from rllib_biac.learning.trainer import Trainer
from rllib_biac.learning.transitions import ACTIONS, ENDED, NEXT_ACTION_MASK, NEXT_STATE, REWARDS, STATE, TERMINATED
from rllib_biac.walk import best, picked


class TableTrainer(Trainer):
    """Learns both tables from replayed transitions, one after the other."""

    def train(
        self,
        rows: Mapping[Hashable, np.ndarray],
        *,
        minibatch_size: int | None = None,
        env_steps: int | None = None,
        report: bool = True,
    ) -> None:
        """Updates both tables by every row in turn; arguments as for `Trainer.train`."""
        self.env_steps = env_steps or 0
        alpha = piecewise(self.settings.lr, self.env_steps)
        tensors = self.as_tensors(rows)
        agents = self.team.agents
        rates = [alpha * self.settings.learns(agent) for agent in agents]
        tables = [self.team[agent] for agent in agents]
        # Each agent has a list of states of its own, and they are the same: both meet the same states in one order.
        here, _ = [table.rows(tensors[STATE], add=True).numpy() for table in tables]
        following, _ = [table.rows(tensors[NEXT_STATE], add=True).numpy() for table in tables]
        q = [table.q.numpy() for table in tables]  # views: (max_states + 1, |A_1|, |A_2|) each
        actions = np.stack([rows[ACTIONS, agent] for agent in agents], 1)  # (batch, 2)
        rewards = np.stack([rows[REWARDS, agent] for agent in agents], 1)  # (batch, 2)
        masks = [rows.get((NEXT_ACTION_MASK, agent)) for agent in agents]
        errors = np.zeros_like(rewards, float)
        ended = np.stack([rows.get((ENDED, agent), rows[TERMINATED]) for agent in agents], 1)  # (batch, 2)
        for k, (s, after, (a1, a2)) in enumerate(zip(here, following, actions, strict=True)):
            target = rewards[k].astype(float)  # (2,)
            if not ended[k].all():
                allowed = [None if mask is None else mask[k] for mask in masks]
                b1, b2 = equilibrium(q[0][after], q[1][after], *allowed)
                target += self.settings.gamma * ~ended[k] * np.array([q[0][after, b1, b2], q[1][after, b1, b2]])
            for i in range(2):
                errors[k, i] = target[i] - q[i][s, a1, a2]
                q[i][s, a1, a2] += rates[i] * errors[k, i]  # Eqs. 10, 11
        self.losses.num_updates += 1
        found: dict[tuple[str, str], float] = {}
        for i, agent in enumerate(agents):
            replayed = q[i][here, actions[:, 0], actions[:, 1]]
            found[agent, "qf_mean"] = float(replayed.mean())
            found[agent, "td_error_mean"] = float(np.abs(errors[:, i]).mean())
        self.check(found)
        for key, value in found.items():
            self.reported.setdefault(key, []).append(value)


def equilibrium(
    q1: np.ndarray, q2: np.ndarray, mask1: np.ndarray | None = None, mask2: np.ndarray | None = None
) -> tuple[int, int]:
    """Returns the SE of one state's tables (Eqs. 8, 9); ties go to the lowest actions.

    Args:
        q1, q2: (|A_1|, |A_2|) each.
        mask1, mask2: (|A_i|,) bool, allowed actions.
    """
    responses = best(q2, mask2)  # (|A_1|,)
    a1 = best(picked(q1, responses), mask1)
    return int(a1), int(responses[a1])
