"""Families of one-step games: two players, one table each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rllib_biac.envs.batched import BatchedStep
from rllib_biac.envs.matrix_game import BatchedMatrixGame, MatrixGame
from rllib_biac.envs.zoo.answers import margin, matrix_answer
from rllib_biac.envs.zoo.game import Draft


class NoisyMatrixGame(MatrixGame):
    """A one-step matrix game whose payoffs are the table's plus normal noise, drawn at every step for every player.

    Args:
        payoffs: (n players, |A_1|, ..., |A_n|), the means; finite numbers.
        noise: standard deviation, at least 0.

    Raises:
        ValueError: if the payoffs do not fit, or the noise is negative.
    """

    def __init__(self, payoffs: Any, noise: float) -> None:
        super().__init__(payoffs, name="zoo_v0")
        if not noise >= 0:
            raise ValueError(f"noise must be a standard deviation, at least 0; got {noise!r}.")
        self.noise = float(noise)
        self._rng = np.random.default_rng()

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Starts an episode; the seed is of all noise from now on."""
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        return super().reset(seed, options)

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        """Plays one joint action.

        Raises:
            ValueError: if an action is out of range.
        """
        seen, rewards, *others = super().step(actions)
        drawn = self.noise * self._rng.standard_normal(len(rewards))
        noisy = {agent: reward + float(x) for (agent, reward), x in zip(rewards.items(), drawn, strict=True)}
        return seen, noisy, *others  # type: ignore[return-value]


class BatchedNoisyMatrixGame(BatchedMatrixGame):
    """The batched form of `NoisyMatrixGame`; `rng` draws the noise."""

    def __init__(self, game: NoisyMatrixGame, num_games: int, rng: np.random.Generator) -> None:
        super().__init__(game, num_games)
        self._noise, self._rng = game.noise, rng

    def step(self, actions: dict[str, np.ndarray]) -> BatchedStep:
        """Plays one joint action in every game, agent -> (N,) integers.

        Raises:
            ValueError: if an action is out of range.
        """
        step = super().step(actions)
        drawn = self._noise * self._rng.standard_normal((len(step.rewards), self.num_games))
        for own, (agent, rewards) in zip(drawn, list(step.rewards.items()), strict=True):
            step.rewards[agent] = (rewards + own).astype(np.float32)
        return step


def _draft(payoffs: np.ndarray, leader: int, units: np.ndarray | None = None, **about: Any) -> Draft:
    found = matrix_answer(payoffs, leader)
    own = None if units is None else units[[leader, 1 - leader]]
    size = "x".join(map(str, payoffs.shape[1:]))
    return Draft(
        MatrixGame(payoffs, name="zoo_v0"), leader, 0.0, found, margin(found.q[0], own), {"size": size, **about}
    )


def _sizes(rng: np.random.Generator, low: int, high: int) -> tuple[int, int]:
    rows, columns = rng.integers(low, high + 1, size=2).tolist()
    return rows, columns


def normal(rng: np.random.Generator, seed: int) -> Draft:
    """Payoffs are standard normal, 2 to 8 actions each."""
    return _draft(rng.standard_normal((2, *_sizes(rng, 2, 8))), int(rng.integers(2)))


def integer(rng: np.random.Generator, seed: int) -> Draft:
    """Whole numbers from 0 to 3, so that answers and plays tie; 2 to 6 actions each."""
    draft = _draft(rng.integers(0, 4, (2, *_sizes(rng, 2, 6))).astype(float), int(rng.integers(2)))
    everything = bool(draft.answer.right.all())  # nothing to learn
    return Draft(draft.game, draft.leader, 0.0, None if everything else draft.answer, draft.margin, draft.about)


def outlier(rng: np.random.Generator, seed: int) -> Draft:
    """Standard normal, 3 to 6 actions each, but one cell that is no best response pays both -10, -100, -1e3 or -1e4."""
    payoffs, leader = rng.standard_normal((2, *_sizes(rng, 3, 6))), int(rng.integers(2))
    units, cost = payoffs.std((1, 2)), -(10.0 ** (1 + seed % 4))
    best = matrix_answer(payoffs, leader).q[0, 0, 1].argmax(-1)  # (|A_l|,)
    row = int(rng.integers(len(best)))
    others = np.delete(np.arange(payoffs.shape[2 - leader]), best[row])
    cell = (row, int(rng.choice(others)))
    payoffs[:, cell[leader], cell[1 - leader]] = cost
    return _draft(payoffs, leader, units, outlier=cost)


def sparse(rng: np.random.Generator, seed: int) -> Draft:
    """5 to 30 actions each; a share of .05, .1 or .2 of the payoffs is not 0 but standard normal; one SE."""
    share = (0.05, 0.1, 0.2)[seed % 3]
    shape = (2, *_sizes(rng, 5, 30))
    payoffs = np.where(rng.random(shape) < share, rng.standard_normal(shape), 0.0)
    draft = _draft(payoffs, int(rng.integers(2)), np.ones(2), share=share)
    unique = draft.answer.right.sum() == 1
    return Draft(draft.game, draft.leader, 0.0, draft.answer if unique else None, draft.margin, draft.about)


def rectangular(rng: np.random.Generator, seed: int) -> Draft:
    """Standard normal, 2 x 40 or 40 x 2."""
    return _draft(rng.standard_normal((2, *((2, 40) if seed % 2 else (40, 2)))), int(rng.integers(2)))


def units(rng: np.random.Generator, seed: int) -> Draft:
    """As `normal`, to 5 actions, in units of 1e-6 to 1e3 that differ between the players, and all payoffs negative."""
    payoffs = rng.standard_normal((2, *_sizes(rng, 2, 5)))
    scale = 10.0 ** rng.uniform(-6, 3, size=(2, 1, 1))
    return _draft(scale * (payoffs - 5), int(rng.integers(2)), scale=[float(f"{x:.2g}") for x in scale.ravel()])


def noisy(share: float) -> Callable[[np.random.Generator, int], Draft]:
    """Returns a family: as `normal`, to 5 actions, with normal noise of a share of the game's margin."""

    def draw(rng: np.random.Generator, seed: int) -> Draft:
        payoffs, leader = rng.standard_normal((2, *_sizes(rng, 2, 5))), int(rng.integers(2))
        draft = _draft(payoffs, leader)
        noise = share * margin(draft.answer.q[0], np.ones(2))
        return Draft(
            NoisyMatrixGame(payoffs, noise), leader, 0.0, draft.answer, draft.margin, {**draft.about, "noise": noise}
        )

    draw.__doc__ = f"As `normal`, to 5 actions, with normal noise of {share:g} of the game's margin."
    return draw
