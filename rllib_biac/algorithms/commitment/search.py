"""Commitments as arrays: how they are drawn, and how the best one is searched for. z is (n, |S|, |A_1|)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

_ROUNDS, _KEPT, _EACH = 12, 16, 32  # of a search: rounds, the best of each, and what is tried around each of them


def draw(
    count: int,
    known: torch.Tensor,
    alike: torch.Tensor,
    num_actions: int,
    *,
    mixed: bool,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Draws commitments.

    A third of mixed ones is uniform on the simplex in every state, a third takes one action in every state, a third
    does the one or the other state by state: the best commitments mix in few states.

    Args:
        count: how many.
        known: (|S|,) bool, the states met so far; elsewhere all actions have one probability.
        alike: (|S|,) int64, for each state one whose row it has too.
        num_actions: |A_1|.
        mixed: whether they may be other than pure.
        generator: draws them.

    Returns:
        (count, |S|, |A_1|) float32.
    """
    shape, device = (count, len(known)), known.device
    pure = F.one_hot(torch.randint(num_actions, shape, generator=generator, device=device), num_actions).float()
    if mixed:
        uniform = torch.empty(*shape, num_actions, device=device).exponential_(generator=generator)
        uniform /= uniform.sum(-1, keepdim=True)
        share = torch.rand(count, 1, generator=generator, device=device)  # < 1/3: pure, > 2/3: uniform
        coin = torch.rand(shape, generator=generator, device=device) < 0.5
        mixes = (share > 2 / 3) | ((share > 1 / 3) & coin)  # (count, |S|)
        pure = torch.where(mixes[..., None], uniform, pure)
    return torch.where(known[:, None], pure, 1.0 / num_actions)[:, alike]


def near(
    best: torch.Tensor, drawn: torch.Tensor, width: float, *, mixed: bool, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Moves commitments a little: towards others if they are mixed, else by exchanging a state's action.

    Args:
        best: (n or 1, |S|, |A_1|), where to begin.
        drawn: (n, |S|, |A_1|), where to.
        width: the largest share of the way.
        mixed: whether they may be other than pure.
        generator: draws how far.
    """
    shape, device = drawn.shape[:2], drawn.device
    if not mixed:
        kept = torch.rand(shape, generator=generator, device=device) > width
        return torch.where(kept[..., None], best, drawn)
    step = width * torch.rand(shape, generator=generator, device=device)[..., None]
    return (1 - step) * best + step * drawn


def around(
    best: torch.Tensor, drawn: torch.Tensor, *, mixed: bool, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Moves commitments towards others, in one state or in some, a long way or a short one: as `near` takes them.

    At the best mixed ones the follower is often indifferent in several states, and only moves of few states keep to
    all these edges.
    """
    count, states = drawn.shape[:2]

    def rand(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, device=drawn.device)

    one = torch.randint(states, (count, 1), generator=generator, device=drawn.device)
    moved = (one == torch.arange(states, device=drawn.device)) | ((rand(count, 1) < 0.5) & (rand(count, states) < 0.5))
    share = 10.0 ** (-3.0 * rand(count, 1)) if mixed else 1.0
    return best + (share * moved)[..., None] * (drawn - best)


def search(
    score: Callable[[torch.Tensor], torch.Tensor],
    first: torch.Tensor,
    again: Callable[[int], torch.Tensor],
    alike: torch.Tensor,
    *,
    mixed: bool,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Looks for the commitments of the highest score: many at first, then around the best.

    Args:
        score: (n, |S|, |A_1|) -> (n,).
        first: (n, |S|, |A_1|), those to begin with.
        again: draws as many as it is told to.
        alike: (|S|,) int64, for each state one whose row it has too.
        mixed: whether they may be other than pure.
        generator: draws what is tried.

    Returns:
        (at most 16, |S|, |A_1|), best first.
    """
    tried, scores = first, score(first)
    for _ in range(_ROUNDS):
        best = scores.topk(min(_KEPT, len(tried))).indices
        many = tried[best].repeat_interleave(_EACH, 0)
        new = around(many, again(len(many)), mixed=mixed, generator=generator)[:, alike]
        tried, scores = torch.cat([tried[best], new]), torch.cat([scores[best], score(new)])
    return tried[scores.topk(min(_KEPT, len(tried))).indices]
