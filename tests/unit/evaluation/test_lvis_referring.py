"""Two ways of matching an answer with a class."""

from __future__ import annotations

from typing import Any

import pytest

from koine.data.lvis_referring import ReferredObject
from koine.evaluation.answers import Answer
from koine.evaluation.lvis_referring import is_right_as_published, is_right_in_whole_words, score


def thing(name: str, *synonyms: str, wrong: str = "fork") -> ReferredObject:
    fields: dict[str, Any] = {"id": "1", "image": "", "width": 1, "height": 1, "point": (0, 0), "box": (0, 0, 1, 1)}
    return ReferredObject(**fields, stroke_box=None, name=name, synonyms=synonyms, wrong_name=wrong)


@pytest.mark.parametrize(
    ("answer", "object", "published", "whole_words"),
    [
        ("It is a tea cup.", thing("tea_cup"), True, True),
        ("It is a Tea Cup.", thing("tea_cup"), False, True),
        ("It is a plant.", thing("ant"), True, False),
        ("a vehicle", thing("bus", "bus_(vehicle)"), True, True),
        ("a bus", thing("bus_(vehicle)", "autobus"), False, True),
        ("It is a mug, not a fork.", thing("mug"), True, True),
        ("It is not a mug, it is a fork.", thing("mug"), False, False),
        ("Not a mug, but a fork.", thing("mug"), True, False),
        ("Not a fork but a mug.", thing("mug"), True, True),
        ("No, it is a mug.", thing("mug"), True, True),
        ("A mug or a fork.", thing("mug"), True, False),
        ("It is a mug rather than a fork.", thing("mug"), True, True),
        ("Two mugs.", thing("mug"), True, True),
        ("It is a house boat.", thing("house_boat", wrong="boat"), True, True),
        ("It is a notebook, open.", thing("notebook"), False, True),
        ("", thing("mug"), False, False),
    ],
)
def test_matching(answer: str, object: ReferredObject, published: bool, whole_words: bool) -> None:
    assert is_right_as_published(answer, object) is published
    assert is_right_in_whole_words(answer, object) is whole_words


def test_both_accuracies_are_reported() -> None:
    metrics = score([Answer.of_text(text) for text in ("a plant", "an ant", "a fork")], [thing("ant")] * 3)
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    assert metrics["accuracy_whole_words"] == pytest.approx(1 / 3)
    assert metrics["accuracy_whole_words_low"] < 1 / 3 < metrics["accuracy_whole_words_high"]
