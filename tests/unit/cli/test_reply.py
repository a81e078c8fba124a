"""Replies as text, as JSON and as a picture."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

from koine import Entity, Image, InputError, Region, Reply, Sentence
from koine.cli.reply import as_json, as_picture, as_ranking, as_text, labelled_regions

PICTURE = Image(np.full((20, 30, 3), 90, np.uint8))
BOX = Region.box(PICTURE, 1, 2, 13.4, 14)


def test_regions_are_written_as_pixels():
    assert (
        as_text(Sentence("a cube ", BOX, " near ", Region.point(PICTURE, 3, 4))) == "a cube [1, 2, 13, 14] near [3, 4]"
    )


def test_other_parts_are_named():
    assert as_text(Sentence("see ", PICTURE, Entity("it", BOX))) == "see <Image(30x20)><it: [1, 2, 13, 14]>"


def test_what_was_compared_is_ranked():
    assert as_ranking(Reply("a ball", details={"probabilities": {"a cube": 0.1, "a ball": 0.9}}), []) == (
        "0.900  a ball\n0.100  a cube"
    )
    found = Reply(PICTURE, details={"similarities": [0.2, 0.25]})
    assert as_ranking(found, ["table.png", "street.png"]) == "0.250  street.png\n0.200  table.png"
    assert as_ranking(Reply("hello"), ["table.png"]) == ""


def test_json_holds_everything_that_json_can():
    @dataclass
    class Step:
        name: str
        score: np.float32

    reply = Reply(
        "a cube ",
        BOX,
        plan=["grasp"],
        steps=[Step("LOC", np.float32(0.5))],
        details={"tokens": np.arange(2), "model": object(), "pairs": [(1, "a")], "said": Sentence("x ", BOX)},
    )
    written = json.loads(json.dumps(as_json(Sentence(PICTURE), reply)))
    assert written["text"] == "a cube " and written["written"] == "a cube [1, 2, 13, 14]"
    assert written["regions"] == [{"kind": "box", "bounds": [1, 2, 13.4, 14], "image": 0}]
    assert written["plan"] == ["grasp"] and written["steps"] == [{"name": "LOC", "score": 0.5}]
    assert written["details"]["tokens"] == [0, 1] and written["details"]["pairs"] == [[1, "a"]]
    assert written["details"]["said"] == "x [1, 2, 13, 14]" and written["details"]["model"].startswith("<object")


def test_the_label_of_a_region_is_the_phrase_before_it():
    sentence = Sentence("Yes. The red cube ", BOX, " is left of a ball ", BOX, ", ", BOX)
    assert [label for _, label in labelled_regions(sentence)] == ["The red cube", "is left of a ball", ""]


def test_the_picture_shows_the_regions():
    picture = as_picture(Sentence(PICTURE, "where?"), Reply("there ", BOX))
    assert picture.width % 30 == 0 and picture.width > 600
    assert len(np.unique(picture.pixels.reshape(-1, 3), axis=0)) > 2


def test_only_regions_of_the_shown_picture_are_drawn():
    other = Image(np.full((20, 30, 3), 60, np.uint8))
    alone = as_picture(Sentence(PICTURE), Reply("there ", BOX))
    both = as_picture(Sentence(PICTURE, Region.box(other, 5, 5, 9, 9)), Reply("there ", BOX, Region.point(other, 1, 1)))
    assert both == alone


def test_a_picture_that_the_reply_made_is_given_as_it_is():
    made = Image(np.zeros((5, 5, 3), np.uint8))
    assert as_picture(Sentence(PICTURE), Reply("here", made)) is made


def test_without_any_picture_there_is_nothing_to_write():
    with pytest.raises(InputError, match="no picture to write"):
        as_picture(Sentence("hello"), Reply("hello"))
