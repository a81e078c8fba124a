"""Intersection over union."""

from __future__ import annotations

import math

import numpy as np
import pytest

from koine.evaluation.boxes import accuracy_at, box_areas, box_iou


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1.0),
        ((0, 0, 10, 10), (5, 0, 15, 10), 50 / 150),
        ((0, 0, 10, 10), (10, 0, 20, 10), 0.0),
        ((0, 0, 10, 10), (2, 2, 4, 4), 0.04),
        ((5, 5, 5, 5), (5, 5, 5, 5), 0.0),
        ((10, 10, 0, 0), (0, 0, 10, 10), 0.0),
        ((0, 0, 0, 0), (0, 0, 10, 10), 0.0),
    ],
)
def test_pairs(first: tuple[float, ...], second: tuple[float, ...], expected: float) -> None:
    assert box_iou(first, second) == pytest.approx(expected)
    assert box_iou(second, first) == pytest.approx(expected)


def test_a_border_of_one_counts_the_last_pixel() -> None:
    assert box_areas((0, 0, 9, 9), border=1.0) == 100
    assert box_iou((0, 0, 9, 9), (5, 0, 14, 9), border=1.0) == pytest.approx(50 / 150)
    assert box_iou((0, 0, 9, 9), (9, 9, 12, 12), border=1.0) == pytest.approx(1 / 115)


def test_all_against_all_agrees_with_counting_pixels() -> None:
    generator = np.random.default_rng(0)
    corners = np.sort(generator.integers(0, 20, size=(2, 6, 2, 2)), axis=2)
    first, second = corners.reshape(2, 6, 4)
    grid = np.mgrid[:20, :20]

    def pixels(box: np.ndarray) -> np.ndarray:
        y, x = grid
        return (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])

    ious = box_iou(first[:, None], second)
    assert ious.shape == (6, 6)
    for row, a in enumerate(first):
        for column, b in enumerate(second):
            shared, union = (pixels(a) & pixels(b)).sum(), (pixels(a) | pixels(b)).sum()
            assert ious[row, column] == pytest.approx(shared / union if union else 0.0)


def test_accuracy_includes_the_threshold() -> None:
    assert accuracy_at([0.5, 0.49, 1.0, 0.0]) == 0.5
    assert accuracy_at([0.5, 0.49], threshold=0.4) == 1.0
    assert math.isnan(accuracy_at([]))
