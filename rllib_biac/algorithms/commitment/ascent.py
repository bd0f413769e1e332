"""The search for commitments by gradients, through what the follower answers in a game whose tables are known.

A best response jumps, and has no gradient; the answers of a follower that errs have one. So it errs much at first, and
less and less: what is climbed comes to be what a best response leaves, from the side where the follower still prefers
its answer. One gradient has a number for every entry of z, whereas trying out z at random tells one number a time: this
is how tables of many states are searched.
"""

from __future__ import annotations

import torch

from rllib_biac.algorithms.commitment.known import KnownGame

_STEPS, _KEPT = 300, 15  # and how many of the last half are handed back
_RATE, _QUICK = 0.03, 0.2  # of logits, in one step of Adam; to best responses, and to those that err anyhow
_ERRS = 0.1, 0.0003  # the follower's temperature at first and at last, of the spread of its Q
_LEAST = 1e-3  # probability to begin with: none is out of reach
# Where the follower errs anyhow: at first by these times its temperature as well, which it is at after so many steps.
_MORE, _COOLED = (8.0, 3.0, 1.5, 1.0), 0.7


def climbed(game: KnownGame, first: torch.Tensor, alike: torch.Tensor) -> torch.Tensor:
    """Returns commitments on the way up from others.

    What they lead to depends on how much the follower errs at first: much shows the whole, little what is near. A best
    response is nobody's neighbour, so there it is much. A follower that errs anyhow is climbed from several sides.

    Args:
        game: its tables.
        first: (n, |S|, |A_1|), where to begin.
        alike: (|S|,) int64, for each state one whose row it has too.

    Returns:
        (15 n, |S|, |A_1|), or five times as many where the follower errs: commitments of the way.
    """
    begin, end = (share * game.spread for share in _ERRS)
    if not game.temperature:
        return _climbed(game, first, alike, begin, end, _STEPS - 1, _RATE)
    begins = max(begin, game.temperature), *(more * game.temperature for more in _MORE)
    cooled = round(_COOLED * _STEPS)
    return torch.cat([_climbed(game, first, alike, begin, game.temperature, cooled, _QUICK) for begin in begins])


@torch.enable_grad()
def _climbed(
    game: KnownGame, first: torch.Tensor, alike: torch.Tensor, begin: float, end: float, cooled: int, rate: float
) -> torch.Tensor:
    """Climbs once, while the follower's temperature falls from `begin` to `end` in `cooled` steps."""
    met, count = game.num_states, first.shape[2]
    logits = ((1.0 - count * _LEAST) * first[:, :met].double() + _LEAST).log().requires_grad_()
    adam = torch.optim.Adam([logits], lr=rate, betas=(0.9, 0.99))
    answer, kept = None, []
    for step in range(_STEPS):
        errs = begin * (end / begin) ** min(step / cooled, 1.0)
        z = logits.softmax(2)[:, alike[:met]]
        found = game.answered(z.detach(), errs, answer)
        answer = found.answer
        adam.zero_grad()
        z.backward(-game.gradient(z.detach(), found, errs))
        adam.param_groups[0]["lr"] = rate * (1.0 - 0.9 * step / _STEPS)
        adam.step()
        if (_STEPS - 1 - step) % (_STEPS // 2 // _KEPT) == 0 and step >= _STEPS // 2:
            kept.append(z.detach())
    passed = first.repeat(len(kept), 1, 1)
    passed[:, :met] = torch.cat(kept).to(first.dtype)
    return passed
