"""Random two-player games of a given cooperation level: what their SE and NE are worth (paper, Figs. 2 and 8-12)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rllib_biac.equilibria.matrix import pure_nash, stackelberg

# Cells of the games solved at once: the temporaries then stay in cache, and memory does not grow with the trials.
_BLOCK = 2**14


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over independent games.

    Attributes:
        mean: NaN over no game.
        standard_error: of the mean; NaN over fewer than two games.
    """

    mean: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What SE and NE are worth in random size × size games of one covariance; the leader chooses rows.

    Payoffs at an equilibrium are first averaged over the equilibria of a game, then over games. A game need not have a
    pure NE, so that there are two ways to average the SE: over all games, or ("paired") over exactly those games over
    which the NE is averaged. Only the paired one compares like with like.

    Attributes:
        size, covariance, trials, integer_spread: as handed to `compare`.
        leader_se, follower_se: payoff in the SE, over all games.
        leader_se_paired, follower_se_paired: payoff in the SE, over the games that have a pure NE.
        leader_ne, follower_ne: payoff in the average pure NE, over the games that have one.
        leader_gain, follower_gain: SE minus average NE game by game, over the games that have a pure NE.
        se_count, ne_count: pure SE (`strong_stackelberg`) and pure NE (`pure_nash`) per game, over all games.
        several_se, several_ne: share of games that have more than one, in [0, 1].
        has_ne: share of games that have a pure NE, in [0, 1]. Every game has an SE.
    """

    size: int
    covariance: float
    trials: int
    integer_spread: float | None
    leader_se: Estimate
    follower_se: Estimate
    leader_se_paired: Estimate
    follower_se_paired: Estimate
    leader_ne: Estimate
    follower_ne: Estimate
    leader_gain: Estimate
    follower_gain: Estimate
    se_count: Estimate
    ne_count: Estimate
    several_se: Estimate
    several_ne: Estimate
    has_ne: Estimate

    @property
    def games_with_ne(self) -> int:
        """The number of games behind the NE and the paired SE, at most `trials`."""
        return round(self.has_ne.mean * self.trials)


def _check(trials: int, size: int, covariance: float, integer_spread: float | None) -> None:
    if trials < 1:
        raise ValueError(f"trials must be at least 1, the number of games to draw (paper, Fig. 2: 2000); got {trials}.")
    if size < 1:
        raise ValueError(f"size must be at least 1, the number of actions of each player (Fig. 2: 10); got {size}.")
    if not -1 <= covariance <= 1:
        raise ValueError(
            f"covariance must lie in [-1, 1], from -1 (zero-sum) to 1 (fully cooperative); got {covariance}."
        )
    if integer_spread is not None and not 0 < integer_spread < np.inf:
        raise ValueError(
            f"integer_spread must be positive, such as 3 for integers of standard deviation 3, or None for continuous "
            f"payoffs; got {integer_spread}."
        )


def sample_payoffs(
    trials: int, size: int, covariance: float, rng: np.random.Generator, integer_spread: float | None = None
) -> np.ndarray:
    """Draws games: in every cell the two payoffs are normal, with mean 0, variance 1 and the given covariance.

    Cells are independent. The cooperation level of a game (paper, Eq. 6) scatters around the covariance, the less the
    larger the game. Games are drawn one after another: two calls give the same games as one call for both.

    Args:
        trials: number of games, at least 1.
        size: number of actions of each player, at least 1.
        covariance: of the two payoffs of a cell, in [-1, 1]; at 1 they are exactly equal, at -1 exactly opposite.
        rng: the only source of randomness.
        integer_spread: None for payoffs as drawn; else they are multiplied by this positive number and rounded to the
            nearest integers: the same games, on a grid of step `1 / integer_spread` standard deviations.

    Returns:
        (trials, 2, size, size) float payoffs, of the row and of the column player.

    Raises:
        ValueError: if an argument is out of its range.
    """
    _check(trials, size, covariance, integer_spread)
    payoffs = rng.standard_normal((trials, 2, size, size))
    payoffs[:, 1] *= np.sqrt(1 - covariance**2)
    payoffs[:, 1] += covariance * payoffs[:, 0]
    return payoffs if integer_spread is None else np.rint(integer_spread * payoffs)


def strong_stackelberg(payoffs: ArrayLike) -> np.ndarray:
    """Finds every pure strong SE, the row player leading.

    An action pair (a, b) is one if b is a best response to a, and no pair (a', b') with b' a best response to a' gives
    the leader more: ties among best responses go the leader's way (optimistic). So there are several only if the
    best of these payoffs is met more than once, by one leader action or by several (paper, footnote 2); with
    continuous payoffs there is one, with probability 1, and it is the one that `stackelberg` finds.
    Pairs that are an equilibrium only if the follower breaks ties against the leader are not counted.

    Args:
        payoffs: (..., 2, |A_1|, |A_2|).

    Returns:
        (..., |A_1|, |A_2|) bool, true at least once per game.

    Raises:
        ValueError: if the payoffs have another shape or are not finite.
    """
    array = np.asarray(payoffs, dtype=np.float64)
    value = stackelberg(array).optimistic[..., None, None]
    leads, follows = array[..., 0, :, :], array[..., 1, :, :]
    return (follows == follows.max(-1, keepdims=True)) & (leads == value)


def _average(payoffs: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Returns (games, 2): both players' payoffs averaged over the chosen cells; NaN where none is."""
    total = np.einsum("gpab,gab->gp", payoffs, chosen)
    count = chosen.sum((-1, -2))[:, None]
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def _estimate(values: np.ndarray) -> Estimate:
    return Estimate(
        mean=float(values.mean()) if values.size else np.nan,
        standard_error=float(values.std(ddof=1) / np.sqrt(values.size)) if values.size > 1 else np.nan,
    )


