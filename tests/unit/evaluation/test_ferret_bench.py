"""Judged answers."""

from __future__ import annotations

import math

import pytest

from koine.data.ferret_bench import BenchQuestion
from koine.errors import InputError
from koine.evaluation.answers import Answer
from koine.evaluation.ferret_bench import judge_prompt, parse_scores, rewritten, rewritten_text, score, score_reviews


def question(category: str = "refer_desc", rule: str = "") -> BenchQuestion:
    return BenchQuestion("3", category, "1.jpg", "What is it?", "Objects: a door.", "A door.", rule)


ANSWER = Answer(("The door ", (10.0, 5.0, 50.0, 50.0), " is red."), (100, 50))


def test_boxes_are_left_out_or_written_as_fractions() -> None:
    assert rewritten(ANSWER, "refer_desc") == "The door is red."
    assert rewritten(ANSWER, "ground_conv") == "The door [0.100, 0.100, 0.500, 1.000] is red."
    assert rewritten(Answer.of_text("A door."), "ground_conv") == "A door."


def test_brackets_of_other_kinds_vanish_from_grounded_text() -> None:
    assert rewritten_text("a [1, 2] b [x] c [1, 2, 3, 400]", "ground_conv") == "a  b  c [0.001, 0.002, 0.003, 0.400]"


def test_the_prompt_holds_everything_in_order() -> None:
    prompt = judge_prompt(question(), "It is red.")
    order = [
        "Objects: a door.",
        "What is it?",
        "[Assistant 1]\nA door.",
        "[Assistant 2]\nIt is red.",
        "[System]",
    ]
    places = [prompt.index(text) for text in order]
    assert places == sorted(places)
    assert "20 %" in judge_prompt(question("ground_conv"), "x")
    assert "20 %" not in prompt
    assert judge_prompt(question(rule="Rate them."), "x").endswith("[System]\nRate them.\n\n")


@pytest.mark.parametrize(
    ("review", "expected"), [("8 6.5\nGood.", (8, 6.5)), ("8,6", (8, 6)), ("8 out of 10", (-1, -1))]
)
def test_scores_are_parsed(review: str, expected: tuple[float, float]) -> None:
    assert parse_scores(review) == expected


def test_scores_are_relative_to_the_reference() -> None:
    reviews = ["8 4", "10 5", "no idea", "5 10"]
    metrics = score_reviews(reviews, ["refer_desc"] * 3 + ["ground_conv"])
    assert metrics["refer_desc"] == pytest.approx(50)
    assert metrics["ground_conv"] == pytest.approx(200)
    assert metrics["mean"] == pytest.approx(125)
    assert metrics["refer_desc_published"] == pytest.approx(100 * (4 + 5 - 1) / (8 + 10 - 1))
    assert metrics["unreadable"] == 0.25
    assert math.isnan(score_reviews(["none"], ["refer_desc"])["refer_desc"])


def test_any_callable_judges() -> None:
    seen: list[str] = []

    def judge(prompt: str) -> str:
        seen.append(prompt)
        return "10 7\nbecause"

    assert score([ANSWER], [question()], judge=judge)["refer_desc"] == pytest.approx(70)
    assert "The door is red." in seen[0]
    with pytest.raises(InputError, match="ferret-bench has no judge: pass judge="):
        score([ANSWER], [question()])
