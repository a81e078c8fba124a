"""Yes and no."""

from __future__ import annotations

import pytest

from koine.data.pope import PopeQuestion
from koine.evaluation.answers import Answer
from koine.evaluation.pope import says_yes, score


@pytest.mark.parametrize(
    ("answer", "yes"),
    [
        ("Yes, there is a dog.", True),
        ("No, there is no dog.", False),
        ("There is, not far away, a dog.", False),
        ("Yes. There is no doubt.", True),
        ("I see nothing.", True),
        ("", True),
        ("No.", False),
    ],
)
def test_reading_an_answer(answer: str, yes: bool) -> None:
    assert says_yes(answer) is yes


def question(label: str, category: str = "random") -> PopeQuestion:
    return PopeQuestion("1", category, "", "", label)


def test_five_figures() -> None:
    said = ["yes", "yes", "no", "no", "yes"]
    true = ["yes", "no", "no", "yes", "yes"]
    metrics = score([Answer.of_text(text) for text in said], [question(label) for label in true])
    assert metrics["accuracy"] == pytest.approx(3 / 5)
    assert metrics["precision"] == metrics["recall"] == metrics["f1"] == pytest.approx(2 / 3)
    assert metrics["yes_ratio"] == pytest.approx(3 / 5)
    assert not any("." in name for name in metrics)


def test_categories_are_reported_apart() -> None:
    questions = [question("yes"), question("no", "popular")]
    metrics = score([Answer.of_text("yes")] * 2, questions)
    assert (metrics["accuracy"], metrics["random.accuracy"], metrics["popular.accuracy"]) == (0.5, 1.0, 0.0)


def test_ratios_without_cases_are_zero() -> None:
    metrics = score([Answer.of_text("no")], [question("no")])
    assert [metrics[name] for name in ("accuracy", "precision", "recall", "f1", "yes_ratio")] == [1, 0, 0, 0, 0]
