"""`koine info NAME`: what is known about one system, or one foundation, and its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import koine
from koine.registry import SystemInfo

if TYPE_CHECKING:
    from rich.console import Console


def info(
    system: Annotated[str, typer.Argument(help="A name from `koine list`, or a foundation such as clip.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Show one system: its paper, what it reads and writes, which weights there are and what they measured."""
    import dataclasses
    import json

    from koine.foundations import RECIPES
    from koine.registry import find, manifest_of_shipped_weights

    if system in RECIPES:
        manifest = manifest_of_shipped_weights(system)
        if as_json:
            print(json.dumps({"name": system, "shipped": manifest}, indent=2))
        else:
            _print_foundation(system, manifest)
        return
    entry = find(system)
    shipped = manifest_of_shipped_weights(entry.name) if entry.entry else None
    if as_json:
        print(json.dumps({**dataclasses.asdict(entry), "shipped": shipped}, indent=2))
    else:
        _print(entry, shipped)


def _print(entry: SystemInfo, shipped: dict[str, Any] | None) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print(f"[bold]{entry.title}[/] {entry.job}", soft_wrap=True)
    facts = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    facts.add_row("name", entry.name)
    facts.add_row("paper", f"https://arxiv.org/abs/{entry.paper}")
    facts.add_row("reads", ", ".join(entry.reads))
    facts.add_row("writes", ", ".join(entry.writes))
    facts.add_row("status", entry.status)
    if entry.entry:
        facts.add_row("card", str(Path(koine.__file__).parent / "systems" / entry.name / "README.md"))
        facts.add_row("nano weights", "come with the package" if shipped is not None else "missing from this build")
    console.print(facts)

    if entry.weights:
        table = Table(title="Published weights", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for column in ("name", "what", "licence"):
            table.add_column(column)
        for weights in entry.weights:
            table.add_row(weights.name, weights.note, weights.licence)
        console.print(table)
    _print_figures(console, shipped)


def _print_foundation(name: str, shipped: dict[str, Any] | None) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.print(f"[bold]{name}[/] stands in, at nano size, for what papers start from", soft_wrap=True)
    console.print(f"card  {Path(koine.__file__).parent / 'foundations' / 'README.md'}", soft_wrap=True)
    _print_figures(console, shipped)


def _print_figures(console: Console, shipped: dict[str, Any] | None) -> None:
    from rich import box
    from rich.table import Table

    if figures := (shipped or {}).get("figures"):
        table = Table(title="Nano weights, measured", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("what")
        table.add_column("value")
        for name, value in figures.items():
            table.add_row(name, figure_as_text(value))
        console.print(table)


def figure_as_text(figure: Any) -> str:
    """A figure of a manifest: a number, words, or [estimate, low, high, samples]."""
    match figure:
        case [estimate, low, high, samples]:
            return f"{estimate:.4g}  (95 %: {low:.4g} to {high:.4g}, n = {samples})"
        case float():
            return f"{figure:.4g}"
    return str(figure)
