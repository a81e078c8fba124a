"""`koine evaluate SYSTEM`: a paper's benchmark, by its published protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from koine.errors import InputError


def evaluate(
    system: Annotated[str, typer.Argument(help="A name from `koine list`.")],
    benchmark: Annotated[str | None, typer.Option(help="Default: show which there are.")] = None,
    data: Annotated[Path | None, typer.Option(metavar="PATH", help="The benchmark's published files.")] = None,
    weights: Annotated[str, typer.Option(help="nano, a folder or a hub id.")] = "nano",
    device: Annotated[str | None, typer.Option(help="Where to compute, such as cpu or cuda:0.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Measure a system on a benchmark of its paper."""
    from koine.registry import find_built, load, room

    name = find_built(system).name
    benchmarks = room(name, "system").BENCHMARKS
    if benchmark is None:
        for known, protocol in benchmarks.items():
            print(f"{known:24} {(protocol.__doc__ or '').strip().partition(chr(10))[0]}")
        return
    if benchmark not in benchmarks:
        raise InputError.unknown(f"benchmark of {name}", benchmark, benchmarks)
    if data is not None and not data.exists():
        raise InputError(f"there is nothing at --data {data}: give the folder or file of {benchmark}'s published data")
    figures = benchmarks[benchmark](load(name, weights, device=device), data)
    if as_json:
        import json

        print(json.dumps({"system": name, "benchmark": benchmark, "figures": figures}, indent=2))
    else:
        for figure, value in figures.items():
            print(f"{figure:32} {value:.4f}")
