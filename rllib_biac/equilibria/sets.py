"""Stage games whose ties count: which plays are equilibria, and how far wrong tables may be before play is not."""

from __future__ import annotations

import numpy as np

from rllib_biac.equilibria.feedback import stage_equilibria
from rllib_biac.equilibria.matrix import stackelberg


def set_margin(q: np.ndarray) -> np.ndarray:
    """Returns by how much tables may err, times two, before some greedy play is no equilibrium, the row player leading.

    Without ties that is `StackelbergEquilibrium.margin`. With ties any of the tied answers may be given and any of the
    plays that are then best may be chosen: all of them are equilibria (`stage_equilibria`), none of them a mistake.

    Args:
        q: (..., 2, |A_1|, |A_2|).

    Returns:
        (...) above 0; infinite if every play is an equilibrium. It is a lower bound where rows tie as well.
    """
    leads, follows = q[..., 0, :, :], q[..., 1, :, :]
    gap = follows.max(-1, keepdims=True) - follows  # (..., |A_1|, |A_2|)
    worst = np.where(gap == 0, leads, np.inf).min(-1)  # (..., |A_1|), what each row secures
    pessimistic = stackelberg(q).pessimistic[..., None]  # (..., 1)
    wrong_answer = np.where(gap > 0, gap, np.inf).min(-1)  # (..., |A_1|)
    secure = worst == pessimistic
    kept = np.where(secure, wrong_answer, -np.inf).max(-1)  # one secure row that keeps its answers is enough
    row = np.where(secure, wrong_answer, -np.inf).argmax(-1)
    lured = np.maximum(gap, pessimistic[..., None] - leads)  # to change the play it takes both
    others = np.arange(q.shape[-2])[:, None] != row[..., None, None]
    return np.minimum(kept, np.where(others & ~stage_equilibria(q), lured, np.inf).min((-1, -2)))
