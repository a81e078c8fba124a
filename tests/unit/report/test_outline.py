"""Outlines: closed chains round a mask, cut evenly into dashes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koine.report.outline import dashes, outlines, rims
from koine.sentence import Image, Region


def signed_area(path: np.ndarray) -> float:
    """Shoelace formula; with y downwards, positive if the inside is on the right-hand side."""
    x, y = path.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def test_one_pixel_has_a_square_rim():
    mask = np.zeros((4, 5), bool)
    mask[2, 3] = True
    [rim] = rims(mask)
    assert sorted(map(tuple, rim)) == [(3, 2), (3, 3), (4, 2), (4, 3)]


def test_a_hole_has_a_rim_of_its_own():
    mask = np.zeros((7, 7), bool)
    mask[1:6, 1:6] = True
    mask[3, 3] = False
    assert sorted(abs(signed_area(rim)) for rim in rims(mask)) == [1, 25]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9))
def test_rims_enclose_exactly_the_mask_and_step_by_single_edges(seed, height, width):
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    found = rims(mask)
    assert sum(signed_area(rim) for rim in found) == mask.sum()
    for rim in found:
        np.testing.assert_array_equal(np.abs(np.roll(rim, -1, axis=0) - rim).sum(axis=1), 1)


def test_the_outline_of_a_box_is_its_corners():
    image = Image(np.zeros((20, 30, 3), np.uint8))
    [path] = outlines(Region.box(image, 1, 2, 9, 12))
    assert path.tolist() == [[1, 2], [9, 2], [9, 12], [1, 12]]


def test_a_masks_outline_is_smooth_and_stays_within_a_pixel_of_its_rim():
    image = Image(np.zeros((20, 30, 3), np.uint8))
    rows, columns = np.indices((20, 30))
    [path] = outlines(Region.scribble(image, (rows - 10) ** 2 + (columns - 15) ** 2 < 36))
    assert abs(np.hypot(path[:, 0] - 15.5, path[:, 1] - 10.5) - 6).max() < 1


@pytest.mark.parametrize(("on", "off"), [(3.0, 2.0), (0.0, 2.0), (50.0, 50.0)])
def test_dashes_share_the_length_evenly(on, off):
    square = np.array([(0, 0), (10, 0), (10, 10), (0, 10)], float)
    pieces = dashes(square, on, off)
    lengths = [np.hypot(*np.diff(piece, axis=0).T).sum() for piece in pieces]
    assert len(pieces) == max(1, round(40 / (on + off)))
    np.testing.assert_allclose(lengths, 40 / len(pieces) * on / (on + off))


def test_a_dash_follows_the_corner():
    square = np.array([(0, 0), (10, 0), (10, 10), (0, 10)], float)
    first = dashes(square, 15, 5)[0]
    assert first.tolist() == [[0, 0], [10, 0], [10, 5]]
