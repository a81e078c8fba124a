"""What was said, as strings and boxes."""

from __future__ import annotations

import numpy as np
import pytest

from koine.evaluation.answers import Answer, GroundedPhrase, answer_of
from koine.sentence import Image, Region, Reply

IMAGE = Image(np.zeros((50, 100, 3), dtype=np.uint8))


def test_a_reply_keeps_its_regions_as_boxes_and_no_picture() -> None:
    reply = Reply("A cube ", Region.box(IMAGE, 1, 2, 30, 40), " and a ball ", Region.point(IMAGE, 5, 6), ".", IMAGE)
    answer = answer_of(reply)
    assert answer.parts == ("A cube ", (1, 2, 30, 40), " and a ball ", (5, 6, 5, 6), ".")
    assert answer.size == (100, 50)
    assert answer.text == "A cube  and a ball ."
    assert answer.boxes == ((1, 2, 30, 40), (5, 6, 5, 6))


def test_text_and_answers_are_taken_as_they_are() -> None:
    assert answer_of("yes [1, 2, 3, 4]") == Answer(("yes [1, 2, 3, 4]",), None)
    assert answer_of(Reply("yes")) == Answer(("yes",), None)
    answer = Answer(("a", (1, 2, 3, 4)), (10, 10))
    assert answer_of(answer) is answer


@pytest.mark.parametrize(
    ("parts", "phrases"),
    [
        (("a cube ", 1, ". a ball ", 2, "."), ["a cube", "a ball"]),
        (("The man ", 1, " rides a horse ", 2, "."), ["The man", ""]),
        (("a ", "cube ", 1, " there, and, a ball ", 2), ["a cube", "and, a ball"]),
        ((1, 2, "! x", 3), ["", "", "x"]),
        (("nothing",), []),
    ],
)
def test_phrases_begin_behind_a_delimiter(parts: tuple[str | int, ...], phrases: list[str]) -> None:
    boxes = {number: (float(number), 0.0, number + 1.0, 1.0) for number in (1, 2, 3)}
    answer = Answer(tuple(part if isinstance(part, str) else boxes[part] for part in parts), (10, 10))
    numbers = [part for part in parts if isinstance(part, int)]
    assert answer.phrases == tuple(
        GroundedPhrase(phrase, boxes[number]) for phrase, number in zip(phrases, numbers, strict=True)
    )


def test_written_boxes_are_cut_to_whole_pixels() -> None:
    answer = Answer.of_written("a [999, 1000, 1, 19] b", 100, 50)
    assert answer.parts == ("a ", (99, 50, 0, 0), " b")


@pytest.mark.parametrize(
    "text",
    ["a [1, 2, 3, 4] b [5, 6]", "a [1, 2, 3, 4] b [x]", "a [1, 2 [3, 4, 5, 6]", "no brackets", "open [1, 2, 3, 4"],
)
def test_one_bad_bracket_spoils_an_answer(text: str) -> None:
    answer = Answer.of_written(text, 100, 50)
    assert (answer.boxes, answer.text) == ((), text)


def test_boxes_are_written_back() -> None:
    answer = Answer(("a ", (1, 2, 3, 4), " b ", (5, 6, 7, 8), "."), (10, 10))
    assert answer.written(lambda box: f"<{box[0]:.0f}>") == "a <1> b <5>."
    assert answer.written(lambda box: "") == "a b."
    close = Answer(("a", (1, 2, 3, 4), " b (", (5, 6, 7, 8), ")"), (10, 10))
    assert close.written(lambda box: f"<{box[0]:.0f}>") == "a <1> b (<5>)"
