"""Families of one-step games with continuous actions and quadratic payoffs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rllib_biac.envs.zoo.continuous_answers import ContinuousAnswer, NotInside
from rllib_biac.envs.zoo.game import Draft
from rllib_biac.envs.zoo.quadratic import Peak, QuadraticGame

_CLEAR = 0.05  # of a place where the follower changes its answer

Draw = Callable[[np.random.Generator, int], Draft]


def _forms(
    rng: np.random.Generator, sizes: Sequence[int], context: int, coupling: float, drift: float = 0.4
) -> np.ndarray:
    """Draws payoffs, (n, m, m): concave in one's own action, and everybody's business is everybody else's."""
    count, size = len(sizes), 1 + context + sum(sizes)
    ends = 1 + context + np.cumsum([0, *sizes])
    forms = np.zeros((count, size, size))
    others = 1 + context
    for i in range(count):
        own = slice(int(ends[i]), int(ends[i + 1]))
        forms[i, 0, others:] = rng.uniform(-1, 1, size - others)  # what others do is good or bad for it
        forms[i, 0, own] = rng.uniform(-drift, drift, sizes[i]) * 2
        forms[i, 1:others, own] = rng.uniform(-0.5, 0.5, (context, sizes[i]))
        cross = coupling * rng.uniform(-1, 1, (sizes[i], size - others)) / max(sum(sizes) - sizes[i], 1)
        forms[i, own, others:] = cross
        mixed = rng.uniform(-0.2, 0.2, (sizes[i], sizes[i]))
        forms[i, own, own] = -np.eye(sizes[i]) * rng.uniform(1, 1.5) + (mixed + mixed.T) / 2
    return forms


def quadratic(
    levels: Sequence[Sequence[int]],
    doc: str,
    *,
    size: int = 1,
    context: int = 0,
    coupling: float = 1.0,
    discrete: int | None = None,
) -> Draw:
    """Returns a family of quadratic games whose answers never meet a bound.

    Args:
        levels: of players, top first.
        doc: its line in the table.
        size: numbers in each action.
        context: numbers in the context.
        coupling: how much the others' actions change what is best.
        discrete: a player who chooses of 3 to 7 numbers instead.
    """
    count = sum(map(len, levels))

    def draw(rng: np.random.Generator, seed: int) -> Draft:
        forms = _forms(rng, [size] * count, context, coupling)
        numbers = None if discrete is None else {discrete: np.linspace(-1, 1, int(rng.integers(3, 8))).tolist()}
        game = QuadraticGame(levels, [size] * count, forms, context, numbers)
        # One player who searches above one whose answers are not linear.
        draft = _draft(game, search=discrete is not None and discrete not in levels[0])
        if draft.answer is not None and discrete == levels[-1][0] and not _settled(draft.answer):
            return Draft(game, 0, 0.0, None, 0.0)  # the best is where the answer changes: it is never quite reached
        return draft

    draw.__doc__ = doc
    return draw


def _settled(found: ContinuousAnswer) -> bool:
    """Tells whether the answer stays the same a little around a leader's one number."""
    (above,), (below,) = found.game.blocks[:1], found.game.blocks[1:]
    z = np.repeat(found.z, 2, 0)
    z[:, above] += np.tile([[-_CLEAR], [_CLEAR]], (len(found.z), 1))
    return bool((found.fill(z, 1)[:, below] == np.repeat(found.z[:, below], 2, 0)).all())


def _draft(game: QuadraticGame, search: bool) -> Draft:
    try:
        found = ContinuousAnswer(game, search)
    except (NotInside, np.linalg.LinAlgError):
        return Draft(game, 0, 0.0, None, 0.0)
    about = {"agents": len(game.sizes), "size": game.sizes[0], "context": game.context}
    return Draft(game, 0, 0.0, found, found.margin, about)


def boundary(rng: np.random.Generator, seed: int) -> Draft:
    """Pairs whose leader, or follower, or both, are best off at a bound."""
    forms = _forms(rng, [1, 1], 0, 1.5, drift=2.0)
    draft = _draft(QuadraticGame([[0], [1]], [1, 1], forms), search=True)
    if draft.answer is not None and not any((np.abs(own) > 1 - 1e-6).any() for own in draft.answer.actions.values()):
        return Draft(draft.game, 0, 0.0, None, 0.0)
    return draft


def two_peaks(rng: np.random.Generator, seed: int) -> Draft:
    """Pairs whose leader has a broad peak and a narrow, higher one, .1 to .2 wide of a range of 2."""
    forms = _forms(rng, [1, 1], 0, 0.5)
    side = float(rng.choice([-1, 1]))
    peaks = [
        Peak(0, side * rng.uniform(0.4, 0.7), rng.uniform(0.3, 0.5), 2.0),
        Peak(0, -side * rng.uniform(0.4, 0.7), rng.uniform(0.1, 0.2), rng.uniform(2.5, 4.0)),
    ]
    draft = _draft(QuadraticGame([[0], [1]], [1, 1], forms, peaks=peaks), search=True)
    if draft.answer is not None and np.abs(draft.answer.actions["player_0"] - peaks[1].at).max() > 0.2:
        return Draft(draft.game, 0, 0.0, None, 0.0)  # the narrow peak is not the higher one, all told
    return draft


PAIR, BELOW, ABOVE = [[0], [1]], [[0], [1, 2]], [[0, 1], [2]]
THREE, FOUR = [[0], [1], [2]], [[0], [1], [2], [3]]

DRAWS: dict[str, Draw] = {
    "lq_pair": quadratic(PAIR, "Quadratic pairs of one number each."),
    "lq_vector": quadratic(PAIR, "Quadratic pairs of three numbers each.", size=3),
    "lq_context": quadratic(PAIR, "Quadratic pairs, what is best changing with a context.", context=2),
    "lq_boundary": boundary,
    "lq_two_peaks": two_peaks,
    "lq_peers_below": quadratic(BELOW, "A leader, and two followers who are peers."),
    "lq_peers_above": quadratic(ABOVE, "Two leaders who are peers, and a follower."),
    "lq_three": quadratic(THREE, "Three levels."),
    "lq_four": quadratic(FOUR, "Four levels."),
    "lq_discrete_leader": quadratic(PAIR, "A leader with 3 to 7 actions, a follower with a number.", discrete=0),
    "lq_discrete_follower": quadratic(PAIR, "A leader with a number, a follower with 3 to 7 actions.", discrete=1),
}
