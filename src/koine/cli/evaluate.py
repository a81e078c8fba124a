"""`koine evaluate SYSTEM`: a benchmark by its published protocol, on its published files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from koine.errors import InputError

if TYPE_CHECKING:
    from koine.data.annotated import AnnotatedExample
    from koine.evaluation.benchmark import Benchmark, Evaluation
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
        Path | None, typer.Option(metavar="FILE", help="Write what was answered to each question, as JSON lines.")
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
    if data is None or not data.exists():
        raise InputError(f"benchmark {benchmark} needs its published files, {data} is none: give --data DIR")
    examples = protocol.examples(data, images=images, **read_settings(choices or ()))
    outcome = _ask(load(name, weights, device=device), protocol, examples, limit, batch_size)
    if out is not None:
        _write_answers(outcome, out)
    if as_json:
        import json

        print(json.dumps({"system": name, "benchmark": benchmark, "metrics": outcome.metrics}, indent=2))
    else:
        for metric, value in outcome.metrics.items():
            print(f"{metric:32} {value:.4f}{'  <- headline' if metric == protocol.headline else ''}")


def _list_benchmarks() -> None:
    from koine.evaluation import BENCHMARKS, load_benchmark

    for name in BENCHMARKS:
        protocol = load_benchmark(name)
        choices = "".join(f"  --set {option}={'|'.join(values)}" for option, values in protocol.choices.items())
        print(f"{name}: {protocol.title}\n    {protocol.citation}{choices}")


def _ask(
    system: System, protocol: Benchmark, examples: Iterator[AnnotatedExample], limit: int | None, batch_size: int
) -> Evaluation:
    """All questions, with a count on stderr; how many there will be isn't known beforehand."""
    from rich.console import Console
    from rich.progress import Progress, TimeElapsedColumn

    from koine.evaluation.benchmark import asking
    from koine.evaluation.benchmark import evaluate as ask
    from koine.evaluation.retrieval import RetrievalBenchmark

    columns = ("{task.completed} questions", TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        line = bar.add_task("", total=limit)
        if isinstance(protocol, RetrievalBenchmark):
            return protocol.run(system, examples, limit=limit, progress=lambda count: bar.update(line, completed=count))
        return ask(
            protocol,
            asking(system),
            examples,
            limit=limit,
            batch_size=batch_size,
            progress=lambda number, example, answer: bar.update(line, completed=number),
        )


def _write_answers(outcome: Evaluation, path: Path) -> None:
    """One line per question: its id and task, and the answer as strings and boxes in pixels."""
    import json

    from koine.files import write_atomically

    with write_atomically(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for example, answer in zip(outcome.examples, outcome.answers, strict=True):
            row = {"id": example.id, "task": example.task, "answer": answer.parts}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
