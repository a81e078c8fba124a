"""`koine train NAME`: runs the stages of a recipe, resumably."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer

from koine.errors import InputError

if TYPE_CHECKING:
    from koine.training import Recipe


def train(
    name: Annotated[str, typer.Argument(help="A system from `koine list`, or a foundation such as clip.")],
    recipe: Annotated[str, typer.Option(help="Which of its recipes.")] = "nano",
    stage: Annotated[str | None, typer.Option(help="Only this stage; default: all that aren't finished.")] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE[=REPEAT]", help="A file of records, for recipes that train on yours; repeatable."),
    ] = None,
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="The pictures of these records.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a field of the recipe, its stages or what it holds, e.g. steps=50 or match.batch_size=8.",
        ),
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

    given = {"data_files": tuple(data or ()), "images": None if images is None else str(images)}
    chosen, overrides = _configured(_recipe(name, recipe), given, read_settings(settings or ()))
    folder = out or Path("runs") / f"{name}-{recipe}"

    from accelerate import PartialState

    from koine.training import TrainingStopped, run

    try:
        finished = run(chosen, folder, stage=stage, overrides=overrides, resume=resume, quiet=quiet)
    except TrainingStopped as stop:
        # The command line's library would swallow the words of a KeyboardInterrupt.
        typer.echo(f"stopped: {stop}".rstrip(": "), err=True)
        raise typer.Exit(130) from stop
    if not PartialState().is_main_process:  # the others' work is done
        return
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


def _configured(recipe: Any, files: Mapping[str, object], settings: Mapping[str, str]) -> tuple[Recipe, dict[str, str]]:
    """The recipe with its own settings put in, and the settings of its stages.

    A name that both have, such as `seed`, is set in both. `objective.alpha` is a field of what the recipe holds.

    Args:
        files: field -> value, of what has an option of its own; empty where it wasn't given.
    Raises:
        InputError: nobody has such a setting, or the value is of the wrong type.
    """
    from koine.settings import read_setting
    from koine.training.stage import Stage

    kinds = _settable(recipe)
    of_stages = {field.name for field in dataclasses.fields(Stage)} - {"name"}
    for key in settings:
        if "." not in key and key not in kinds.keys() | of_stages:
            raise InputError.unknown("setting of this recipe", key, kinds.keys() | of_stages)
    changed = {key: read_setting(key, value, kinds[key]) for key, value in settings.items() if key in kinds}
    held = {key: value for key, value in settings.items() if _holder(recipe, key) is not None}
    for key, value in held.items():
        field, _, inner = key.partition(".")
        changed[field] = _with(changed.get(field, _holder(recipe, key)), inner, value, key)
    given = {field: value for field, value in files.items() if value}
    if given.keys() - kinds.keys():
        raise InputError(
            "this recipe makes its own data: leave --data and --images away, or name another with --recipe"
        )
    changed |= given
    left = {key: value for key, value in settings.items() if key not in held}
    overrides = {key: value for key, value in left.items() if key not in kinds or key in of_stages}
    return (dataclasses.replace(recipe, **changed) if changed else recipe), overrides


def _holder(recipe: Any, key: str) -> Any:
    """What the recipe's field before the dot holds, if it has fields or options of its own; else None."""
    field, dot, _ = key.partition(".")
    if not dot or not dataclasses.is_dataclass(recipe) or field not in {one.name for one in dataclasses.fields(recipe)}:
        return None
    held = getattr(recipe, field)
    return held if isinstance(held, dict) or dataclasses.is_dataclass(held) else None


def _with(held: Any, inner: str, value: str, key: str) -> Any:
    """A copy of a dataclass or dictionary in which `inner` is set to what the text says.

    Raises:
        InputError: the dataclass has no such field, or the value is of the wrong type.
    """
    from koine.settings import read_setting, read_value

    if isinstance(held, dict):
        return {**held, inner: read_value(value)}
    kinds = _settable(held)
    if inner not in kinds:
        raise InputError.unknown(f"setting of {key.partition('.')[0]}", inner, kinds)
    return dataclasses.replace(held, **{inner: read_setting(key, value, kinds[inner])})


def _settable(recipe: object) -> dict[str, Any]:
    """The recipe's fields that text can be read as, with their types."""
    if not dataclasses.is_dataclass(recipe):
        return {}
    hints = get_type_hints(type(recipe))
    return {field.name: hints[field.name] for field in dataclasses.fields(recipe) if _is_plain(hints[field.name])}


def _is_plain(kind: Any) -> bool:
    """Whether a type is a number, text, truth, or a choice, tuple or alternative of these."""
    if kind in (int, float, str, bool, type(None), Ellipsis) or get_origin(kind) is Literal:
        return True
    return get_origin(kind) in (tuple, Union, UnionType) and all(map(_is_plain, get_args(kind)))
