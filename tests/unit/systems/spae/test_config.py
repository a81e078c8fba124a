"""Sizes that fit together, and a line of error for those that don't."""

from __future__ import annotations

import pytest

from koine.errors import InputError
from koine.systems.spae.config import SpaeConfig
from tests.unit.systems.spae.conftest import tiny_config


def test_published_pyramid_by_default():
    config = SpaeConfig()
    assert config.stride == 8
    assert config.layers.lengths == (1, 5, 21, 85, 341, 597)
    assert config.thresholds == [0.98, 0.95, 0.9, 0.85, 0.8]


def test_nano_has_213_words():
    config = SpaeConfig.nano(200)
    assert config.layers.lengths == (1, 5, 21, 85, 149, 213)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"image_size": 2}, "image_size 2 is not a multiple of the network's stride 4: give 4"),
        ({"image_size": 18}, "image_size 18 is not a multiple of the network's stride 4"),
        ({"pyramid": (1, 2, 8)}, "the pyramid ends with 8 x 8 places, but pictures of 16 pixels become 4 x 4"),
        ({"pyramid": (3, 4)}, "layer 1 of the pyramid"),
        ({"filters": 6}, "6 channels can't be cut into 4 groups"),
        ({"attention_heads": 3}, "can't be shared by 3 heads"),
        ({"thresholds": (0.9,) * 4}, "4 thresholds for 3 layers"),
        ({"codebook": "learnt"}, "a learnt codebook has one layer, not 3"),
        ({"rule": "sum"}, "rule of SPAE"),
        ({"filling": "noise"}, "filling of SPAE"),
        ({"groups": 0}, "groups of SPAE is 0: give a whole number of at least 1"),
        ({"patch": 0}, "patch of SPAE is 0"),
        ({"image_size": "16"}, "image_size of SPAE is '16'"),
        ({"attention_heads": -1}, "attention_heads of SPAE is -1: give a whole number, 0 for none"),
        ({"multipliers": ()}, r"multipliers of SPAE is \(\): give a list of whole numbers"),
        ({"pyramid": 4}, "pyramid of SPAE is 4: give a list of whole numbers"),
        ({"thresholds": (1.5,)}, r"thresholds of SPAE is \(1.5,\): give a list of numbers from 0 to 1"),
    ],
)
def test_sizes_that_do_not_fit(options, message):
    with pytest.raises(InputError, match=message):
        tiny_config(**options)


def test_config_survives_being_saved(tmp_path):
    config = tiny_config(rule="residual")
    config.save_pretrained(tmp_path)
    again = SpaeConfig.from_pretrained(tmp_path)
    assert (again.pyramid, again.thresholds, again.rule) == ([1, 2, 4], [0.9, 0.8], "residual")


def test_unknown_size_of_magvit():
    with pytest.raises(InputError, match="size of MAGVIT"):
        SpaeConfig.magvit("XL")
