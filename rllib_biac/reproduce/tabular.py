"""Bi-level tabular Q-learning (Zhang et al. 2020, Eqs. 8-11), which the paper's footnote 4 holds against Bi-AC."""

from __future__ import annotations

import numpy as np


class BiLevelQ:
    """Two Q tables, the leader's and the follower's.

    Attributes:
        q: (2, |S|, |A_1|, |A_2|), Q_1 and Q_2.

    Args:
        num_states: |S|.
        num_actions: |A_1|, |A_2|.
        alpha: learning rate of both tables, in (0, 1].
        gamma: discount.
        initial: what all entries begin with.
    """

    def __init__(
        self,
        num_states: int,
        num_actions: tuple[int, int],
        *,
        alpha: float = 0.1,
        gamma: float = 0.99,
        initial: float = 0.0,
    ) -> None:
        self.q = np.full((2, num_states, *num_actions), initial)
        self.alpha = alpha
        self.gamma = gamma

    def responses(self, state: int) -> np.ndarray:
        """Returns the follower's answer to every leader action (Eq. 9), (|A_1|,); ties go to the lowest action."""
        return self.q[1, state].argmax(1)

    def joint_action(self, state: int) -> tuple[int, int]:
        """Returns the equilibrium of the state's two tables (Eqs. 8, 9)."""
        responses = self.responses(state)
        a1 = int(self.q[0, state][np.arange(len(responses)), responses].argmax())
        return a1, int(responses[a1])

    def update(
        self, state: int, a1: int, a2: int, rewards: tuple[float, float], next_state: int, terminated: bool
    ) -> None:
        """Learns from one transition (Eqs. 10, 11); nothing follows a terminated one."""
        target = np.asarray(rewards, float)  # (2,)
        if not terminated:
            target = target + self.gamma * self.q[:, next_state, *self.joint_action(next_state)]
        self.q[:, state, a1, a2] += self.alpha * (target - self.q[:, state, a1, a2])


def explore(learner: BiLevelQ, state: int, epsilon: float, rng: np.random.Generator) -> tuple[int, int]:
    """Returns the joint action with exploration per agent: the follower answers the action really taken.

    Args:
        learner: whose greedy play it is.
        state: the state now.
        epsilon: each agent's probability of a uniformly random action, in [0, 1].
        rng: draws it.
    """
    num_actions1, num_actions2 = learner.q.shape[2:]
    a1, _ = learner.joint_action(state)
    if rng.random() < epsilon:
        a1 = int(rng.integers(num_actions1))
    a2 = int(learner.responses(state)[a1])
    if rng.random() < epsilon:
        a2 = int(rng.integers(num_actions2))
    return a1, a2
