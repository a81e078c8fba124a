"""VQAv2's accuracy on answers that can be counted by hand."""

from __future__ import annotations

import pytest

from koine.data.vqav2 import VqaQuestion
from koine.errors import InputError
from koine.evaluation.answers import Answer
from koine.evaluation.vqav2 import accuracy, normalize, score, soft_score


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        ("A Cat.", "cat"),
        ("two dogs", "2 dogs"),
        ("dont", "don't"),
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("twas", "'twas"),
        ("1,000", "1000"),
        ("red, blue", "red blue"),
        ("red,blue", "red blue"),
        ("left/right", "left right"),
        ("3.5", "3.5"),
        ("3.", "3"),
        ("none", "0"),
        ('the "big"   one', "big 1"),
    ],
)
def test_normalisation(answer: str, normal: str) -> None:
    assert normalize(answer) == normal


def test_three_who_agree_with_an_answer_make_it_right() -> None:
    people = ["red"] * 3 + ["blue"] * 2 + ["green"] * 5
    # leaving out one of the three leaves two: 3 x 2/3 + 7 x 1, over ten
    assert accuracy("Red.", people) == pytest.approx(0.9)
    assert accuracy("blue", people) == pytest.approx((2 * 1 / 3 + 8 * 2 / 3) / 10)
    assert accuracy("green", people) == 1.0
    assert accuracy("pink", people) == 0.0


def test_answers_on_which_all_agree_are_compared_as_they_stand() -> None:
    assert accuracy("two", ["2"] * 10) == 0.0
    assert accuracy("two", ["2"] * 9 + ["3"]) == 1.0
    assert accuracy(" 2\n", ["2"] * 10) == 1.0


def test_score_by_type_of_answer() -> None:
    questions = [
        VqaQuestion(1, "", "?", ("yes",) * 10, "yes/no"),
        VqaQuestion(2, "", "?", ("4",) * 10, "number"),
        VqaQuestion(3, "", "?", ("no",) * 10, "yes/no"),
    ]
    metrics = score([Answer.of_text(text) for text in ("yes", "4", "yes")], questions)
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    assert (metrics["yes/no"], metrics["number"]) == (0.5, 1.0)
    assert 0 <= metrics["accuracy_low"] < 2 / 3 < metrics["accuracy_high"] <= 1


def test_a_test_split_cannot_be_scored_here() -> None:
    with pytest.raises(InputError, match="question 7 has no people's answers"):
        score([Answer.of_text("yes")], [VqaQuestion(7, "", "?")])


def test_soft_scores_of_training_targets() -> None:
    assert [soft_score(people) for people in range(6)] == [0, 0.3, 0.6, 0.9, 1.0, 1.0]
