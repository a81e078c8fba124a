"""Ferret-Bench: a language model compares a system's answers about regions with reference answers.

Protocol of arXiv:2310.07704, section 5.4: the judge reads a textual scene, the question, the reference as Assistant 1
and the system's answer as Assistant 2, and gives each 1 to 10 points; the score of a category is 100 x mean points of
the system / mean points of the reference. The published figures were judged by gpt-4-0314, which is retired, so that
they can't be compared with scores by another judge. Any callable can be the judge; nothing here talks to a network.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from koine.errors import InputError
from koine.evaluation.answers import BINS, Answer, Box

if TYPE_CHECKING:
    from koine.data.ferret_bench import BenchQuestion

Judge = Callable[[str], str]
"""Takes the whole prompt and returns the review, whose first line holds the two scores."""

UNREADABLE = (-1.0, -1.0)
"""What the published scorer writes down, and counts, for a review without two scores in its first line."""

_BRACKETS = re.compile(r"\[([^\[\]]*)\]")

_CRITERIA = {
    "refer_desc": "how well the answer corresponds to the place that is asked about",
    "refer_reason": "how well the answer corresponds to the place that is asked about",
    "ground_conv": (
        "how precise the predicted boxes are and whether they belong to the right objects (an offset of less than 20 % "
        "of the true box's width or height is fine; the larger it is beyond that, the lower the score)"
    ),
}


def judge_prompt(question: BenchQuestion, answer: str) -> str:
    """What the judge is asked.

    The instruction is that of the published `rule.json` if the data folder has it; else one of our own that states the
    same criteria.

    Args:
        answer: the system's answer, rewritten by `rewritten`.
    """
    sections = {
        "Context": question.context,
        "Question": question.text,
        "Assistant 1": f"{question.reference}\n\n[End of Assistant 1]",
        "Assistant 2": f"{answer}\n\n[End of Assistant 2]",
        "System": question.rule or _instruction(question.category),
    }
    return "\n\n".join(f"[{title}]\n{text}" for title, text in sections.items()) + "\n\n"


def answer_prompt(question: BenchQuestion, answer: Answer) -> str:
    """What the judge is asked about a system's answer, which it reads `rewritten`."""
    return judge_prompt(question, rewritten(answer, question.category))


def rewritten(answer: Answer, category: str) -> str:
    """The answer as the judge reads it: boxes left out, or for `ground_conv` as fractions with three decimals."""
    if category != "ground_conv" or answer.size is None:
        return answer.written(lambda box: "")
    width, height = answer.size

    def fractions(box: Box) -> str:
        sides = (width, height, width, height)
        return f"[{', '.join(f'{edge / side:.3f}' for edge, side in zip(box, sides, strict=True))}]"

    return answer.written(fractions)


def rewritten_text(text: str, category: str) -> str:
    """`rewritten` for text in which Ferret has written thousandths, `[100, 200, 300, 400]`, by the published rule."""
    if category != "ground_conv":
        return re.sub(r" \[[^\[\]]*\]", "", text)
    return _BRACKETS.sub(lambda match: _fractions(match[1]), text)


def parse_scores(review: str) -> tuple[float, float]:
    """(reference, system) from a review's first line; `UNREADABLE` unless it is two numbers with one space or comma."""
    numbers = review.split("\n")[0].replace(",", " ").split(" ")
    try:
        reference, system = (float(number) for number in numbers)
    except ValueError:
        return UNREADABLE
    return reference, system


def score_reviews(reviews: Sequence[str], categories: Sequence[str]) -> dict[str, float]:
    """100 x mean points of the system / mean points of the reference, for each category and their mean.

    Returns:
        `refer_desc` etc. and `mean` without unreadable reviews; `<category>_published` with those counted as -1 for
        both, as the published scorer does; `unreadable`, the share of such reviews. NaN where the reference has no
        points.
    """
    points = np.array([parse_scores(review) for review in reviews], dtype=np.float64).reshape(-1, 2)
    of_category = np.array(categories, dtype=object)
    readable = (points != UNREADABLE).any(axis=1)
    names = list(dict.fromkeys(categories))
    metrics = {name: _relative(points[(of_category == name) & readable]) for name in names}
    metrics["mean"] = float(np.mean([metrics[name] for name in names])) if names else math.nan
    metrics |= {f"{name}_published": _relative(points[of_category == name]) for name in names}
    metrics["unreadable"] = float(1 - readable.mean()) if len(readable) else math.nan
    return metrics


def score(
    answers: Sequence[Answer], questions: Sequence[BenchQuestion], *, judge: Judge | None = None
) -> dict[str, float]:
    """Has every answer judged and scores the reviews; see `score_reviews`.

    Raises:
        InputError: there is no judge.
    """
    if judge is None:
        raise InputError(
            "ferret-bench has no judge: pass judge=..., a function from a prompt to a review, or write the prompts "
            "with koine evaluate --prompts and score the reviews with --reviews"
        )
    reviews = [judge(answer_prompt(question, answer)) for answer, question in zip(answers, questions, strict=True)]
    return score_reviews(reviews, [question.category for question in questions])


def _instruction(category: str) -> str:
    if category not in _CRITERIA:
        raise InputError.unknown("category of Ferret-Bench", category, _CRITERIA)
    return (
        "Two assistants have answered the question above about an image. You can't see the image; the context "
        "describes it by captions, by objects with boxes (left, top, right, bottom, each from 0 to 1), by relations "
        "between numbered objects and by descriptions of boxed regions.\n"
        f"Rate both answers. Consider {_CRITERIA[category]}, and helpfulness, relevance, accuracy and level of detail. "
        "Give each assistant one overall score from 1 to 10; higher is better.\n"
        "Write the two scores, first Assistant 1's and then Assistant 2's, separated by one space and alone on the "
        "first line. Explain them below it, without regard to which answer came first."
    )


def _fractions(inside: str) -> str:
    """Thousandths as fractions; brackets that hold anything but four numbers vanish, as in the published rule."""
    try:
        numbers = [float(number) / BINS for number in inside.split(",")]
    except ValueError:
        return ""
    return f"[{', '.join(f'{number:.3f}' for number in numbers)}]" if len(numbers) == 4 else ""


def _relative(points: np.ndarray) -> float:
    """[n, 2] points of reference and system -> 100 x mean system / mean reference."""
    if not len(points) or points[:, 0].mean() == 0:
        return math.nan
    reference, system = points.mean(axis=0)
    return float(100 * system / reference)
