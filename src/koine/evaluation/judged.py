"""Benchmarks whose answers a language model judges: its questions go out as JSON lines, its reviews come back so.

Nothing here talks to a judge. Whoever has one sends it each `prompt` and adds what it says to the line as `review`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from koine.data.records import json_lines
from koine.errors import InputError
from koine.evaluation.answers import Answer
from koine.evaluation.benchmark import Benchmark, Evaluation


@dataclass(frozen=True, kw_only=True)
class JudgedBenchmark(Benchmark):
    """A benchmark of which a judge's reviews are scored.

    Attributes:
        categories: what the tasks of its examples may be.
        judge_prompt: what the judge is asked about the answer to an annotated question.
        review_metrics: scores reviews, given with the task of each; a pure function.
    """

    categories: tuple[str, ...]
    judge_prompt: Callable[[Any, Answer], str]
    review_metrics: Callable[[Sequence[str], Sequence[str]], dict[str, float]]
    required: tuple[str, ...] = ("judge",)

    def prompts(self, outcome: Evaluation) -> list[dict[str, str]]:
        """What to ask the judge: for each question its `id`, its `task` and the whole `prompt`."""
        return [
            {"id": example.id, "task": example.task, "prompt": self.judge_prompt(example.annotation, answer)}
            for example, answer in zip(outcome.examples, outcome.answers, strict=True)
        ]

    def score_reviews(self, path: str | os.PathLike[str]) -> dict[str, float]:
        """The metrics of a file of reviews: the lines of `prompts`, each with the judge's answer as `review`.

        Raises:
            InputError: a line lacks its id, task or review, has a task that there isn't or an id that was there
                before; there are no lines, or the file can't be read.
        """
        reviews: list[str] = []
        tasks: list[str] = []
        seen: set[str] = set()
        for line in json_lines(Path(path)):
            name, task = line.field("id", str), line.field("task", str)
            if task not in self.categories:
                raise InputError.unknown(f"task of {self.name} ({line.where})", task, self.categories)
            if name in seen:
                raise InputError(f"{line.where}: id {name!r} is there twice: give one review for each question")
            seen.add(name)
            tasks.append(task)
            reviews.append(line.field("review", str))
        if not reviews:
            raise InputError(f"{path} holds no reviews: give the lines of --prompts with the judge's answers in them")
        return self.review_metrics(reviews, tasks)
