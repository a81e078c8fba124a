"""Contrastive learning of pairs: each is to find its partner among all of the batch (CLIP, Radford et al. 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, distributed
from torch.nn.functional import cross_entropy


def contrastive_loss(first: Tensor, second: Tensor, scale: Tensor) -> Tensor:
    """The mean of the cross entropies of both directions (figure 3), with the pairs of all processes of a training.

    Args:
        first, second: unit vectors [pairs, width]; row i of both is a pair.
        scale: inverse temperature, [].
    """
    everyone, others = gathered(first), gathered(second)
    own = torch.arange(len(first), device=first.device) + _rank() * len(first)
    return (cross_entropy(scale * first @ others.T, own) + cross_entropy(scale * second @ everyone.T, own)) / 2


def gathered(vectors: Tensor) -> Tensor:
    """[processes * n, width] of each process's [n, width], in the order of the processes; gradients find their way."""
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return vectors
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(vectors))


def _rank() -> int:
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
