"""Exact answers of quadratic games, from the bottom of the hierarchy up."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np

from rllib_biac.envs.zoo.quadratic import QuadraticGame

CONTEXTS = 64
"""Contexts in which play is scored."""

_GRID = np.linspace(-1, 1, 4001)
_INSIDE = 0.95  # answers stay within it, so that no bound is met that the linear answers do not know


class NotInside(ValueError):
    """Somebody's best action may lie on the bounds, or nowhere: the linear answer would be wrong."""


class ContinuousAnswer:
    """The equilibrium of a quadratic game and what falling short of it costs.

    Below the top everybody's best action is linear in the context and the actions above, and stays inside its bounds
    whatever these are; peers play the one Nash equilibrium among them, levels below answering. Two exceptions: a player
    alone at the bottom with one number is cut off at its bounds, which is best for a concave payoff, or, discrete,
    chooses the best number. The top is linear as well, or, of one player, found by search.

    Args:
        game: the game.
        search: whether one player at the top, with one number, has bounds, peaks or discrete actions below to reckon
            with: it is then searched for on a grid, and refined.

    Attributes:
        states: (C, d) float32, the contexts in which play is scored; one constant without a context.
        z: (C, m) the context and all actions at the equilibrium, as the game's forms take them.
        actions: agent -> (C, size), the equilibrium in those contexts; what discrete actions stand for.
        values: (n,) what the equilibrium pays, the mean over those contexts.
        random: (n,) what uniform play pays in them.
        margin: what a discrete player at the top loses by its second-best action, in the spread of its payoff over its
            actions; infinite where it has no other peak, or is not discrete.

    Raises:
        NotInside: if linear answers leave the bounds, or payoffs are not concave.
    """

    def __init__(self, game: QuadraticGame, search: bool = False) -> None:
        self.game = game
        top = game.levels[0]
        self._search = search or top[0] in game.discrete
        self._maps: dict[int, np.ndarray] = {}  # player -> (size, m): its best action, linear in z
        self._build(search)
        self.states = game.draw(CONTEXTS if game.context else 1, np.random.default_rng(0))
        z = np.zeros((len(self.states), game.forms.shape[-1]))
        z[:, 0], z[:, 1 : 1 + game.context] = 1, self.states[:, : game.context]
        self.margin = np.inf
        if self._search:
            self._best_at_the_top(z)
        else:
            self.fill(z, 0)
        self.z = z
        self.values = game.payoffs(z).mean(1)
        self.random = self._uniform_values()
        self.actions = {agent: z[:, block] for agent, block in zip(game.possible_agents, game.blocks, strict=True)}

    def _build(self, search: bool) -> None:
        game = self.game
        size = game.forms.shape[-1]
        below = np.eye(size)  # z as a function of z with the levels from below answering
        for k in reversed(range(len(game.levels))):
            level = game.levels[k]
            if k == 0 and self._search:
                return
            if any(i in game.discrete for i in level):
                if k + 1 < len(game.levels) or len(level) > 1 or not search:
                    raise NotInside("a discrete player has to be alone at the top or at the bottom")
                return  # its answers are no linear ones; the one level above it searches
            rows = [row for i in level for row in range(game.blocks[i].start, game.blocks[i].stop)]
            gradients = np.zeros((len(rows), size))
            at = 0
            for i in level:
                form = below.T @ game.forms[i] @ below
                form = form + form.T
                block = game.blocks[i]
                if np.linalg.eigvalsh(form[block, block]).max() >= -0.1:
                    raise NotInside("a payoff is not concave")
                gradients[at : at + game.sizes[i]] = form[block]
                at += game.sizes[i]
            lower = [j for other in game.levels[k + 1 :] for i in other for j in range(size)[game.blocks[i]]]
            given = [j for j in range(size) if j not in rows and j not in lower]
            answers = np.zeros((len(rows), size))
            answers[:, given] = np.linalg.solve(-gradients[:, rows], gradients[:, given])
            cut = search and k == len(game.levels) - 1 and len(rows) == 1
            if not cut and np.abs(answers).sum(1).max() > _INSIDE:
                raise NotInside("an answer leaves its bounds")
            at = 0
            for i in level:
                self._maps[i] = answers[at : at + game.sizes[i]]
                at += game.sizes[i]
            step = np.eye(size)
            step[rows] = answers
            below = below @ step

    def fill(self, z: np.ndarray, level: int) -> np.ndarray:
        """Lets this level and those below answer to what stands above them in z, (N, m), in place; returns z."""
        game = self.game
        for k in range(level, len(game.levels)):
            found = {}
            for i in game.levels[k]:
                found[i] = self._discrete_answer(z, i) if i in game.discrete else self._linear_answer(z, i)
            for i, own in found.items():
                z[:, game.blocks[i]] = own
        return z

    def _linear_answer(self, z: np.ndarray, player: int) -> np.ndarray:
        return np.clip(z @ self._maps[player].T, -1, 1)

    def _discrete_answer(self, z: np.ndarray, player: int) -> np.ndarray:
        game, tried = self.game, []
        for number in game.discrete[player]:
            one = z.copy()
            one[:, game.blocks[player]] = number
            tried.append(game.payoffs(one)[player])
        return game.discrete[player][np.argmax(tried, 0)][:, None]

    def _values(self, z: np.ndarray, player: int, tries: np.ndarray) -> np.ndarray:
        """Returns what a player is paid for each of its actions (T, size), levels below answering: (N, T)."""
        game = self.game
        level = next(k for k, own in enumerate(game.levels) if player in own)
        many = np.repeat(z, len(tries), 0)
        many[:, game.blocks[player]] = np.tile(tries, (len(z), 1))
        return game.payoffs(self.fill(many, level + 1))[player].reshape(len(z), len(tries))

    def _uniform_values(self) -> np.ndarray:
        """Returns what uniform play pays, (n,): second moments are all that a quadratic payoff knows."""
        game = self.game
        seen = self.z[:, : 1 + game.context]  # (C, 1 + context)
        moments = np.zeros(game.forms.shape[1:])
        moments[: seen.shape[1], : seen.shape[1]] = seen.T @ seen / len(seen)
        for i, block in enumerate(game.blocks):  # of mean 0: discrete actions stand for numbers around 0
            square = np.mean(game.discrete[i] ** 2) if i in game.discrete else 1 / 3
            moments[block, block] = square * np.eye(game.sizes[i])
        paid = np.einsum("iab,ab->i", game.forms, moments)
        for peak in game.peaks:
            paid[peak.player] += peak.height * np.exp(-0.5 * ((_GRID - peak.at) / peak.width) ** 2).mean()
        return paid

    def _best_at_the_top(self, z: np.ndarray) -> None:
        game = self.game
        (player,) = game.levels[0]
        tries = game.discrete.get(player, _GRID)[:, None]
        values = self._values(z, player, tries)  # (N, T)
        best = values.argmax(1)
        own = tries[best]  # (N, 1)
        spread = np.ptp(values, axis=1)
        if player in game.discrete:
            second = np.sort(values, 1)[:, -2]
            self.margin = float(((values.max(1) - second) / spread).min())
        else:
            for width in (5e-4, 1e-6):  # of a smooth payoff; a corner is found as well, at its own place
                near = own + width * np.linspace(-1, 1, 101)  # (N, 101)
                near = np.clip(near, -1, 1)
                refined = np.concatenate([self._values(z[[n]], player, near[n][:, None]) for n in range(len(z))])
                own = np.take_along_axis(near, refined.argmax(1)[:, None], 1)
            # The best that is far from it: another peak, of which one has to be the higher.
            far = np.abs(tries[:, 0] - own) > 0.2
            peaks = (values[:, 1:-1] >= values[:, :-2]) & (values[:, 1:-1] >= values[:, 2:])
            peaks = np.pad(peaks, ((0, 0), (1, 1)), constant_values=True)
            other = np.where(far & peaks, values, -np.inf).max(1)
            self.margin = float(((values.max(1) - other) / spread).min())
        z[:, game.blocks[player]] = own
        self.fill(z, 1)

    def error(self, actions: Mapping[str, np.ndarray]) -> float:
        """Returns how far play is from equilibrium, as a share of the range of actions.

        Args:
            actions: agent -> (C, size) or, discrete, (C,) integers.

        Returns:
            The mean over contexts of the largest error of any player's number.
        """
        game = self.game
        apart = np.abs(game.numbers(self.states, actions) - self.z)[:, 1 + game.context :]  # (C, all sizes)
        ranges = np.concatenate([np.full(size, self._range(i)) for i, size in enumerate(game.sizes)])
        return float((apart / ranges).max(1).mean())

    def _range(self, player: int) -> float:
        return float(np.ptp(self.game.discrete.get(player, np.array([-1.0, 1.0]))))

    def regret(self, actions: Mapping[str, np.ndarray], level: int) -> float:
        """Returns what the players of a level miss, levels below answering exactly, the others playing as they do.

        Args:
            actions: as for `error`.
            level: 0 for the top, -1 for the bottom.

        Returns:
            The mean over contexts of the most that any of them misses, as a share of the spread of its payoff over its
            own actions; at least 0.
        """
        game = self.game
        z = game.numbers(self.states, actions)
        shares = []
        for i in game.levels[level]:
            values = self._values(z, i, self._tries(i))
            played = np.stack([self._values(z[[n]], i, z[[n]][:, game.blocks[i]])[0, 0] for n in range(len(z))])  # (C,)
            missed = np.maximum(np.maximum(values.max(1), played) - played, 0)
            shares.append(missed / np.maximum(np.ptp(values, axis=1), 1e-12))
        return float(np.max(shares, 0).mean())

    @functools.cache  # noqa: B019  (answers live as long as their games)
    def _tries(self, player: int) -> np.ndarray:
        size = self.game.sizes[player]
        if player in self.game.discrete:
            return self.game.discrete[player][:, None]
        if size == 1:
            return _GRID[::10, None]
        return np.random.default_rng(0).uniform(-1, 1, (4096, size))
