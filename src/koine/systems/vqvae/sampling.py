"""Drawing codes from logits: temperature, top-k, top-p, and a uniform number for each code.

A code is the inverse of the cumulative distribution at its number. So the numbers alone decide what is drawn, and two
ways of computing the same logits draw the same grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from koine.errors import InputError


@dataclass(frozen=True)
class SamplingOptions:
    """How codes are drawn.

    Attributes:
        temperature: the logits are divided by it; 0 takes the likeliest code.
        top_k: only the k likeliest codes; 0 takes all.
        top_p: only the likeliest codes that together reach this probability; 1 takes all.
        guidance: how much the condition counts: logits are those without it and so many times what it changes. 1 is
            the prior as it was trained; the papers have nothing else (classifier-free guidance, arXiv 2207.12598).
        candidates: of so many that are drawn for each grid, the one is kept that the model's classifier of codes finds
            likeliest to show the classes asked for (VQ-VAE-2, section 3.4). Where none is asked for, one is drawn.
    Raises:
        InputError: a value out of its range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    guidance: float = 1.0
    candidates: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise InputError(f"temperature {self.temperature} is out of range: give 0 or more")
        if self.top_k < 0:
            raise InputError(f"top_k {self.top_k} is negative: give how many codes to choose from, or 0 for all")
        if not 0 <= self.guidance < math.inf:
            raise InputError(
                f"guidance {self.guidance} is out of range: give 1, or more to follow the condition closer"
            )
        if self.candidates < 1:
            raise InputError(f"candidates {self.candidates}: give at least 1, which is kept whatever it shows")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p {self.top_p} is out of range: give a probability above 0 and up to 1")

    def check(self, codes: int) -> None:
        """
        Raises:
            InputError: the codebook has fewer codes than `top_k`.
        """
        if self.top_k > codes:
            raise InputError(f"top_k {self.top_k} of a codebook of {codes} codes: give at most {codes}, or 0 for all")


def draw(logits: Tensor, uniforms: Tensor, options: SamplingOptions) -> Tensor:
    """Codes [n] long from logits [n, codes]: the number of cumulative probabilities that lie below each uniform [n]."""
    if options.temperature == 0:
        return logits.argmax(dim=-1)
    scaled = logits.double() / options.temperature
    if options.top_k:
        least = scaled.topk(options.top_k).values[:, -1:]
        scaled = scaled.masked_fill(scaled < least, -torch.inf)
    probabilities = scaled.softmax(dim=-1)
    if options.top_p < 1:
        ordered, places = probabilities.sort(dim=-1, descending=True)
        beyond = ordered.cumsum(dim=-1) - ordered >= options.top_p
        probabilities = probabilities.masked_fill(beyond.gather(-1, places.argsort(dim=-1)), 0.0)
        probabilities = probabilities / probabilities.sum(dim=-1, keepdim=True)
    cumulative = probabilities.cumsum(dim=-1)
    # Rounding may leave the last sum below a uniform next to 1; then it is the last code that can be drawn at all.
    last = logits.shape[-1] - 1 - (probabilities > 0).flip(-1).long().argmax(dim=-1)
    return torch.minimum((cumulative < uniforms[:, None]).sum(dim=-1), last)


def guided(logits: Tensor, guidance: float) -> Tensor:
    """[n, codes] from [2 n, codes]: the first half with the condition, the second without it."""
    asked, free = logits.chunk(2)
    return free + guidance * (asked - free)


def draw_uniforms(count: int, grid: Sequence[int], *, generator: torch.Generator | None = None) -> Tensor:
    """[count, *grid] float64 in [0, 1), on the CPU, so that every device draws the same."""
    return torch.rand(count, *grid, generator=generator, dtype=torch.float64)


@torch.no_grad()  # not inference_mode, so that what is drawn can be learnt from
def sample_naively(
    logits_of: Callable[[Tensor], Tensor], uniforms: Tensor, options: SamplingOptions | None = None
) -> Tensor:
    """Grids [n, rows, columns] long, code after code in reading order, with the whole network run for each.

    For networks without a cache, and to check those that have one.

    Args:
        logits_of: grids [n, rows, columns] to logits [n, codes, rows, columns]; those of a place may not depend on it
            and what follows.
        uniforms: [n, rows, columns].
    """
    options = options or SamplingOptions()
    grids = torch.zeros(uniforms.shape, dtype=torch.long, device=uniforms.device)
    for row in range(grids.shape[1]):
        for column in range(grids.shape[2]):
            logits = logits_of(grids)[:, :, row, column]
            options.check(logits.shape[1])
            grids[:, row, column] = draw(logits, uniforms[:, row, column], options)
    return grids
