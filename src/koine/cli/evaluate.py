"""`koine evaluate SYSTEM`: a benchmark by its published protocol, on its published files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from koine.errors import InputError

if TYPE_CHECKING:
    from koine.data.annotated import AnnotatedExample
    from koine.evaluation.benchmark import Benchmark, Evaluation
    from koine.evaluation.judged import JudgedBenchmark
    from koine.registry import System


def evaluate(
    system: Annotated[str, typer.Argument(help="A name from `koine list`.")],
    benchmark: Annotated[str | None, typer.Option(help="Default: show which there are.")] = None,
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="The benchmark's published files.")] = None,
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="Its pictures, if they lie elsewhere.")] = None,
    choices: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Which part of it, e.g. split=testA.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask no more questions than this.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions asked together, where the system can.")] = 32,
    weights: Annotated[str, typer.Option(help="nano, a folder or a hub id.")] = "nano",
    device: Annotated[str | None, typer.Option(help="Where to compute, such as cpu or cuda:0.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the answers, as JSON lines, or as the server reads them that scores them."
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write what a judge is to be asked, as JSON lines (ferret-bench)."),
    ] = None,
    reviews: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help='Score these: the lines of --prompts, each with what the judge said as "review".'
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Measure a system on a benchmark of its paper."""
    from koine.cli.prompt import read_settings
    from koine.registry import find_built, load

    name = find_built(system).name
    if benchmark is None:
        _list_benchmarks()
        return

    from koine.evaluation import load_benchmark

    protocol = load_benchmark(benchmark)
    judged = _judged(protocol, prompts, reviews)
    if judged is not None and reviews is not None:
        _print_metrics(name, protocol, judged.score_reviews(reviews), as_json=as_json)
        return
    if data is None:
        raise InputError(f"benchmark {benchmark} asks questions from its published files: give --data DIR")
    if not data.exists():
        raise InputError(f"there is no folder {data}: give the published files of {benchmark} as --data DIR")
    chosen = read_settings(choices or ())
    examples = protocol.examples(data, images=images, **chosen)
    secret = chosen.get("split") in protocol.unscored
    if secret and out is None:  # before hours of answering, not after
        raise InputError(f"only a server can score {benchmark}'s {chosen['split']}: give --out FILE for the answers")
    outcome = _ask(load(name, weights, device=device), protocol, examples, limit, batch_size, scored=not secret)
    if out is not None and secret and protocol.submission is not None:
        _write_json(protocol.submission(outcome.answers, [example.annotation for example in outcome.examples]), out)
    elif out is not None:
        _write_lines(_answered(outcome), out)
    if secret:
        print(f"{len(outcome.answers)} answers are in {out}: {benchmark}'s evaluation server scores them")
        return
    if judged is not None and prompts is not None:
        _write_lines(judged.prompts(outcome), prompts)
        print(f"{len(outcome.answers)} prompts for a judge are in {prompts}. Add what it says to each line as")
        print(f'"review", then: koine evaluate {name} --benchmark {benchmark} --reviews FILE')
        return
    _print_metrics(name, protocol, outcome.metrics, as_json=as_json)


def _judged(protocol: Benchmark, prompts: Path | None, reviews: Path | None) -> JudgedBenchmark | None:
    """The protocol if a judge scores it.

    Raises:
        InputError: what is written for the judge or read from it isn't said, or there is no judge.
    """
    from koine.evaluation.judged import JudgedBenchmark

    given = (prompts is not None) + (reviews is not None)
    if not isinstance(protocol, JudgedBenchmark):
        if given:
            raise InputError(f"benchmark {protocol.name} is scored without a judge: leave --prompts and --reviews away")
        return None
    if given != 1:
        raise InputError(
            f"benchmark {protocol.name} is scored by a judge: give either --prompts FILE, which is written for it, or "
            "--reviews FILE with what it said"
        )
    return protocol


def _print_metrics(system: str, protocol: Benchmark, metrics: Mapping[str, float], *, as_json: bool) -> None:
    if as_json:
        import json

        print(json.dumps({"system": system, "benchmark": protocol.name, "metrics": metrics}, indent=2))
        return
    for metric, value in metrics.items():
        print(f"{metric:32} {value:.4f}{'  <- headline' if metric == protocol.headline else ''}")


def _list_benchmarks() -> None:
    from koine.evaluation import BENCHMARKS, load_benchmark

    for name in BENCHMARKS:
        protocol = load_benchmark(name)
        choices = "".join(f"  --set {option}={'|'.join(values)}" for option, values in protocol.choices.items())
        judge = "  --prompts FILE, then --reviews FILE" if "judge" in protocol.required else ""
        print(f"{name}: {protocol.title}\n    {protocol.citation}{choices}{judge}")


def _ask(
    system: System,
    protocol: Benchmark,
    examples: Iterator[AnnotatedExample],
    limit: int | None,
    batch_size: int,
    *,
    scored: bool,
) -> Evaluation:
    """All questions, with a count on stderr (how many there will be isn't known beforehand); what a judge or a server
    is to score has no metrics yet."""
    from rich.console import Console
    from rich.progress import Progress, TimeElapsedColumn

    from koine.evaluation.benchmark import ask, asking
    from koine.evaluation.benchmark import evaluate as ask_and_score
    from koine.evaluation.judged import JudgedBenchmark
    from koine.evaluation.retrieval import RetrievalBenchmark

    columns = ("{task.completed} questions", TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        line = bar.add_task("", total=limit)
        if isinstance(protocol, RetrievalBenchmark):
            return protocol.run(system, examples, limit=limit, progress=lambda count: bar.update(line, completed=count))
        way = ask if isinstance(protocol, JudgedBenchmark) or not scored else ask_and_score
        return way(
            protocol,
            asking(system),
            examples,
            limit=limit,
            batch_size=batch_size,
            progress=lambda number, example, answer: bar.update(line, completed=number),
        )


def _answered(outcome: Evaluation) -> Iterator[dict[str, Any]]:
    """For each question its id and task, and the answer as strings and boxes in pixels."""
    for example, answer in zip(outcome.examples, outcome.answers, strict=True):
        yield {"id": example.id, "task": example.task, "answer": answer.parts}


def _write_lines(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """One JSON object a line."""
    import json

    from koine.files import write_atomically

    with write_atomically(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _write_json(content: object, path: Path) -> None:
    import json

    from koine.files import write_atomically

    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
