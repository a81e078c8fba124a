"""What goes to a judge and what comes back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from koine.data.annotated import AnnotatedExample
from koine.data.ferret_bench import BenchQuestion
from koine.errors import InputError
from koine.evaluation import load_benchmark
from koine.evaluation.benchmark import ask
from koine.evaluation.judged import JudgedBenchmark
from koine.sentence import Reply, Sentence


@pytest.fixture
def bench() -> JudgedBenchmark:
    benchmark = load_benchmark("ferret-bench")
    assert isinstance(benchmark, JudgedBenchmark)
    return benchmark


def examples() -> list[AnnotatedExample]:
    questions = [BenchQuestion(str(n), "refer_desc", "1.jpg", f"Question {n}?", "A door.", "Red.") for n in (1, 2)]
    return [
        AnnotatedExample(Sentence(one.text), Sentence("Red."), id=one.id, task=one.category, annotation=one)
        for one in questions
    ]


def reviewed(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_each_question_becomes_a_prompt_with_its_answer(bench: JudgedBenchmark) -> None:
    outcome = ask(bench, lambda prompts: [Reply(f"To {prompt.text} blue.") for prompt in prompts], examples())
    assert outcome.metrics == {}
    lines = bench.prompts(outcome)
    assert [(line["id"], line["task"]) for line in lines] == [("1", "refer_desc"), ("2", "refer_desc")]
    assert "[Assistant 2]\nTo Question 2? blue." in lines[1]["prompt"]


def test_reviews_are_scored_whatever_else_stands_in_their_lines(bench: JudgedBenchmark, tmp_path: Path) -> None:
    desc = {"task": "refer_desc", "prompt": "long", "model": "mine"}
    lines = [{**desc, "id": "1", "review": "8 4\nBlue?"}, {**desc, "id": "2", "review": "I can't say."}]
    metrics = bench.score_reviews(reviewed(tmp_path / "reviews.jsonl", *lines))
    assert metrics["refer_desc"] == pytest.approx(50) and metrics["unreadable"] == 0.5


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], "holds no reviews"),
        ([{"id": "1", "task": "refer_desc"}], "line 1: field 'review' is missing"),
        ([{"id": "1", "task": "refer_desk", "review": "8 4"}], "line 1.*'refer_desk': did you mean 'refer_desc'"),
        ([{"id": "1", "task": "refer_desc", "review": "8 4"}] * 2, "line 2: id '1' is there twice"),
    ],
)
def test_a_bad_file_of_reviews_is_named(
    bench: JudgedBenchmark, tmp_path: Path, lines: list[dict[str, Any]], reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        bench.score_reviews(reviewed(tmp_path / "reviews.jsonl", *lines))


def test_a_missing_file_of_reviews_is_named(bench: JudgedBenchmark, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*gone\.jsonl"):
        bench.score_reviews(tmp_path / "gone.jsonl")
