"""`koine list`: the systems and how far each is built."""

from __future__ import annotations

from typing import Annotated

import typer


def list_systems(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Show all systems: what each reads and writes, and whether it is built."""
    from koine.registry import SYSTEMS

    if as_json:
        import dataclasses
        import json

        print(json.dumps([dataclasses.asdict(info) for info in SYSTEMS.values()], indent=2))
        return

    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("name", no_wrap=True, style="bold")
    table.add_column("status", no_wrap=True)
    table.add_column("what it does, what it reads → writes")
    for info in SYSTEMS.values():
        style = "green" if info.status == "verified" else "dim"
        flow = f"{', '.join(info.reads)} → {', '.join(info.writes)}"
        table.add_row(info.name, f"[{style}]{info.status}[/]", f"{info.job}\n[dim]{flow}[/]")
    console = Console(highlight=False)
    console.print(table)
    console.print(
        "verified: built, equal to the original on golden data, nano weights shipped; built: the same without nano "
        "weights; planned: not usable yet"
    )
