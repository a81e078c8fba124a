"""Several codes for one vector: residual quantisation, where codes add up, and streaming average quantisation.

SPAE (arXiv 2306.17842, section 3.2) lays the codes out as a pyramid over a grid of vectors: layer l has codes at
h_l x w_l places only, and what the decoder gets is the running mean of the codes that a place has so far. Residual
quantisation suits a codebook that is learnt, whose codes can become as small as what is left over. The words of a
frozen table all have about the same length, and only their mean can come closer with each word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from koine.errors import InputError
from koine.parts.quantize import nearest_codes

Rule = Literal["average", "residual"]
"""How codes make a vector: "average" is streaming average quantisation, "residual" adds."""
Filling = Literal["zero", "nearest", "mean"]
"""What stands at a place that has no code yet: zeros, the nearest place that has one, or the mean of these places."""
Size = tuple[int, int]
"""Rows and columns of a layer or of the grid."""


@dataclass(frozen=True)
class Pyramid:
    """Layers of places on a grid, the coarsest first.

    Attributes:
        layers: rows and columns of each layer; the last one is the grid itself.
    Raises:
        InputError: there is no layer, or a layer doesn't divide the grid.
    """

    layers: tuple[Size, ...]

    def __post_init__(self) -> None:
        if not self.layers:
            raise InputError("a pyramid without layers holds nothing: give at least one, such as (8, 8)")
        rows, columns = self.grid
        for number, (height, width) in enumerate(self.layers, start=1):
            if height < 1 or width < 1 or rows % height or columns % width:
                raise InputError(
                    f"layer {number} of the pyramid has {height} x {width} places, which don't divide the grid of "
                    f"{rows} x {columns}: give divisors of it"
                )

    @classmethod
    def square(cls, sides: Sequence[int]) -> Pyramid:
        """Square layers of these sides."""
        return cls(tuple((side, side) for side in sides))

    @property
    def grid(self) -> Size:
        """Rows and columns of the last layer."""
        return self.layers[-1]

    @property
    def lengths(self) -> tuple[int, ...]:
        """How many codes the first layer has, the first two, and so on."""
        total, found = 0, []
        for height, width in self.layers:
            total += height * width
            found.append(total)
        return tuple(found)

    def length(self, layers: int | None = None) -> int:
        """How many codes the first `layers` layers have together; all by default.

        Raises:
            InputError: there are not so many layers.
        """
        if layers is not None and not 0 < layers <= len(self.layers):
            raise InputError(f"layers = {layers} of a pyramid of {len(self.layers)}: give 1 to {len(self.layers)}")
        return self.lengths[-1 if layers is None else layers - 1]

    def places(self, layer: int) -> tuple[slice, slice]:
        """Rows and columns of the grid that layer `layer` (from 0) has codes at: the dilation subsampler.

        Cells of the layer are r x r places of the grid, and the code belongs to the one at floor(r / 2) of each
        (equation 1 of the paper, which counts from 1).
        """
        steps = (whole // part for whole, part in zip(self.grid, self.layers[layer], strict=True))
        rows, columns = (slice(step // 2, None, step) for step in steps)
        return rows, columns

    def counts(self) -> Tensor:
        """How many codes each place has after each layer: int64 [layers, rows, columns]."""
        single = torch.zeros(len(self.layers), *self.grid, dtype=torch.int64)
        for layer in range(len(self.layers)):
            single[layer][self.places(layer)] = 1
        return single.cumsum(dim=0)

    def split(self, flat: Tensor) -> list[Tensor]:
        """Codes [.., n] in layer and raster order as one tensor [.., h_l, w_l] for each layer that they fill.

        Raises:
            InputError: n codes don't end with a layer.
        """
        given = flat.shape[-1]
        if given not in self.lengths:
            raise InputError(
                f"{given} codes don't end with a layer of the pyramid: give one of {', '.join(map(str, self.lengths))}"
            )
        layers = self.layers[: self.lengths.index(given) + 1]
        parts = flat.split([height * width for height, width in layers], dim=-1)
        return [part.unflatten(-1, size) for part, size in zip(parts, layers, strict=True)]


@dataclass(frozen=True)
class LayeredCodes:
    """What `quantize_layers` makes of vectors [batch, rows, columns, width].

    Attributes:
        tokens: for each layer the chosen codes, long [batch, h_l, w_l].
        targets: for each layer the remainders that were matched with codes, [batch, h_l, w_l, width]; gradients
            go to the vectors.
        reconstructions: what the first 1, 2, .. layers stand for, [layers, batch, rows, columns, width], without
            gradients; zeros at places without a code.
        counts: codes at each place after each layer, int64 [layers, rows, columns].
    """

    tokens: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]
    reconstructions: Tensor
    counts: Tensor

    @property
    def flat_tokens(self) -> Tensor:
        """All codes [batch, n], layer by layer, in raster order within a layer."""
        return torch.cat([part.flatten(1) for part in self.tokens], dim=1)


def quantize_layers(vectors: Tensor, codebook: Tensor, pyramid: Pyramid, *, rule: Rule = "average") -> LayeredCodes:
    """Chooses the nearest code of each layer for what the layers before it leave over (section 3.2 of the paper).

    With the sum S of a place's n codes so far, the remainder of "average" is z + (z - e_1) + .. + (z - e_n), that is
    (n + 1) z - S; that of "residual" is z - S.

    Args:
        vectors: [batch, rows, columns, width], on the pyramid's grid.
        codebook: [codes, width].
    Raises:
        InputError: the batch is empty, the grid or the width is another, or a vector isn't finite.
    """
    _check(vectors, codebook, pyramid, rule)
    codebook = codebook.detach()
    sums = torch.zeros_like(vectors)
    counts = pyramid.counts().to(vectors.device)
    before = torch.zeros_like(counts[0])
    tokens, targets, reconstructions = [], [], []
    for layer, so_far in enumerate(counts):
        rows, columns = pyramid.places(layer)
        weight = (before[rows, columns] + 1)[..., None] if rule == "average" else 1
        remainder = weight * vectors[:, rows, columns] - sums[:, rows, columns]
        chosen = nearest_codes(remainder.detach(), codebook)
        sums[:, rows, columns] += functional.embedding(chosen, codebook).to(sums.dtype)
        tokens.append(chosen)
        targets.append(remainder)
        reconstructions.append(_combined(sums, so_far, rule))
        before = so_far
    return LayeredCodes(tuple(tokens), tuple(targets), torch.stack(reconstructions), counts)


def combine_codes(
    tokens: Sequence[Tensor], codebook: Tensor, pyramid: Pyramid, *, rule: Rule = "average", filling: Filling = "zero"
) -> Tensor:
    """What the codes of the first layers stand for, [batch, rows, columns, width].

    Args:
        tokens: long [batch, h_l, w_l] of as many layers as there are, at least one.
        filling: what stands at places without a code; the paper doesn't say.
    Raises:
        InputError: more layers than the pyramid has, a layer of another size or of fewer pictures, or codes that
            aren't whole numbers or that the book doesn't have.
    """
    if not 0 < len(tokens) <= len(pyramid.layers):
        raise InputError(f"{len(tokens)} layers of codes for a pyramid of {len(pyramid.layers)}: give 1 to all of them")
    batch = len(tokens[0])
    sums = codebook.new_zeros(batch, *pyramid.grid, codebook.shape[1])
    for layer, part in enumerate(tokens):
        if len(part) != batch:
            raise InputError(
                f"layer {layer + 1} has codes of {len(part)} pictures, layer 1 of {batch}: give all of each"
            )
        if tuple(part.shape[1:]) != pyramid.layers[layer]:
            raise InputError(
                f"layer {layer + 1} has codes {tuple(part.shape[1:])}, not {pyramid.layers[layer]}: give its whole grid"
            )
        if part.dtype not in (torch.long, torch.int):
            raise InputError(f"layer {layer + 1} has codes of {part.dtype}: give whole numbers, torch.long")
        if part.numel() and not 0 <= int(part.min()) <= int(part.max()) < len(codebook):
            raise InputError(f"a code of layer {layer + 1} is outside of the codebook's 0 to {len(codebook) - 1}")
        rows, columns = pyramid.places(layer)
        sums[:, rows, columns] += functional.embedding(part, codebook)
    counts = pyramid.counts()[len(tokens) - 1].to(codebook.device)
    return fill(_combined(sums, counts, rule), counts, filling)


def fill(vectors: Tensor, counts: Tensor, filling: Filling) -> Tensor:
    """Vectors [.., rows, columns, width] with something at places whose count [rows, columns] is zero.

    Raises:
        InputError: an unknown filling.
    """
    if filling not in get_args(Filling):
        raise InputError.unknown("filling of places without a code", filling, get_args(Filling))
    empty = counts == 0
    if filling == "zero" or not bool(empty.any()):
        return vectors
    if filling == "mean":
        mean = vectors[..., ~empty, :].mean(dim=-2)
        return torch.where(empty[..., None], mean[..., None, None, :], vectors)
    return vectors.flatten(-3, -2)[..., _nearest_filled(counts), :].view(vectors.shape)


def _nearest_filled(counts: Tensor) -> Tensor:
    """For each place, in raster order, the nearest one that has a code: long [rows * columns]."""
    rows, columns = counts.shape
    axes = (torch.arange(rows, device=counts.device), torch.arange(columns, device=counts.device))
    places = torch.cartesian_prod(*axes).float()
    distances = torch.cdist(places, places)
    return distances.masked_fill(counts.flatten() == 0, torch.inf).argmin(dim=1)


def _combined(sums: Tensor, counts: Tensor, rule: Rule) -> Tensor:
    if rule == "residual":
        return sums.clone()
    return sums / counts.clamp(min=1)[..., None]


def _check(vectors: Tensor, codebook: Tensor, pyramid: Pyramid, rule: str) -> None:
    if rule not in get_args(Rule):
        raise InputError.unknown("rule of quantisation", rule, get_args(Rule))
    if vectors.shape[0] == 0:
        raise InputError("the batch of vectors to quantise is empty: give at least one")
    if tuple(vectors.shape[1:3]) != pyramid.grid:
        raise InputError(
            f"vectors on a grid of {vectors.shape[1]} x {vectors.shape[2]} don't fit a pyramid over "
            f"{pyramid.grid[0]} x {pyramid.grid[1]}: give pictures of the model's size"
        )
    if vectors.shape[3] != codebook.shape[1]:
        raise InputError(
            f"vectors of width {vectors.shape[3]} don't fit a codebook of width {codebook.shape[1]}: give the table "
            "that the encoder was made for, or project it"
        )
    if not bool(torch.isfinite(vectors).all()):
        raise InputError("a vector to quantise is nan or infinite: look for such values in the picture or the weights")