def compare(
    trials: int, size: int, covariance: float, rng: np.random.Generator, integer_spread: float | None = None
) -> Comparison:
    """Compares the SE with the average pure NE over random games (paper, Figs. 2 and 8-12).

    The paper does not say how it counts games without a pure NE, nor whether it takes mixed NE (at 100×100 they cannot
    be enumerated). Here only pure NE count, and `Comparison` has the SE both with and without the games that have none.

    Args:
        trials, size, covariance, rng, integer_spread: as `sample_payoffs`.

    Returns:
        The estimates, with their standard errors.

    Raises:
        ValueError: if an argument is out of its range.
    """
    _check(trials, size, covariance, integer_spread)
    blocks = []
    per_block = max(1, _BLOCK // size**2)
    for start in range(0, trials, per_block):
        payoffs = sample_payoffs(min(per_block, trials - start), size, covariance, rng, integer_spread)
        se, ne = strong_stackelberg(payoffs), pure_nash(payoffs)  # (games, size, size)
        counts = np.stack([se.sum((-1, -2)), ne.sum((-1, -2))], axis=-1)
        blocks.append(np.concatenate([_average(payoffs, se), _average(payoffs, ne), counts], axis=-1))
    leader_se, follower_se, leader_ne, follower_ne, se_count, ne_count = np.concatenate(blocks).T  # (trials,) each

    paired = ne_count > 0
    return Comparison(
        size=size,
        covariance=covariance,
        trials=trials,
        integer_spread=integer_spread,
        leader_se=_estimate(leader_se),
        follower_se=_estimate(follower_se),
        leader_se_paired=_estimate(leader_se[paired]),
        follower_se_paired=_estimate(follower_se[paired]),
        leader_ne=_estimate(leader_ne[paired]),
        follower_ne=_estimate(follower_ne[paired]),
        leader_gain=_estimate((leader_se - leader_ne)[paired]),
        follower_gain=_estimate((follower_se - follower_ne)[paired]),
        se_count=_estimate(se_count),
        ne_count=_estimate(ne_count),
        several_se=_estimate(se_count > 1),
        several_ne=_estimate(ne_count > 1),
        has_ne=_estimate(paired),
    )
