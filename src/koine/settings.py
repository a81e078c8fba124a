"""Settings as text from the command line, read as the type of what they set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args, get_origin

from koine.errors import InputError


def read_setting(key: str, value: object, kind: Any) -> Any:
    """`value` as the type `kind`: a class, a Literal, an optional or a tuple of them."""
    try:
        return _convert(value, kind)
    except (TypeError, ValueError) as error:
        raise InputError(f"setting {key} = {value!r} is of the wrong kind: give {_describe(kind)}") from error


def read_value(text: str) -> Any:
    """A number, a list, true, false or null as JSON writes them, or else the text: for what has no known type."""
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text


def check_options(options: Iterable[str], config: type, *, of: str) -> None:
    """Refuses options that are no fields of a configuration, which transformers' classes would keep without a use.

    Args:
        of: whose options they are, for the error.
    Raises:
        InputError: an option that `config` doesn't define.
    """
    for option in options:
        if option not in config.__annotations__:
            raise InputError.unknown(f"option of {of}", option, config.__annotations__)


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


def is_readable(kind: Any) -> bool:
    """Whether text can be read as this type: a number, a word, a truth, one of some words, or none of these."""
    if get_origin(kind) is Literal:
        return True
    if type(None) in get_args(kind):
        return all(is_readable(each) for each in get_args(kind) if each is not type(None))
    return kind in (bool, int, float, str)
