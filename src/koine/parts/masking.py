"""What masked modelling hides: words of texts, blocks of image patches, any tokens at random.

Each function draws for a whole batch at once. Masks are bool, True where something is hidden.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from koine.errors import InputError

_TRIES = 10


def random_mask(
    batch: int, length: int, ratio: float, *, generator: torch.Generator | None = None, noise: Tensor | None = None
) -> Tensor:
    """[batch, length] bool: the same number of tokens in each row, all but the first int(length * (1 - ratio)) of a
    random order (MAE, He et al. 2021, section 3).

    Args:
        ratio: share that is hidden, 0..1.
        noise: [batch, length] instead of a draw: tokens with small values stay.
    Raises:
        InputError: the ratio is out of range.
    """
    _check_ratio(ratio)
    if noise is None:
        noise = torch.rand(batch, length, generator=generator)
    rank = noise.argsort(dim=1).argsort(dim=1)
    return rank >= int(length * (1 - ratio))


def split_by_mask(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Places of the visible and of the hidden tokens, [batch, visible] and [batch, hidden] long, in ascending order.

    Args:
        mask: [batch, length] bool with the same number of True in each row.
    """
    order = mask.long().argsort(dim=1, stable=True)
    visible = mask.shape[1] - int(mask[0].sum()) if len(mask) else 0
    return order[:, :visible], order[:, visible:]


