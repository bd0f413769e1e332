"""Play of one leader that keeps to a whole policy, a table of probabilities, and of the follower, who knows it."""

from __future__ import annotations

from rllib_biac.walk import Array, Levels, PerAgent, best, namespace, picked

_NEAR = 1e-6  # float32's rounding, by which one state may differ from the same


def beside(x: Array, z: Array) -> Array:
    """Returns what critics see of states and commitments: (batch, state size), (batch, |S|, |A_1|) -> (batch, inputs).

    The first action's probability is left out: it is what the others leave.
    """
    return namespace(x).concatenate([x, (2.0 * z[..., 1:] - 1.0).reshape(x.shape[0], -1)], -1)


def matches(x: Array, states: Array) -> Array:
    """Tells which states are which: (batch, state size), (|S|, state size) -> (batch, |S|) bool."""
    return (abs(x[:, None] - states) <= _NEAR * (1.0 + abs(states))).all(-1)


def looked_up(x: Array, states: Array, commitment: Array, liked: Array) -> tuple[Array, Array]:
    """Looks up by state what the leader does and what the follower likes.

    Args:
        x: (batch, state size), normalised.
        states: (|S|, state size), those that there is a row for.
        commitment: (|S|, |A_1|) probabilities.
        liked: (|S|, |A_1|, |A_2|), the follower's Q.

    Returns:
        (batch, |A_1|) and (batch, |A_1|, |A_2|). Where a state is not among those, all actions are alike.
    """
    same, where = matches(x, states), namespace(x).where  # (batch, |S|)
    rows, met = where(same, 1, 0).argmax(-1), same.any(-1)
    chances = where(met[:, None], commitment[rows], 1.0 / commitment.shape[-1])
    return chances, where(met[:, None, None], liked[rows], 0.0)


def drawn(chances: Array, uniform: Array) -> Array:
    """Draws one action each: (batch, |A_1|) probabilities, (batch,) uniform in [0, 1) -> (batch,) int64."""
    above = chances.cumsum(-1)
    return (uniform[:, None] * above[:, -1:] >= above[:, :-1]).sum(-1)


def answers(chances: Array, q2: Array, announced: bool) -> Array:
    """Returns the follower's answer to every action of the leader, the same to all if it does not see it.

    Args:
        chances: (batch, |A_1|), the commitment in the states at hand.
        q2: (batch, |A_1|, |A_2|), the follower's Q there.
        announced: whether it sees the action that is drawn.

    Returns:
        (batch, |A_1|) int64.
    """
    if announced:
        return best(q2)
    answer = best((chances[..., None] * q2).sum(1))  # to E_{a_1 ~ z(s)} Q_2(s, a_1, ·)
    return namespace(answer).broadcast_to(answer[:, None], q2.shape[:2])


class ByCommitment:
    """A leader that draws from its commitment, and a follower that answers it. Actions are indices.

    Args:
        levels: `((leader,), (follower,))`.
        chances: (batch, |A_1|), the commitment in the states at hand.
        q2: (batch, |A_1|, |A_2|), the follower's Q there.
        announced: whether the follower sees the action that is drawn.
        uniform: (batch,) numbers in [0, 1) that actions are drawn by; None for the likeliest.
    """

    def __init__(
        self, levels: Levels, chances: Array, q2: Array, announced: bool, uniform: Array | None = None
    ) -> None:
        ((self._leader,), (self._follower,)) = levels
        self._chances, self._uniform = chances, uniform
        self._answers = answers(chances, q2, announced)

    def greedy(self, level: int, taken: PerAgent) -> dict[str, Array]:
        """Returns the action of the one agent of a level, (batch,) int64."""
        if level == 0:
            uniform = self._uniform
            return {self._leader: best(self._chances) if uniform is None else drawn(self._chances, uniform)}
        return {self._follower: picked(self._answers, taken[self._leader])}
