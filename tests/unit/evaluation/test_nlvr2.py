"""Accuracy and consistency, counted by hand."""

from __future__ import annotations

import pytest

from koine.data.nlvr2 import StatementOnPictures
from koine.evaluation.answers import Answer
from koine.evaluation.nlvr2 import says_true, score


def statement(group: str, label: bool) -> StatementOnPictures:
    return StatementOnPictures(f"{group}-x", group, "?", ("a.png", "b.png"), label)


def test_a_sentence_is_consistent_if_right_on_all_its_pictures() -> None:
    statements = [statement("1", True), statement("1", False), statement("2", True), statement("2", True)]
    metrics = score([Answer.of_text(text) for text in ("true", "False", "true", "false")], statements)
    assert metrics["accuracy"] == 0.75
    assert metrics["consistency"] == 0.5
    assert metrics["majority"] == 0.75
    assert metrics["accuracy_low"] < 0.75 < metrics["accuracy_high"]


@pytest.mark.parametrize(
    ("answer", "true"),
    [("True.", True), ("yes, it is", True), ("correct", True), ("false", False), ("No", False), ("", False)],
)
def test_reading_an_answer(answer: str, true: bool) -> None:
    assert says_true(answer) is true
