"""Recall of phrase grounding."""

from __future__ import annotations

import pytest

from koine.data.flickr30k_entities import GroundedCaption, Phrase
from koine.evaluation.answers import Answer
from koine.evaluation.flickr30k_entities import same_phrase, score

LEFT, RIGHT = (0.0, 0.0, 10.0, 10.0), (10.0, 0.0, 20.0, 10.0)
BOTH = (0.0, 0.0, 20.0, 10.0)
FAR = (50.0, 50.0, 60.0, 60.0)


def caption(*phrases: Phrase) -> GroundedCaption:
    return GroundedCaption("1_0", "1", "1.jpg", 100, 100, "", phrases)


def answer(*pairs: tuple[str, tuple[float, ...]]) -> Answer:
    parts: list[object] = []
    for phrase, box in pairs:
        parts += [f"{phrase} ", box, ". "]
    return Answer(tuple(parts), (100, 100))  # type: ignore[arg-type]


def test_the_first_box_of_the_same_phrase_counts() -> None:
    asked = caption(Phrase("A cup", "1", ("other",), 0, (LEFT,)), Phrase("a man", "2", ("people",), 3, (RIGHT,)))
    metrics = score([answer(("a man", RIGHT), ("the cup", LEFT), ("a cup", FAR), ("a cup", LEFT))], [asked])
    assert metrics["recall@1.all"] == 0.5
    assert metrics["recall@1.people"] == 1.0
    assert metrics["recall@1.other"] == 0.0
    assert metrics["recall@5.other"] == metrics["recall@10.all"] == metrics["recall@all.all"] == 1.0


def test_truth_of_several_boxes() -> None:
    asked = caption(Phrase("cups", "1", ("other",), 0, (LEFT, RIGHT)))
    for box, merged, any_one in ((BOTH, 1.0, 1.0), (LEFT, 1.0, 1.0), ((0.0, 0.0, 9.0, 10.0), 0.0, 1.0)):
        answers = [answer(("cups", box))]
        assert score(answers, [asked])["recall@1.all"] == merged
        assert score(answers, [asked], truth="any")["recall@1.all"] == any_one


def test_a_phrase_without_a_box_is_missed() -> None:
    asked = caption(Phrase("cups", "1", ("other", "bodyparts"), 0, (LEFT,)))
    metrics = score([Answer.of_text("I can't say.")], [asked])
    assert [metrics[f"recall@all.{category}"] for category in ("all", "other", "bodyparts")] == [0, 0, 0]


@pytest.mark.parametrize(
    ("said", "asked", "same"), [("A  Cup.", "a cup", True), ("cups", "cup", False), ("", "", True)]
)
def test_same_phrase(said: str, asked: str, same: bool) -> None:
    assert same_phrase(said, asked) is same
