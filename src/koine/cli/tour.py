"""`koine tour`: every built system at work on scenes it has never seen, on one page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from koine.report import Report, Table


def tour(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where index.html goes.")] = Path("tour"),
    seed: Annotated[int, typer.Option(min=0, help="Of the scenes; another seed shows other ones.")] = 0,
) -> None:
    """Show what the systems can do: answers beside the ground truth, as a web page and a short table."""
    from rich.console import Console

    from koine.registry import shipped_weights, verified_systems

    console = Console()
    for info in verified_systems():
        shipped_weights(info.name)  # a missing one should show at once, not after the others have run
    with console.status("Setting out") as status:
        report = _visit(seed, lambda title: status.update(f"{title} at work"))

    from koine.report import write
    from koine.report.terminal import score_table

    page = write(report, out / "index.html")
    console.print(score_table(report))
    console.print(f"The page: {page.resolve().as_uri()}", soft_wrap=True)


def _visit(seed: int, arrived_at: Callable[[str], None]) -> Report:
    """Loads each verified system with its nano weights and lets it fill its section; tells where it is meanwhile."""
    from dataclasses import replace
    from importlib import import_module
    from time import perf_counter

    from koine import __version__
    from koine.registry import load, verified_systems
    from koine.report import Report

    start = perf_counter()
    sections = []
    for info in verified_systems():
        arrived_at(info.title)
        section = import_module(f"koine.report.pages.{info.name}").page(load(info.name), seed)
        sections.append(replace(section, tables=[*section.tables, *_measured(info.name)]))
    return Report(
        title="A tour of Koine",
        lead="What the systems answer, beside what is true. The scenes come from a part of the world that no training "
        "has seen, and every box below was drawn from the words of a model.",
        sections=sections,
        facts=[
            ("version", __version__),
            ("weights", "nano"),
            ("seed", str(seed)),
            ("made in", f"{perf_counter() - start:.0f} s"),
        ],
    )


def _measured(name: str) -> list[Table]:
    """What the shipped weights measured on many more scenes than a page can show; nothing if nobody measured."""
    from koine.cli.info import figure_as_text
    from koine.registry import manifest_of_shipped_weights
    from koine.report import Table

    figures = (manifest_of_shipped_weights(name) or {}).get("figures", {})
    rows = [(name, figure_as_text(value)) for name, value in figures.items() if not isinstance(value, str)]
    said = [f"{name}: {value}" for name, value in figures.items() if isinstance(value, str)]
    note = ". ".join(["Measured when the nano weights were made; intervals, where there are some, are of 95 %", *said])
    return [Table("On scenes that no training has seen", ("what", "share"), rows, note)] if rows else []
