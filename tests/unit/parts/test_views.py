"""Random views of pictures."""

import numpy as np
import torch

from koine.parts.views import random_square, random_view
from koine.sentence import Image


def picture() -> Image:
    """Red grows to the right, green downwards."""
    across, down = np.meshgrid(np.arange(200), np.arange(100))
    return Image(np.stack((across, 2 * down, 0 * down), axis=-1).astype(np.uint8))


def test_views_are_squares_of_at_least_the_given_share():
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        view = random_view(picture(), 32, generator, smallest=0.5)
        assert view.shape == (3, 32, 32) and view.min() >= 0 and view.max() <= 1
        width = (view[0, 0, -1] - view[0, 0, 0]) * 255 * 32 / 31
        height = (view[1, -1, 0] - view[1, 0, 0]) * 255 / 2 * 32 / 31
        assert width * height > 0.45 * 200 * 100
        assert width > 0, "left stays left"


def test_as_many_are_mirrored_as_asked_for():
    generator = torch.Generator().manual_seed(0)
    views = [random_view(picture(), 8, generator, flips=0.5) for _ in range(200)]
    mirrored = sum(bool(view[0, 0, -1] < view[0, 0, 0]) for view in views)
    assert 75 < mirrored < 125


def test_equal_seeds_give_equal_views():
    first, second = (random_view(picture(), 8, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, second)


def test_squares_are_as_large_as_the_picture_allows_lie_anywhere_and_are_mirrored_half_the_time():
    generator = torch.Generator().manual_seed(0)
    squares = [random_square(picture(), 10, generator) for _ in range(200)]
    spans = np.array([int(square[5, -1, 0]) - int(square[5, 0, 0]) for square in squares])
    assert {square.shape for square in squares} == {(10, 10, 3)}
    assert (abs(abs(spans) - 90) <= 2).all(), "100 of 200 columns, from the middle of one tenth to that of another"
    assert 0.4 < (spans < 0).mean() < 0.6
    lefts = [int(square[..., 0].min()) for square in squares]
    assert min(lefts) < 15 and max(lefts) > 95
