"""Retrieval among pictures and texts: recall at k both ways, with several texts to a picture (COCO, XM3600)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from koine.errors import InputError


@dataclass(frozen=True)
class Recall:
    """Shares in [0, 1]."""

    image_to_text: dict[int, float]
    """For each k, of the pictures with one of their texts among the k nearest."""
    text_to_image: dict[int, float]
    """For each k, of the texts with their picture among the k nearest."""


def recall(similarities: Tensor, image_of: Tensor, at: Sequence[int] = (1, 5, 10)) -> Recall:
    """Recall at k (Karpathy and Fei-Fei, 2015).

    Args:
        similarities: [images, texts].
        image_of: [texts] int64, the picture that each text belongs to; each picture has at least one.

    Raises:
        InputError: a picture has no text, or there is nothing to search.
    """
    images, texts = similarities.shape
    if not images or not texts:
        raise InputError("retrieval needs at least one picture and one text")
    if missing := set(range(images)) - set(image_of.tolist()):
        raise InputError(f"picture {min(missing)} has no text: leave pictures without a text out")
    own = image_of == torch.arange(images, device=image_of.device)[:, None]
    # The rank of the best of a picture's own texts: how many others are nearer.
    best = similarities.masked_fill(~own, -torch.inf).amax(dim=1, keepdim=True)
    rank_of_text = ((similarities > best) & ~own).sum(dim=1)
    found = similarities[image_of, torch.arange(texts, device=image_of.device)]
    rank_of_image = (similarities > found).sum(dim=0)
    return Recall(
        {k: float((rank_of_text < k).float().mean()) for k in at},
        {k: float((rank_of_image < k).float().mean()) for k in at},
    )
