"""The search for commitments by gradients, through what the follower answers in the counted game.

A best response jumps, and has no gradient; the answers of a follower that errs have one. So it errs much at first, and
less and less: what is climbed comes to be what a best response leaves, from the side where the follower still prefers
its answer. One gradient has a number for every entry of z, whereas trying out z at random tells one number a time: this
is how tables of many states are searched.
"""

from __future__ import annotations

import torch

from rllib_biac.algorithms.commitment.counted import CountedGame

_STEPS, _KEPT = 300, 15  # and how many of the last half are handed back
_RATE = 0.03  # of logits, in one step of Adam
_ERRS = 0.1, 0.0003  # the follower's temperature at first and at last, of the spread of its Q
_LEAST = 1e-3  # probability to begin with: none is out of reach


@torch.enable_grad()
def climbed(game: CountedGame, first: torch.Tensor, alike: torch.Tensor) -> torch.Tensor:
    """Returns commitments on the way up from others.

    Args:
        game: the counted game.
        first: (n, |S|, |A_1|), where to begin.
        alike: (|S|,) int64, for each state one whose row it has too.

    Returns:
        (15 n, |S|, |A_1|), commitments of the way.
    """
    met, count = game.num_states, first.shape[2]
    logits = ((1.0 - count * _LEAST) * first[:, :met].double() + _LEAST).log().requires_grad_()
    adam = torch.optim.Adam([logits], lr=_RATE, betas=(0.9, 0.99))
    begin, end = (share * game.spread for share in _ERRS)
    answer, kept = None, []
    for step in range(_STEPS):
        errs = max(begin * (end / begin) ** (step / (_STEPS - 1)), game.temperature)
        z = logits.softmax(2)[:, alike[:met]]
        found = game.answered(z.detach(), errs, answer)
        answer = found.answer
        adam.zero_grad()
        z.backward(-game.gradient(z.detach(), found, errs))
        adam.param_groups[0]["lr"] = _RATE * (1.0 - 0.9 * step / _STEPS)
        adam.step()
        if (_STEPS - 1 - step) % (_STEPS // 2 // _KEPT) == 0 and step >= _STEPS // 2:
            kept.append(z.detach())
    passed = first.repeat(len(kept), 1, 1)
    passed[:, :met] = torch.cat(kept).to(first.dtype)
    return passed
