"""Acc@0.5 of referring expressions."""

from __future__ import annotations

import numpy as np
import pytest

from koine.data.refcoco import ReferringExpression
from koine.evaluation.answers import Answer
from koine.evaluation.refcoco import overlaps, score

TRUE = (0.0, 0.0, 10.0, 10.0)
HALF = (0.0, 0.0, 10.0, 5.0)  # exactly 0.5 with TRUE
FAR = (50.0, 50.0, 60.0, 60.0)


def reference(data_set: str = "refcoco") -> ReferringExpression:
    return ReferringExpression("1", data_set, "", 100, 100, "it", TRUE)


def answer(*boxes: tuple[float, ...]) -> Answer:
    return Answer(("it ", *boxes), (100, 100))  # type: ignore[arg-type]


def test_first_average_and_best_box() -> None:
    ious = overlaps([[HALF], [FAR, TRUE], [TRUE, (0.0, 0.0, 10.0, 30.0)]], [TRUE] * 3)
    assert ious == pytest.approx(np.array([[0.5, 0.5, 0.5], [0.0, 0.0, 1.0], [1.0, 0.5, 1.0]]))
    assert overlaps([], []).shape == (0, 3)


def test_data_sets_are_scored_apart() -> None:
    answers = [answer(HALF), answer(FAR, TRUE), answer(), answer(TRUE)]
    metrics = score(answers, [reference(), reference(), reference(), reference("refcocog")])
    assert metrics["refcoco.top1"] == pytest.approx(1 / 3)
    assert metrics["refcoco.mean"] == pytest.approx(1 / 3)
    assert metrics["refcoco.upper_bound"] == pytest.approx(2 / 3)
    assert metrics["refcocog.top1"] == 1.0
    assert 0 < metrics["refcocog.top1_low"] < 1
