"""Benchmarks from a folder to a score."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as pil

from koine.data import DATA_SETS
from koine.errors import InputError
from koine.evaluation import BENCHMARKS, load_benchmark
from koine.evaluation.answers import Answer
from koine.evaluation.benchmark import asking, evaluate
from koine.sentence import Region, Reply, Sentence


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """RefCOCO with three expressions in MDETR's form, and POPE with two questions, on one picture."""
    pil.fromarray(np.zeros((48, 64, 3), dtype=np.uint8)).save(tmp_path / "1.png")
    picture = {"file_name": "1.png", "width": 64, "height": 48, "dataset_name": "refcoco"}
    images = [{**picture, "id": number, "caption": f"thing {number}"} for number in range(3)]
    annotations = [{"image_id": number, "bbox": [10 * number, 5, 10, 10]} for number in range(3)]
    content = {"images": images, "annotations": annotations}
    (tmp_path / "finetune_refcoco_val.json").write_text(json.dumps(content))
    for category, label in (("random", "yes"), ("popular", "no")):
        line = {"question_id": 1, "image": "1.png", "text": "Is there a dog in the image?", "label": label}
        (tmp_path / f"coco_pope_{category}.json").write_text(json.dumps(line))
    return tmp_path


def first_thing(prompts: Sequence[Sentence]) -> list[Reply]:
    """Always finds the first thing."""
    return [Reply("It is ", Region.box(prompt.images[0], 0, 5, 10, 15), ".") for prompt in prompts]


def yes(prompts: Sequence[Sentence]) -> list[Reply]:
    return [Reply("Yes.") for _ in prompts]


def test_a_system_is_asked_and_scored(folder: Path) -> None:
    benchmark = load_benchmark("refcoco")
    seen: list[tuple[int, str]] = []

    def progress(number: int, example: Any, answer: Answer) -> None:
        assert example.prompt.images
        assert answer.boxes
        seen.append((number, example.id))

    result = evaluate(benchmark, first_thing, benchmark.examples(folder), progress=progress)
    assert result.metrics[benchmark.headline] == pytest.approx(1 / 3)
    assert seen == [(1, "0"), (2, "1"), (3, "2")]
    assert result.answers[0].boxes == ((0, 5, 10, 15),)
    assert [example.annotation.expression for example in result.examples] == ["thing 0", "thing 1", "thing 2"]
    assert not any(example.prompt or example.target for example in result.examples)  # no picture is kept


def test_questions_are_asked_so_many_at_a_time(folder: Path) -> None:
    benchmark = load_benchmark("refcoco")
    sizes: list[int] = []

    def respond(prompts: Sequence[Sentence]) -> list[Reply]:
        sizes.append(len(prompts))
        return first_thing(prompts)

    result = evaluate(benchmark, respond, benchmark.examples(folder), batch_size=2)
    assert sizes == [2, 1]
    assert result == evaluate(benchmark, first_thing, benchmark.examples(folder), batch_size=1)


def test_a_system_answers_together_where_it_can() -> None:
    class Single:
        def respond(self, *parts: Any, **options: Any) -> Reply:
            return Reply(f"alone: {Sentence(*parts).text}")

    class Together(Single):
        def respond_batch(self, prompts: Sequence[Sentence]) -> list[Reply]:
            return [Reply(f"together: {prompt.text}") for prompt in prompts]

    prompts = [Sentence("one"), Sentence("two")]
    assert [reply.text for reply in asking(Single())(prompts)] == ["alone: one", "alone: two"]
    assert [reply.text for reply in asking(Together())(prompts)] == ["together: one", "together: two"]


def test_the_target_itself_is_right_on_every_example(folder: Path) -> None:
    benchmark = load_benchmark("refcoco")
    examples = list(benchmark.examples(folder))
    assert benchmark.score([Reply(example.target) for example in examples], examples)["refcoco.top1"] == 1.0


def test_written_answers_are_decoded(folder: Path) -> None:
    benchmark = load_benchmark("refcoco")
    texts = ["thing 0 [0, 104, 156, 312].", "thing 1 [0, 104, 156, 312].", "thing 2, somewhere"]
    assert benchmark.score(texts, benchmark.examples(folder))["refcoco.top1"] == pytest.approx(1 / 3)


def test_a_missing_judge_is_noticed_before_any_question() -> None:
    def respond(prompts: Sequence[Sentence]) -> list[Reply]:
        raise AssertionError("no question should be asked")

    with pytest.raises(InputError, match="the benchmark ferret-bench needs judge="):
        evaluate(load_benchmark("ferret-bench"), respond, iter([]))


def test_a_limit_and_a_choice(folder: Path) -> None:
    benchmark = load_benchmark("pope")
    result = evaluate(benchmark, yes, benchmark.examples(folder), limit=1)
    assert len(result.answers) == 1
    (example,) = benchmark.examples(folder, category="random")
    assert benchmark.score(["yes"], [example])["accuracy"] == 1.0


def test_replies_must_match_the_examples(folder: Path) -> None:
    benchmark = load_benchmark("pope")
    with pytest.raises(InputError, match="pope: 1 replies to 2 examples"):
        benchmark.score(["yes"], benchmark.examples(folder))
    with pytest.raises(InputError, match="pope: 0 replies to 0 examples"):
        benchmark.score([], [])
    with pytest.raises(InputError, match="pope: there are no questions"):
        evaluate(benchmark, yes, [])


def test_unknown_names_options_and_values(folder: Path) -> None:
    with pytest.raises(InputError, match="there is no benchmark 'refcocoo': did you mean"):
        load_benchmark("refcocoo")
    with pytest.raises(InputError, match="there is no option of the benchmark refcoco 'category'"):
        load_benchmark("refcoco").examples(folder, category="random")
    with pytest.raises(InputError, match=r"there is no split of the benchmark refcocog 'testA'.*\(known: test, val\)"):
        load_benchmark("refcocog").examples(folder, split="testA")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_reads_a_listed_data_set(name: str, tmp_path: Path) -> None:
    benchmark = load_benchmark(name)
    assert benchmark.name == name
    assert benchmark.data_set in DATA_SETS
    assert "arXiv" in benchmark.citation
    with pytest.raises(InputError, match=f"{tmp_path} holds no .*"):
        list(benchmark.examples(tmp_path))


def test_the_list_imports_nothing_heavy() -> None:
    code = "import sys, koine.evaluation; print([m for m in ('numpy', 'PIL', 'torch', 'scipy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
