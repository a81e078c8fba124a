"""Mixing data sets by repeats."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from koine.data.mixture import Mixture, repeat_indices
from koine.errors import InputError


@pytest.mark.parametrize(("repeats", "count"), [(3, 30), (1, 10), (0.2, 2), (0.25, 3), (2.05, 21), (0, 0)])
def test_whole_copies_and_draws(repeats: float, count: int) -> None:
    indices = repeat_indices(10, repeats, np.random.default_rng(0))
    assert len(indices) == count
    occurrences = Counter(indices.tolist())
    assert all(occurrences[index] >= int(repeats) for index in range(10))
    assert set(occurrences) <= set(range(10))


def test_draws_are_with_replacement() -> None:
    drawn = repeat_indices(10, 0.9, np.random.default_rng(0))
    assert len(set(drawn.tolist())) < 9


@pytest.mark.parametrize("repeats", [-1, float("nan"), float("inf")])
def test_bad_repeats(repeats: float) -> None:
    with pytest.raises(InputError, match="a data set can't be taken"):
        repeat_indices(10, repeats, np.random.default_rng(0))


def test_a_mixture_is_a_shuffled_sequence() -> None:
    sources = [["a", "b"], ["c"] * 10, ["d"]]
    mixture = Mixture(sources, [2, 0.5, 0], np.random.default_rng(0))
    assert Counter(mixture) == {"a": 2, "b": 2, "c": 5}
    assert list(mixture) != sorted(mixture)
    assert mixture[:3] == [mixture[0], mixture[1], mixture[2]]
    assert mixture[-1] == list(mixture)[-1]
    assert list(mixture) == list(Mixture(sources, [2, 0.5, 0], np.random.default_rng(0)))
    with pytest.raises(IndexError):
        mixture[9]


def test_one_repeat_for_each_source() -> None:
    with pytest.raises(InputError, match="2 data sets but 1 repeats"):
        Mixture([[1], [2]], [1], np.random.default_rng(0))
    assert list(Mixture([], [], np.random.default_rng(0))) == []
