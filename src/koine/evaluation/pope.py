"""POPE: does a system see objects that aren't there? Accuracy, precision, recall, F1 and the share of yes.

The definition is that of arXiv:2305.10355, section 5: an answer is read as yes or no, and yes is the positive class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from koine.evaluation.answers import Answer
from koine.evaluation.statistics import wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from koine.data.pope import PopeQuestion


def says_yes(answer: str) -> bool:
    """Reads an answer: no if `no` or `not` is among the words before the first full stop, else yes.

    Everything that isn't denied counts as yes ("nothing here" too), as in the published scorer. Case doesn't matter.
    """
    words = answer.lower().split(".")[0].replace(",", "").split(" ")
    return "no" not in words and "not" not in words


def score(answers: Sequence[Answer], questions: Sequence[PopeQuestion]) -> dict[str, float]:
    """The five figures over all questions, and for each category if there are several, such as `popular.accuracy`.

    Returns:
        accuracy (with _low and _high of a Wilson interval of 95 %), precision, recall, f1 and yes_ratio, all 0..1.
    """
    said = np.array([says_yes(answer.text) for answer in answers], dtype=bool)
    true = np.array([question.label == "yes" for question in questions], dtype=bool)
    categories = np.array([question.category for question in questions], dtype=object)
    metrics = yes_no_metrics(said, true)
    names = list(dict.fromkeys(categories))
    if len(names) > 1:
        for name in names:
            chosen = categories == name
            of_category = yes_no_metrics(said[chosen], true[chosen])
            metrics |= {f"{name or 'other'}.{metric}": value for metric, value in of_category.items()}
    return metrics


def yes_no_metrics(said: NDArray[np.bool_], true: NDArray[np.bool_]) -> dict[str, float]:
    """The five figures for answers [n] and labels [n]; a ratio without any case in its denominator is 0."""
    found = int((said & true).sum())
    precision, recall = _ratio(found, int(said.sum())), _ratio(found, int(true.sum()))
    return wilson(int((said == true).sum()), len(true)).named("accuracy") | {
        "precision": precision,
        "recall": recall,
        "f1": _ratio(2 * precision * recall, precision + recall),
        "yes_ratio": _ratio(int(said.sum()), len(said)),
    }


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
