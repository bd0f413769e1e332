"""What 64-bit numbers can tell apart: solvers refuse games whose answer would hang on less."""

from __future__ import annotations

import numpy as np

CLOSEST = 2.0**-37
"""Least difference that decides a stage game, as a share of the agent's largest payoff: about 7e-12. Stage games are
rounded to 40 bits, so that what ties stays tied after a linear system was solved."""

_WRITTEN = 2.0**-50  # of two numbers themselves: such as 0.1 + 0.2 beside 0.3, which are meant to tie

WIDEST = 1e6
"""Largest spread of payoffs of a linear program: solvers' tolerances are 1e-7 of the largest number."""


class TooWideError(ValueError):
    """Payoffs lie too far apart for the answer to be told: small differences, which decide it, drown in large ones."""


def check_differences(q: np.ndarray, axis: tuple[int, ...], ties_below: float = 0.0) -> None:
    """Refuses stage games in which something all but ties.

    Args:
        q: (..., 2, |A_1|, |A_2|), not rounded, the row player leading.
        axis: over which an agent's largest payoff is taken.
        ties_below: differences up to this share of it are rounding errors of a tie.

    Raises:
        TooWideError: naming the agent and its payoffs, if a follower's answer is better than another, or a leader's
            action than the one it should take, by more than that and less than `CLOSEST`.
    """
    largest = np.abs(q).max(axis, keepdims=True)  # (..., 2, 1, 1)
    leads, follows = q[..., 0, :, :], q[..., 1, :, :]
    top = follows.max(-1, keepdims=True)
    best = top - follows <= CLOSEST * largest[..., 1, :, :]
    secured = np.where(best, leads, np.inf).min(-1, keepdims=True).max(-2, keepdims=True)  # (..., 1, 1)
    for agent, of, better, worse in (
        ("leader", largest[..., 0, :, :], secured, np.where(best, leads, secured)),
        ("follower", largest[..., 1, :, :], top, follows),
    ):
        with np.errstate(over="ignore"):  # of the largest numbers there are; infinitely far apart is far enough
            gap = np.abs(better - worse)
        noise = np.maximum(ties_below * of, _WRITTEN * np.maximum(np.abs(better), np.abs(worse)))
        close = (gap > noise) & (gap < CLOSEST * of)
        if close.any():
            raise TooWideError(
                f"two payoffs of the {agent} differ by {gap[close].min():.2g}, and its largest is {of.max():.3g}: less "
                f"than {CLOSEST:.1g} of that cannot be told from a tie. Bring the largest payoffs closer to the others."
            )


def check_spread(values: np.ndarray, what: str) -> None:
    """Refuses numbers of a linear program that lie too far apart.

    Args:
        values: any shape. Zeros do not count, nor does the tenth that is nearest to zero, where many are drawn.
        what: they are, for the message.

    Raises:
        TooWideError: naming the spread.
    """
    known = np.abs(values[values != 0])
    if not known.size:
        return
    low, high = float(np.quantile(known, 0.1, method="lower")), float(known.max())
    if high >= WIDEST * low:
        raise TooWideError(
            f"{what} spread from {low:.3g} to {high:.3g}, further than {WIDEST:.0e} times, which a linear program does "
            "not solve exactly. Bring the largest payoffs closer to the others."
        )
