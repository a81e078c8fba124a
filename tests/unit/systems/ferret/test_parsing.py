"""Answers become sentences; what isn't a box stays text."""

from __future__ import annotations

import numpy as np
import pytest

from koine.sentence import Image, Region
from koine.systems.ferret.parsing import read_answer, read_phrases, to_pixels


@pytest.fixture
def image() -> Image:
    return Image(np.zeros((50, 200, 3), dtype=np.uint8))


def test_boxes_stand_among_the_words(image):
    reply = read_answer("The man [10, 20, 30, 40] rides a horse [0, 0, 100, 100]. It is sunny.", image, 100)
    assert list(reply) == [
        "The man",
        Region.box(image, 20, 10, 60, 20),
        " rides a horse",
        Region.box(image, 0, 0, 200, 50),
        ". It is sunny.",
    ]
    assert reply.text == "The man rides a horse. It is sunny."
    assert [phrase for phrase, _ in reply.details["phrases"]] == ["The man", "rides a horse"]


def test_a_phrase_ends_at_punctuation(image):
    reply = read_answer("No, but there is a red cube [1, 2, 3, 4]; [5, 6, 7, 8]", image, 100)
    assert [phrase for phrase, _ in reply.details["phrases"]] == ["but there is a red cube", ""]


@pytest.mark.parametrize(
    "text",
    [
        "no box",
        "",
        "[1, 2, 3]",
        "[1.5, 2, 3, 4]",
        "[30, 2, 10, 4]",
        "[10, 2, 10, 4]",
        "[1, 4, 2, 4]",
        "[1, 2, 3, 101]",
        "open [1, 2",
        "[1, 2]",
    ],
)
def test_what_is_no_box_of_the_image_stays_text(image, text):
    reply = read_answer(text, image, 100)
    assert (reply.text, reply.regions, reply.details["phrases"]) == (text, (), [])


def test_spaces_inside_brackets_do_not_matter(image):
    assert len(read_answer("x [1,2,3,4] y [ 5 , 6 , 7 , 8 ]", image, 100).regions) == 2


def test_without_an_image_everything_is_text():
    assert list(read_answer("cube [1, 2, 3, 4].", None)) == ["cube [1, 2, 3, 4]."]


@pytest.mark.parametrize("text", ["a [1, 2, 3]", "a [1, 2, 3, 4, 5]", "a [,]"])
def test_the_demonstration_s_reader_refuses_other_brackets(text):
    with pytest.raises(ValueError, match=r"four coordinates|invalid literal"):
        read_phrases(text, (640, 427))


def test_pixels_are_cut_off():
    assert to_pixels([1, 2, 3, 999], (640, 427)) == (0, 0, 1, 426)
