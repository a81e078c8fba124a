"""Sizes and options: the published models, the nano one, and what can't be."""

from __future__ import annotations

import pytest

from koine.errors import InputError
from koine.systems.ferret.config import FerretConfig
from tests.unit.systems.ferret.conftest import tiny_config


def test_published_models_have_the_published_quirks():
    config = FerretConfig.published("13b")
    assert (config.grid, config.text_config.vocab_size, config.text_config.hidden_size) == (24, 32001, 5120)
    assert (config.region_orientation, config.region_alignment) == ("published", "corners")
    assert config.system_prompt.endswith("instructions. ")
    assert config.longest_answer == 1024


def test_our_own_models_read_the_map_where_the_point_is():
    config = FerretConfig.nano(300)
    assert (config.region_orientation, config.region_alignment) == ("corrected", "centers")
    assert (config.region_token_id, config.grid, config.image_size) == (299, 8, 64)


@pytest.mark.parametrize("size", [(64, 64), (128, 64), (640, 480), (32, 48), (1, 1), (7, 3000)])
def test_a_point_of_the_nano_model_covers_the_same_share_of_every_picture(size):
    config = FerretConfig.nano(300)
    for reach, side in zip(config.point_reach(size), size, strict=True):
        assert 2 * reach + 1 == pytest.approx(max(1, 5 * side / 64))  # pixels of the window


def test_a_point_of_the_published_models_is_eleven_pixels_wide():
    assert FerretConfig.published("7b").point_reach((640, 480)) == (5, 5)


def test_it_survives_saving(tmp_path):
    config = tiny_config(region_features="average", region_coordinates=False)
    config.save_pretrained(tmp_path)
    assert FerretConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"point_radius_unit": "pixels"}, "'pixels'"),
        ({"region_features": "sample"}, "'sample'.*did you mean 'sampler'"),
        ({"sampler_anchors": (8, 9)}, "can't keep 9 of 8 points"),
        ({"sampler_anchors": (8,)}, "differ in length"),
        ({"region_features": "none", "region_coordinates": False}, "leave no trace"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        tiny_config(**options)


def test_an_unknown_size_is_refused():
    with pytest.raises(InputError, match="'70b'"):
        FerretConfig.published("70b")
