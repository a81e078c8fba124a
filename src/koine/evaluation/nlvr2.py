"""NLVR2 and NLVR: share of statements judged rightly, and of sentences judged rightly on all their pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from koine.evaluation.answers import Answer
from koine.evaluation.statistics import wilson

if TYPE_CHECKING:
    from koine.data.nlvr2 import StatementOnPictures

_TRUE = frozenset(("true", "yes", "correct"))


def score(answers: Sequence[Answer], statements: Sequence[StatementOnPictures]) -> dict[str, float]:
    """Accuracy and consistency (arXiv:1811.00491, section 5).

    Returns:
        accuracy and consistency, each with _low and _high of a Wilson interval of 95 %; `majority`, the accuracy of
        always saying what is true more often; all 0..1.
    """
    right = [says_true(answer.text) == one.label for answer, one in zip(answers, statements, strict=True)]
    groups: dict[str, list[bool]] = defaultdict(list)
    for mark, one in zip(right, statements, strict=True):
        groups[one.group].append(mark)
    true = sum(one.label for one in statements)
    return {
        **wilson(sum(right), len(right)).named("accuracy"),
        **wilson(sum(map(all, groups.values())), len(groups)).named("consistency"),
        "majority": max(true, len(statements) - true) / len(statements),
    }


def says_true(answer: str) -> bool:
    """Whether an answer begins with true, yes or correct; anything else counts as false."""
    words = answer.lower().replace(",", " ").replace(".", " ").split()
    return bool(words) and words[0] in _TRUE
