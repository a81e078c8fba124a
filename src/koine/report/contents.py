"""What a report holds, before it takes any form: sections of pictures, answers beside the truth, and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from koine.sentence import Image, Sentence


@dataclass(frozen=True)
class Figure:
    """A picture with a line below it. It is shown as it is: regions must have been drawn by `koine.report.drawing`."""

    picture: Image
    caption: str


@dataclass(frozen=True)
class Answer:
    """One question, what the model answered, and the truth.

    The page draws the regions of the three sentences itself, each in its own kind of line, so that truth can't be
    taken for model output.

    Attributes:
        task: the kind of question, such as "point: colour"; answers of one task are counted together.
        question, answer, truth: regions in them are drawn onto the picture they lie in.
        correct: the judge's verdict.
        note: why it was judged so, in a few words, such as "overlap 0.83".
        picture: what to show if the sentences neither show a picture nor point into one.
    """

    task: str
    question: Sentence
    answer: Sentence
    truth: Sentence
    correct: bool
    note: str = ""
    picture: Image | None = None


@dataclass(frozen=True)
class Score:
    """How many answers of one task were right."""

    task: str
    right: int
    total: int

    @property
    def share(self) -> float:
        """Right answers per answer, 0 to 1."""
        return self.right / self.total if self.total else 0.0


@dataclass(frozen=True)
class Table:
    """Figures measured elsewhere, such as on a thousand scenes.

    Attributes:
        columns: heads; each row has as many cells.
        note: where the figures come from: data, seeds, number of examples.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Section:
    """One system's part of a report.

    Attributes:
        title: heading.
        lead: a sentence or two that say what there is to see.
        link: address of the paper, or empty.
        figures, answers, tables: shown in this order; tables of more than eight rows are folded.
    """

    title: str
    lead: str
    link: str = ""
    figures: Sequence[Figure] = ()
    answers: Sequence[Answer] = ()
    tables: Sequence[Table] = ()

    @property
    def answers_by_task(self) -> dict[str, list[Answer]]:
        """The answers of each task; tasks and answers in order of first appearance."""
        grouped: dict[str, list[Answer]] = {}
        for answer in self.answers:
            grouped.setdefault(answer.task, []).append(answer)
        return grouped

    @property
    def scores(self) -> list[Score]:
        """How many answers of each task were right."""
        grouped = self.answers_by_task.items()
        return [Score(task, sum(answer.correct for answer in answers), len(answers)) for task, answers in grouped]


@dataclass(frozen=True)
class Report:
    """A whole page.

    Attributes:
        facts: what one must know to get the same page again: version, seed, weights, seconds.
    """

    title: str
    lead: str
    sections: Sequence[Section]
    facts: Sequence[tuple[str, str]] = ()
