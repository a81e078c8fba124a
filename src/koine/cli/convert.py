"""`koine convert SYSTEM`: published weights into a folder that `koine.load` takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="What this system's files don't say, e.g. head=vqa for beit3."),
    ] = None,
) -> None:
    """Convert published weights once, e.g. Ferret's differences to Vicuna v1.3."""
    from koine.cli.prompt import read_settings
    from koine.registry import find_built, room
    from koine.settings import read_value

    name = find_built(system).name
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"--to {target} exists and isn't an empty folder: give a new one")
    beside = {"base": base, "vision_tower": vision_tower, "trust_base": trust_base}
    options = {option: value for option, value in beside.items() if value}
    options |= {key: read_value(text) for key, text in read_settings(settings or ()).items()}
    conversion = room(name, "weights").convert
    _check(name, conversion, options)
    print(conversion(source, target, **options))


def _check(name: str, conversion: Callable[..., Path], options: Iterable[str]) -> None:
    """
    Raises:
        InputError: an option that this system's conversion doesn't have. One that takes any checks them itself.
    """
    from inspect import Parameter, signature

    parameters = signature(conversion).parameters.values()
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [parameter.name for parameter in parameters if parameter.kind is Parameter.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise InputError.unknown(f"option of converting {name}", option, known)
