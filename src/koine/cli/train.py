"""`koine train NAME`: runs the stages of a recipe, resumably."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from koine.errors import InputError

if TYPE_CHECKING:
    from koine.training import Recipe


def train(
    name: Annotated[str, typer.Argument(help="A system from `koine list`, or a foundation such as clip.")],
    recipe: Annotated[str, typer.Option(help="Which of its recipes.")] = "nano",
    stage: Annotated[str | None, typer.Option(help="Only this stage; default: all that aren't finished.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a stage's field, e.g. steps=50 or align.batch_size=8."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where checkpoints and logs go.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint in DIR.")] = True,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
    ship: Annotated[
        bool, typer.Option("--ship", help="Then measure the model and put it into the package as nano weights.")
    ] = False,
) -> None:
    """Train a system or a foundation; stop it with Ctrl-C and the same command goes on where it was."""
    from koine.cli.prompt import read_settings

    overrides = read_settings(settings or ())
    chosen = _recipe(name, recipe)
    folder = out or Path("runs") / f"{name}-{recipe}"

    from koine.training import TrainingStopped, run

    try:
        finished = run(chosen, folder, stage=stage, overrides=overrides, resume=resume, quiet=quiet)
    except TrainingStopped as stop:
        # The command line's library would swallow the words of a KeyboardInterrupt.
        typer.echo(f"stopped: {stop}".rstrip(": "), err=True)
        raise typer.Exit(130) from stop
    if ship:
        from koine.registry import weights_folder
        from koine.training.shipping import ship as put_into_package

        finished = put_into_package(chosen, finished, weights_folder(name))
    print(finished)


def _recipe(name: str, recipe: str) -> Recipe:
    """The recipe of a system or of a foundation."""
    from koine import foundations
    from koine.registry import SYSTEMS, built_systems, room

    recipes: Mapping[str, Callable[[], Recipe]]
    if name in foundations.RECIPES:
        recipes = {"nano": foundations.RECIPES[name]}
    elif name.lower() in SYSTEMS:
        recipes = room(name, "recipe").RECIPES
    else:
        known = [*foundations.RECIPES, *(info.name for info in built_systems())]
        raise InputError.unknown("system or foundation", name, known)
    if recipe not in recipes:
        raise InputError.unknown(f"recipe of {name}", recipe, recipes)
    return recipes[recipe]()
