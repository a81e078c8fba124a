"""`koine claims`: the papers' claims, run again as experiments at nano size."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from koine.errors import InputError


def claims(
    system: Annotated[str | None, typer.Argument(help="Default: all built systems.")] = None,
    only: Annotated[list[str] | None, typer.Option("--claim", help="Only this claim; may be repeated.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many trainings for each arm of each experiment.")] = 3,
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
        experiments.run_claims(names, seeds, out)
