"""Pictures in the colours of others keep their brightness, and so their shapes, and nothing of their own colours."""

import numpy as np
import pytest

from koine.data.world_recolouring import LUMA, draw_saturation, exchange_colours
from koine.world.render import render
from koine.world.scene import sample_scene


@pytest.fixture(scope="module")
def images():
    return np.stack([render(sample_scene(seed, n=3)).image for seed in (3, 4)])


def test_without_saturation_a_picture_is_its_luma(images):
    grey = exchange_colours(images, images[::-1], np.zeros(2))
    assert (np.abs(grey - (images @ LUMA)[..., None]) <= 1).all()


def test_in_its_own_colours_a_picture_stays_as_it_is(images):
    assert (np.abs(exchange_colours(images, images, np.ones(2)).astype(int) - images) <= 1).all()


def test_a_picture_takes_the_colours_of_the_other_and_keeps_its_brightness():
    grey, reddish = np.full((1, 4, 4, 3), 120, np.uint8), np.full((1, 4, 4, 3), (200, 90, 100), np.uint8)
    mixed = exchange_colours(grey, reddish, np.ones(1))[0, 0, 0]
    assert mixed @ LUMA == pytest.approx(120, abs=1.5)
    assert mixed[0] - mixed[1] == pytest.approx(110, abs=2)
    stronger = exchange_colours(grey, reddish, np.array([1.2]))[0, 0, 0]
    assert int(stronger[0]) - stronger[1] == pytest.approx(132, abs=2)


def test_own_colours_leave_no_trace(images):
    """Two pictures of one brightness are equal after the exchange, whatever their colours were."""
    luma = np.round(images @ LUMA).astype(np.uint8)
    grey = np.repeat(luma[..., None], 3, axis=-1)
    first = exchange_colours(images, images[::-1], np.ones(2))
    second = exchange_colours(grey, images[::-1], np.ones(2))
    assert (np.abs(first.astype(int) - second) <= 1).all()


def test_saturations_are_drawn_by_the_generator():
    drawn = draw_saturation(4000, np.random.default_rng(0))
    assert np.array_equal(drawn, draw_saturation(4000, np.random.default_rng(0)))
    assert (drawn == 0).mean() == pytest.approx(0.25, abs=0.03)
    assert drawn[drawn > 0].min() >= 0.5 and drawn.max() <= 1.2