class Draws(Protocol):
    """Where a block mask's numbers come from; `BlockDraws` wraps numpy's generator."""

    def uniform(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
        """A number in [low, high) for each pair of limits."""

    def integers(self, high: NDArray[np.int64]) -> NDArray[np.int64]:
        """A whole number from 0 to `high`, included, for each limit."""

    def choose(self, candidates: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """`count` different ones of the candidates."""


class BlockDraws:
    """Draws by numpy's generator."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator

    def uniform(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `Draws`."""
        # numpy's own refuses limits in falling order, which occur where fewer patches remain than a rectangle has
        return low + (high - low) * self.generator.random(low.shape)

    def integers(self, high: NDArray[np.int64]) -> NDArray[np.int64]:
        """See `Draws`."""
        return self.generator.integers(0, high, endpoint=True)

    def choose(self, candidates: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """See `Draws`."""
        return self.generator.choice(candidates, count, replace=False)


@dataclass(frozen=True)
class Blocks:
    """Rectangles of patches that are hidden until there are enough (BEiT, Bao et al. 2021, algorithm 1).

    Attributes:
        grid: (rows, columns) of patches.
        hidden: patches that are hidden in each image.
        smallest: least area of a rectangle, in patches.
        least_aspect: height by width is drawn between this and its inverse, evenly on a logarithmic scale.

    Raises:
        InputError: more patches are to be hidden than there are.
    """

    grid: tuple[int, int]
    hidden: int
    smallest: int = 16
    least_aspect: float = 0.3

    def __post_init__(self) -> None:
        rows, columns = self.grid
        if not 0 <= self.hidden <= rows * columns:
            raise InputError(
                f"{self.hidden} patches can't be hidden of {rows} x {columns}: give a number up to {rows * columns}"
            )


def block_masks(blocks: Blocks, batch: int, draws: np.random.Generator | Draws) -> NDArray[np.bool_]:
    """[batch, rows, columns] bool masks with `blocks.hidden` patches each.

    A rectangle is taken if it hides something new and not too much. Where ten in a row are not, single patches make up
    the number.
    """
    draws = BlockDraws(draws) if isinstance(draws, np.random.Generator) else draws
    mask = np.zeros((batch, *blocks.grid), dtype=bool)
    failures = np.zeros(batch, dtype=np.int64)
    while True:
        remaining = blocks.hidden - mask.sum(axis=(1, 2))
        open_rows = np.flatnonzero((remaining > 0) & (failures < _TRIES))
        if not len(open_rows):
            break
        taken = _add_blocks(mask, open_rows, remaining[open_rows], blocks, draws)
        failures[open_rows] = np.where(taken, 0, failures[open_rows] + 1)
    for row in np.flatnonzero(remaining > 0):
        single = mask[row].reshape(-1)
        single[draws.choose(np.flatnonzero(~single), int(remaining[row]))] = True
    return mask


def _add_blocks(
    mask: NDArray[np.bool_],
    images: NDArray[np.int64],
    remaining: NDArray[np.int64],
    blocks: Blocks,
    draws: Draws,
) -> NDArray[np.bool_]:
    """Tries one rectangle in each of `images`; returns in which it was taken, [images] bool."""
    rows, columns = blocks.grid
    reach = np.full(len(images), math.log(1 / blocks.least_aspect))
    area = draws.uniform(np.full(len(images), float(blocks.smallest)), remaining.astype(np.float64))
    aspect = np.exp(draws.uniform(-reach, reach))
    heights = np.round(np.sqrt(area * aspect)).astype(np.int64)
    widths = np.round(np.sqrt(area / aspect)).astype(np.int64)
    taken = (heights < rows) & (widths < columns)
    if not taken.any():
        return taken
    fitting = np.flatnonzero(taken)
    heights, widths = heights[fitting], widths[fitting]
    tops, lefts = draws.integers(rows - heights), draws.integers(columns - widths)
    down, across = np.arange(rows)[:, None], np.arange(columns)
    inside = (down >= _per_image(tops)) & (down < _per_image(tops + heights))
    inside = inside & (across >= _per_image(lefts)) & (across < _per_image(lefts + widths))
    covered = mask[images[fitting]]
    new = heights * widths - (inside & covered).sum(axis=(1, 2))
    good = (new > 0) & (new <= remaining[fitting])
    mask[images[fitting[good]]] = (covered | inside)[good]
    taken[fitting] = good
    return taken


def _per_image(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    return numbers[:, None, None]


@dataclass(frozen=True)
class WordMasking:
    """How words are hidden.

    Attributes:
        mask_token: what stands in their place.
        vocabulary: random words are drawn below this.
        first_word: and from this one on; what comes before are special tokens.
        masked, kept: shares of the chosen words that become the mask token, and that stay as they are; the others
            become random words (BERT, Devlin et al. 2018, section 3.1).
    """

    mask_token: int
    vocabulary: int
    first_word: int = 3
    masked: float = 0.8
    kept: float = 0.1


@dataclass(frozen=True)
class WordDraws:
    """The numbers behind masked texts, each [texts, tokens].

    Attributes:
        order: words with small values are chosen first.
        kinds: in [0, 1), what becomes of a chosen word: mask token, itself, random word, in this order.
        words: long, the random words.
    """

    order: Tensor
    kinds: Tensor
    words: Tensor

    @classmethod
    def draw(cls, shape: torch.Size, how: WordMasking, generator: torch.Generator | None) -> WordDraws:
        """New ones."""
        return cls(
            torch.rand(shape, generator=generator),
            torch.rand(shape, generator=generator),
            torch.randint(how.first_word, how.vocabulary, shape, generator=generator),
        )


def mask_words(
    input_ids: Tensor,
    lengths: Tensor,
    ratio: float,
    how: WordMasking,
    *,
    generator: torch.Generator | None = None,
    draws: WordDraws | None = None,
) -> tuple[Tensor, Tensor]:
    """Hides a share of each text's words.

    Of n tokens int(ratio * n + 0.5) are chosen, at least one and at most n - 1; never the first, which begins the
    text, while the one that ends it may be.

    Args:
        input_ids: [texts, tokens], padded on the right.
        lengths: [texts], real tokens.
        ratio: 0..1.
        draws: instead of the generator's.
    Returns:
        The masked texts, and [texts, tokens] bool which tokens were chosen, also those that stay as they are.
    Raises:
        InputError: the ratio is out of range.
    """
    _check_ratio(ratio)
    draws = draws or WordDraws.draw(input_ids.shape, how, generator)
    places = torch.arange(input_ids.shape[1])
    eligible = (places > 0) & (places < lengths[:, None])
    count = torch.minimum((lengths * ratio + 0.5).long(), lengths - 1).clamp(min=1)
    rank = draws.order.masked_fill(~eligible, torch.inf).argsort(dim=1).argsort(dim=1)
    chosen = (rank < count[:, None]) & eligible
    becomes_mask = chosen & (draws.kinds < how.masked)
    becomes_random = chosen & (draws.kinds >= how.masked + how.kept)
    masked = input_ids.masked_fill(becomes_mask, how.mask_token)
    return torch.where(becomes_random, draws.words, masked), chosen


def _check_ratio(ratio: float) -> None:
    if not 0 <= ratio <= 1:
        raise InputError(f"a share of {ratio} can't be hidden: give a number from 0 to 1")
