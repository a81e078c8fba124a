"""Semantic guidance: the words of the upper layers are drawn to those that CLIP finds in the picture (section 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import embedding, normalize
from torch.utils.checkpoint import checkpoint

from koine.errors import InputError
from koine.parts.quantize import squared_distances

Rescaling = Literal["minmax", "max"]
"""How cosines become similarities that thresholds near 1 can be put to; which one the paper uses is not known."""
_AT_ONCE = 2**24
"""Distances held in memory at a time by `semantic_loss`."""


@torch.no_grad()
def word_vectors(
    embed: Callable[[list[str]], Tensor], words: Sequence[str], templates: Sequence[str], *, at_once: int = 512
) -> Tensor:
    """Unit vectors [words, dim]: the mean of a word's vectors over all templates, normalised.

    Args:
        embed: CLIP's text encoder, texts -> unit vectors [texts, dim].
        templates: sentences with `{}` for the word; the paper takes CLIP's 80 for ImageNet.
    """
    found = []
    for begin in range(0, len(words), at_once):
        part = words[begin : begin + at_once]
        vectors = embed([template.replace("{}", word) for word in part for template in templates])
        found.append(normalize(vectors.unflatten(0, (len(part), len(templates))).mean(dim=1), dim=-1))
    return torch.cat(found)


def similarities(
    images: Tensor,
    words: Tensor,
    *,
    guided: Tensor | None = None,
    usual: Tensor | None = None,
    rescaling: Rescaling = "minmax",
) -> Tensor:
    """How well each word fits each picture, at most 1: [images, words].

    Args:
        images, words: unit vectors [images, dim] and [words, dim] of one CLIP.
        guided: [words] bool, the words that CLIP knows; others get -inf and are never chosen. All by default.
        usual: [words], each word's mean cosine over pictures, which is taken off: some words are near to all pictures.
            Our own extension; not at all by default.
        rescaling: "minmax" spreads a picture's cosines over [0, 1]; "max" divides them by the largest.
    Raises:
        InputError: an unknown rescaling, or no word guides.
    """
    if rescaling not in get_args(Rescaling):
        raise InputError.unknown("rescaling of similarities", rescaling, get_args(Rescaling))
    if guided is not None and not bool(guided.any()):
        raise InputError("none of the codebook's words may guide: let one, or train without guidance (alpha=0)")
    with torch.autocast(images.device.type, enabled=False):  # thresholds tell words apart by a hundredth of their range
        cosines = images @ words.T
    if usual is not None:
        cosines = cosines - usual
    known = cosines if guided is None else cosines[:, guided]
    least, most = known.amin(dim=1, keepdim=True), known.amax(dim=1, keepdim=True)
    if rescaling == "max":
        scaled = cosines / most
    else:
        scaled = (cosines - least) / (most - least).clamp(min=1e-12)
        # All words fit alike, as a single one does: each is the best, or no threshold would find any.
        scaled = scaled.masked_fill(most == least, 1.0)
    return scaled if guided is None else scaled.masked_fill(~guided, -torch.inf)


def candidate_pools(similarity: Tensor, thresholds: Sequence[float]) -> Tensor:
    """C_l, the words that a layer's may be drawn to: bool [layers, images, words], s >= rho_l."""
    return torch.stack([similarity >= threshold for threshold in thresholds])


def draw_candidates(pool: Tensor, uniforms: Tensor) -> Tensor:
    """One candidate for each place, each as likely: long [images, h, w].

    Args:
        pool: bool [images, words]; each picture has at least one.
        uniforms: [images, h, w] in [0, 1); the candidate is number floor(u * n) of n, in the codebook's order.
    """
    ranks = pool.cumsum(dim=1).to(torch.int32)
    count = ranks[:, -1:]
    wanted = (uniforms.flatten(1) * count).floor().to(torch.int32).clamp(max=count - 1) + 1
    return torch.searchsorted(ranks, wanted).view(uniforms.shape)


def semantic_loss(targets: Sequence[Tensor], codebook: Tensor, chosen: Sequence[Tensor]) -> Tensor:
    """L_sem: cross entropy of the drawn candidates under a softmax over -|z_l - e|^2, meaned over places, then layers.

    Squared distances aren't divided by the width: the table's scale decides how sharp the softmax is.

    Args:
        targets: for each guided layer the remainders z_l, [images, h, w, width].
        codebook: [codes, width].
        chosen: for each of these layers the candidates, long [images, h, w].
    """
    losses = []
    for layer, candidates in zip(targets, chosen, strict=True):
        flat, wanted = layer.flatten(0, 2).to(codebook), candidates.flatten()
        rows = max(1, _AT_ONCE // len(codebook))
        parts = zip(flat.split(rows), wanted.split(rows), strict=True)
        if len(flat) <= rows:
            found = [_cross_entropy(part, codebook, ids) for part, ids in parts]
        else:  # a large vocabulary: distances are computed again in the backward pass instead of kept
            found = [checkpoint(_cross_entropy, part, codebook, ids, use_reentrant=False) for part, ids in parts]
        losses.append(torch.cat(found).mean())
    return torch.stack(losses).mean()


def _cross_entropy(vectors: Tensor, codebook: Tensor, wanted: Tensor) -> Tensor:
    """-log softmax at `wanted` [n] of the negative squared distances of `vectors` [n, width]."""
    distance = (vectors - embedding(wanted, codebook)).square().sum(dim=1)
    return distance + (-squared_distances(vectors, codebook)).logsumexp(dim=1)
