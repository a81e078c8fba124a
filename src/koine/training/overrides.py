"""Settings from outside: changes of a recipe's stages, checked against the stages' own fields and types."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from koine.errors import InputError
from koine.training.stage import Stage


def apply_overrides(stages: Sequence[Stage], overrides: Mapping[str, object]) -> tuple[Stage, ...]:
    """The stages with the overrides put in.

    A key is a field of `Stage` (for every stage) or `<stage>.<field>` (for one; it wins over the former). A value
    has the field's type or is text that reads as it, as the command line gives it: `"1e-3"`, `"0.9,0.95"`, `"none"`.

    Raises:
        InputError: an unknown key (with the nearest names), a value of the wrong type or out of range.
    """
    names = [stage.name for stage in stages]
    fields = [field.name for field in dataclasses.fields(Stage) if field.name != "name"]
    known = [*fields, *(f"{name}.{field}" for name in names for field in fields)]
    for key in overrides:
        if key not in known:
            raise _unknown_setting(key, names, fields)
    kinds = get_type_hints(Stage)
    changed = []
    for stage in stages:
        values = {}
        for field in fields:
            for key in (field, f"{stage.name}.{field}"):
                if key in overrides:
                    values[field] = read_setting(key, overrides[key], kinds[field])
        changed.append(dataclasses.replace(stage, **values))
    return tuple(changed)


def _unknown_setting(key: str, names: Sequence[str], fields: Sequence[str]) -> InputError:
    stage, dot, field = key.rpartition(".")
    if dot and stage not in names:
        return InputError.unknown("stage", stage, names)
    return InputError.unknown("setting of a stage", field, fields)


def read_setting(key: str, value: object, kind: Any) -> Any:
    """`value` as the type `kind`: a class, a Literal, an optional or a tuple of them."""
    try:
        return _convert(value, kind)
    except (TypeError, ValueError) as error:
        raise InputError(f"setting {key} = {value!r} is of the wrong kind: give {_describe(kind)}") from error


def _convert(value: object, kind: Any) -> Any:
    if get_origin(kind) is Literal:
        if value in get_args(kind):
            return value
        raise ValueError
    if get_origin(kind) is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, Sequence):
            raise TypeError
        inner = get_args(kind)
        kinds = [inner[0]] * len(parts) if inner[-1] is Ellipsis else list(inner)
        return tuple(_convert(part, each) for part, each in zip(parts, kinds, strict=True))
    if type(None) in get_args(kind):
        if value is None or (isinstance(value, str) and value.lower() == "none"):
            return None
        return _convert(value, next(each for each in get_args(kind) if each is not type(None)))
    if kind is bool:
        truths = {"true": True, "false": False}
        if isinstance(value, str) and value.lower() in truths:
            return truths[value.lower()]
    if isinstance(value, bool) != (kind is bool):
        raise TypeError  # True is an int to Python, but "steps = True" is a mistake
    if kind is float and isinstance(value, (int, float, str)):
        return float(value)
    if kind is int and isinstance(value, str):
        return int(value)
    if isinstance(value, kind):
        return value
    raise TypeError


def _describe(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        return f"a list of {_plural(inner[0])}" if inner[-1] is Ellipsis else f"{len(inner)} {_plural(inner[0])}"
    if get_args(kind):
        return " or ".join(_describe(each) for each in get_args(kind))
    singular = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "none"}
    return singular[kind]


def _plural(kind: Any) -> str:
    return {int: "whole numbers", float: "numbers", str: "texts"}[kind]
