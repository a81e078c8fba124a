"""`koine convert SYSTEM`: published weights into a folder that `koine.load` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from koine.errors import InputError


def convert(
    system: Annotated[str, typer.Argument(help="A name from `koine list`.")],
    source: Annotated[str, typer.Option("--from", metavar="PUBLISHED", help="Folder or hub id as published.")],
    target: Annotated[Path, typer.Option("--to", metavar="DIR", help="The folder to make.")],
    base: Annotated[
        str | None, typer.Option(metavar="MODEL", help="The model that published differences are to be added to.")
    ] = None,
    vision_tower: Annotated[
        str | None, typer.Option(metavar="MODEL", help="The vision tower, if it isn't the published one.")
    ] = None,
    trust_base: Annotated[bool, typer.Option("--trust-base", help="Go on even if the base looks wrong.")] = False,
) -> None:
    """Convert published weights once, e.g. Ferret's differences to Vicuna v1.3."""
    from koine.registry import find_built, room

    name = find_built(system).name
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"--to {target} exists and isn't an empty folder: give a new one")
    beside = {"base": base, "vision_tower": vision_tower, "trust_base": trust_base}
    print(room(name, "weights").convert(source, target, **{option: value for option, value in beside.items() if value}))
