"""Bits: of codes under a prior, and of pixels under what their codes are decoded to."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

NATS_PER_BIT = math.log(2)


def uniform_bits(codes: int) -> float:
    """Bits of a code if all are as likely: the prior of the codes' own training (section 3.2)."""
    return math.log2(codes)


def histogram_bits(trained: Tensor, judged: Tensor, codes: int) -> float:
    """Bits of a code if each place draws from its own histogram, whatever its neighbours are.

    Args:
        trained: grids [n, *grid] whose histograms count, each code once more than seen (Laplace).
        judged: grids [m, *grid].
    """
    places = trained[0].numel()
    offset = torch.arange(places) * codes
    counts = torch.bincount((trained.flatten(1) + offset).flatten(), minlength=places * codes).view(places, codes) + 1.0
    share = counts / counts.sum(dim=1, keepdim=True)
    chosen = share.flatten()[(judged.flatten(1) + offset).flatten()]
    return float(-chosen.log2().mean())


def gaussian_bits(levels: Tensor, means: Tensor, deviation: float) -> Tensor:
    """-log2 p of each 8-bit level under a Gaussian cut into 256 bins, of which the outer two reach to infinity.

    A squared error alone is no likelihood: it lacks the bins and a deviation.

    Args:
        levels: 0 .. 255, any shape.
        means: of the same shape, what the decoder says, on the scale of levels.
        deviation: in levels.
    """
    centred = (levels - means).double()
    upper = torch.special.log_ndtr((centred + 0.5) / deviation)
    lower = torch.special.log_ndtr((centred - 0.5) / deviation)
    inner = upper + torch.log1p(-(lower - upper).exp().clamp(max=1 - 1e-12))
    # Right of the mean the two are nearly 1; the mirrored tails keep their digits.
    mirrored = torch.special.log_ndtr((0.5 - centred) / deviation)
    beyond = torch.special.log_ndtr((-0.5 - centred) / deviation)
    inner = torch.where(centred > 0, mirrored + torch.log1p(-(beyond - mirrored).exp().clamp(max=1 - 1e-12)), inner)
    logs = torch.where(levels <= 0, upper, torch.where(levels >= 255, mirrored, inner))
    return -logs / NATS_PER_BIT


def bits_per_dim(pixel_bits: Tensor, code_nats: Tensor) -> Tensor:
    """[b] bits of a picture per pixel and channel: of its pixels given the codes, and of the codes (section 3.2).

    An upper bound of -log2 p(x), since only the codes that the encoder chose are counted.

    Args:
        pixel_bits: [b, channels, rows, columns].
        code_nats: [b, codes], as `VQVAEModel.prior_nats` gives them.
    """
    total = pixel_bits.flatten(1).sum(dim=1) + code_nats.double().sum(dim=1) / NATS_PER_BIT
    return total / pixel_bits[0].numel()


def fitted_deviation(levels: Sequence[Tensor], means: Sequence[Tensor]) -> float:
    """The deviation in levels under which a Gaussian fits best: the root of the mean squared error, at least 0.1."""
    squares = torch.stack([(one - other).double().square().mean() for one, other in zip(levels, means, strict=True)])
    return max(0.1, float(squares.mean().sqrt()))
