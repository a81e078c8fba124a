"""From command-line words to a prompt."""

import numpy as np
import pytest
from PIL import Image as pil

from koine import Image, InputError, Region, Sentence
from koine.cli.prompt import compose, read_regions, read_settings

PICTURE = Image(np.zeros((20, 30, 3), np.uint8))
FIRST, SECOND = Region.point(PICTURE, 1, 1), Region.point(PICTURE, 2, 2)


def test_regions_go_where_the_text_says():
    sentence = compose("Is {region} left of {region}?", {"image": [PICTURE], "region": [FIRST, SECOND]})
    assert sentence == Sentence(PICTURE, "Is ", FIRST, " left of ", SECOND, "?")


def test_without_a_place_a_region_follows_the_text_and_a_picture_precedes_it():
    assert compose("What is this?", {"image": [PICTURE], "region": [FIRST]}) == Sentence(
        PICTURE, "What is this?", " ", FIRST
    )


def test_pictures_can_be_placed_too():
    other = Image(np.ones((2, 2, 3), np.uint8))
    assert compose("Is {image} like {image}?", {"image": [PICTURE, other]}) == Sentence(
        "Is ", PICTURE, " like ", other, "?"
    )


def test_braces_that_mean_nothing_stay_text():
    assert compose("{colour}?", {"region": []}) == Sentence("{colour}?")


def test_a_place_without_a_region_is_bad_input():
    with pytest.raises(InputError, match=r"2 places \{region\}, but 1 were given"):
        compose("Is {region} left of {region}?", {"region": [FIRST]})


def test_nothing_at_all_is_bad_input():
    with pytest.raises(InputError, match="nothing to respond to"):
        compose("", {"image": [], "region": []})


def test_regions_are_read_in_pixels(tmp_path):
    mask = np.zeros((20, 30), np.uint8)
    mask[3:5, 6:9] = 255
    pil.fromarray(mask).save(tmp_path / "mask.png")
    point, box, scribble = read_regions(PICTURE, ["1.5, 2"], ["0,0,30,20"], [tmp_path / "mask.png"])
    assert (point.kind, box.kind, scribble.kind) == ("point", "box", "mask")
    assert point.center == (1.5, 2) and box.bounds == (0, 0, 30, 20) and scribble.bounds == (6, 3, 9, 5)


@pytest.mark.parametrize("text", ["", "1", "1,2,3", "1;2", "a,b", "1,"])
def test_a_point_in_another_form_is_bad_input(text):
    with pytest.raises(InputError, match=r"--point .* is not of the form X,Y"):
        read_regions(PICTURE, [text], [], [])


def test_a_region_needs_a_picture():
    with pytest.raises(InputError, match="give --image"):
        read_regions(None, ["1,2"], [], [])


def test_settings_are_split_at_the_first_equals_sign():
    assert read_settings(["steps=5", " name = a=b "]) == {"steps": "5", "name": "a=b"}


@pytest.mark.parametrize("setting", ["steps", "=5", ""])
def test_a_word_that_is_no_setting_is_bad_input(setting):
    with pytest.raises(InputError, match="key=value"):
        read_settings([setting])
