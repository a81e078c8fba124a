"""`koine claims`: the papers' claims, run again as experiments at nano size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from koine.errors import InputError

if TYPE_CHECKING:
    from koine.evaluation.claims import Finding


def claims(
    system: Annotated[str | None, typer.Argument(help="Default: all built systems.")] = None,
    only: Annotated[list[str] | None, typer.Option("--claim", help="Only this claim; may be repeated.")] = None,
    seeds: Annotated[int, typer.Option(min=2, help="How many trainings for each arm of each experiment.")] = 3,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where tables and figures are written.")] = Path(
        "docs/claims"
    ),
) -> None:
    """Run a paper's claims against their ablations and say which hold."""
    from koine.registry import built_systems, find_built, room

    infos = [find_built(system)] if system else list(built_systems())
    for info in infos:
        experiments = room(info.name, "claims")
        names = list(only or experiments.CLAIMS)
        for name in names:
            if name not in experiments.CLAIMS:
                raise InputError.unknown(f"claim of {info.name}", name, experiments.CLAIMS)
        _print(info.title, experiments.run_claims(names, seeds, out))
    print(f"written to {out}")


def _print(title: str, findings: Sequence[Finding]) -> None:
    """The deciding effect of each claim."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("claim", "measured by", "better by, 95 %", "verdict"):
        table.add_column(column)
    for finding in findings:
        effect = finding.effects[0]
        table.add_row(finding.claim.statement, effect.metric, str(effect.better_by), finding.verdict)
    Console(highlight=False).print(table)
