"""How many threads PyTorch computes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from rllib_biac.learning.team import Team

# Multiplications of one pass over a batch, from which on a second thread gains more than it costs to wake it.
# On a busy machine threads that wait for each other cost a hundred times what they gain.
WORTH_SHARING = 2**26


@contextmanager
def threads_for(largest: int, rows: int) -> Iterator[None]:
    """Computes on one thread meanwhile what is too small to be shared among several.

    Args:
        largest: parameters of the largest part of a team.
        rows: that it is computed of at once.
    """
    threads = torch.get_num_threads()
    if threads == 1 or largest * rows >= WORTH_SHARING:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def largest_member(team: Team) -> int:
    """Returns the parameters of a team's largest part, which are at least those of its largest network."""
    return max(sum(p.numel() for p in member.parameters()) for member in team.members().values())
