"""Strokes stay inside their object and are thin, connected and repeatable."""

from __future__ import annotations

import numpy as np
import pytest

from koine.data.strokes import draw_stroke
from koine.errors import InputError


def disc(radius: int = 40) -> np.ndarray:
    rows, columns = np.mgrid[: 2 * radius + 20, : 2 * radius + 40]
    return (rows - radius - 10) ** 2 + (columns - radius - 20) ** 2 <= radius**2


@pytest.mark.parametrize("seed", range(20))
def test_a_stroke_is_a_thin_part_of_its_object(seed: int) -> None:
    mask = disc()
    stroke = draw_stroke(mask, np.random.default_rng(seed))
    assert stroke.shape == mask.shape
    assert stroke.dtype == np.bool_
    assert not (stroke & ~mask).any()
    assert 9 <= stroke.sum() < 0.75 * mask.sum()


def test_strokes_differ_by_seed_and_repeat() -> None:
    mask = disc()
    one, again, other = (draw_stroke(mask, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (one == again).all()
    assert (one != other).any()


def test_a_stroke_in_a_convex_object_is_in_one_piece() -> None:
    """Each step of a flood fill from one pixel must end up with all of them."""
    stroke = draw_stroke(np.ones((80, 90), dtype=bool), np.random.default_rng(3))
    reached = np.zeros_like(stroke)
    reached[tuple(np.argwhere(stroke)[0])] = True
    for _ in range(stroke.size):
        grown = reached.copy()
        grown[1:] |= reached[:-1]
        grown[:-1] |= reached[1:]
        grown[:, 1:] |= reached[:, :-1]
        grown[:, :-1] |= reached[:, 1:]
        grown &= stroke
        if (grown == reached).all():
            break
        reached = grown
    assert (reached == stroke).all()


def test_thickness_is_a_share_of_the_object() -> None:
    thin, thick = (draw_stroke(disc(), np.random.default_rng(5), thickness=share).sum() for share in (0.05, 0.3))
    assert thick > 2 * thin


def test_the_smallest_objects_have_strokes() -> None:
    mask = np.zeros((5, 7), dtype=bool)
    mask[2, 3] = True
    assert (draw_stroke(mask, np.random.default_rng(0), waypoints=1) == mask).all()
    with pytest.raises(InputError, match=r"object mask of shape \(5, 7\) is empty"):
        draw_stroke(np.zeros((5, 7), dtype=bool), np.random.default_rng(0))
