"""Several learners, each in a process of its own, that together do what one would on the whole minibatches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import distributed


@torch.no_grad()
def average_over_learners(tensors: Sequence[torch.Tensor]) -> None:
    """Replaces tensors of one dtype by their means over all learners, in place, in one message."""
    joined = torch.cat([tensor.flatten() for tensor in tensors])
    distributed.all_reduce(joined)
    joined /= distributed.get_world_size()
    for tensor, mean in zip(tensors, joined.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))


def start_as_the_first(tensors: Sequence[torch.Tensor]) -> None:
    """Replaces tensors by those of the first learner, in place."""
    for tensor in tensors:
        distributed.broadcast(tensor, 0)


def of_all_learners(tensor: torch.Tensor) -> torch.Tensor:
    """Returns the rows of all learners, the first one's first; each has as many."""
    parts = [torch.empty_like(tensor) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)
