"""Mixes data sets, each taken a number of times that needn't be whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Generic, TypeVar, overload

import numpy as np

from koine.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")


def repeat_indices(size: int, repeats: float, generator: np.random.Generator) -> NDArray[np.int64]:
    """Which of `size` records to take: floor(repeats) whole copies, then ceil(size x the rest) draws with replacement.

    This is Ferret's rule. With repeats below 1, some records are hence drawn twice and others not at all.

    Returns:
        indices: [n] in 0..size - 1, copies first.
    Raises:
        InputError: repeats is negative or not finite, or there is nothing to draw from.
    """
    if not (math.isfinite(repeats) and repeats >= 0):
        raise InputError(f"a data set can't be taken {repeats} times: give a number of at least 0")
    copies = math.floor(repeats)
    draws = math.ceil(size * (repeats - copies))
    whole = np.tile(np.arange(size, dtype=np.int64), copies)
    drawn = generator.integers(size, size=draws) if draws else np.empty(0, dtype=np.int64)
    return np.concatenate([whole, drawn])


class Mixture(Sequence[T], Generic[T]):
    """Several sequences of records as one shuffled sequence.

    The order is drawn once, from the generator that is given; nothing but indices is held.
    """

    def __init__(
        self, sources: Sequence[Sequence[T]], repeats: Sequence[float], generator: np.random.Generator
    ) -> None:
        """Takes the sources and how often each is repeated.

        Raises:
            InputError: unequal numbers of sources and repeats, or a repeat that `repeat_indices` refuses.
        """
        if len(sources) != len(repeats):
            raise InputError(f"{len(sources)} data sets but {len(repeats)} repeats: give one for each")
        self._sources = tuple(sources)
        taken = [repeat_indices(len(source), often, generator) for source, often in zip(sources, repeats, strict=True)]
        source = np.repeat(np.arange(len(taken), dtype=np.int64), [len(indices) for indices in taken])
        order = generator.permutation(len(source))
        self._source = source[order]
        self._index = np.concatenate([*taken, np.empty(0, dtype=np.int64)])[order]

    def __len__(self) -> int:
        return len(self._source)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        return self._sources[self._source[index]][int(self._index[index])]
