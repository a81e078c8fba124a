"""Reads the JSON files of published data sets, one record at a time; errors name the file, the record and the field."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

from koine.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Record:
    """One JSON object and where it stands, so that a bad field can be found and mended.

    Attributes:
        values: the object's fields.
        where: for people, such as `pope.json, line 3`.
    """

    values: Mapping[str, Any]
    where: str

    def field(self, name: str, kind: type[T]) -> T:
        """The value of a field that must be there; an integer is taken where a float is asked for.

        Raises:
            InputError: the field is missing or holds something else.
        """
        if name not in self.values:
            has = ", ".join(sorted(self.values)) or "none"
            raise InputError(
                f"{self.where}: field {name!r} is missing (fields there: {has}): "
                "take the file as its authors published it, or add the field"
            )
        return self._checked(name, kind)

    def optional(self, name: str, kind: type[T], default: T) -> T:
        """As `field`, with `default` where the field is missing or null."""
        return default if self.values.get(name) is None else self._checked(name, kind)

    def numbers(self, name: str, count: int) -> tuple[float, ...]:
        """A field that holds a list of `count` numbers.

        Raises:
            InputError: missing, another length, or not numbers.
        """
        values = self.field(name, list)
        if len(values) != count or not all(_is_number(value) for value in values):
            raise InputError(f"{self.where}: field {name!r} is {_short(values)}: give a list of {count} numbers")
        return tuple(float(value) for value in values)

    def children(self, name: str) -> list[Record]:
        """The objects of a field that holds a list of objects.

        Raises:
            InputError: missing, or something else than objects in it.
        """
        entries = self.field(name, list)
        for number, entry in enumerate(entries):
            if not isinstance(entry, Mapping):
                raise InputError(f"{self.where}: {name}[{number}] is {_short(entry)}: give a JSON object")
        return [Record(entry, f"{self.where}, {name}[{number}]") for number, entry in enumerate(entries)]

    def _checked(self, name: str, kind: type[T]) -> T:
        value: Any = self.values[name]
        if kind is float and _is_number(value):
            value = float(value)
        fits = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
        if not fits:
            raise InputError(f"{self.where}: field {name!r} is {_short(value)}: give a value of type {kind.__name__}")
        return value


def read_json(path: Path) -> Any:
    """The content of a JSON file, whole.

    Raises:
        InputError: it can't be read, or isn't JSON (with line and column).
    """
    try:
        return json.loads(_read(path))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}, line {error.lineno}, column {error.colno}: not JSON ({error.msg}): "
            "the file may be cut short, fetch it again"
        ) from error


def read_object(path: Path) -> Record:
    """A JSON file that holds one object.

    Raises:
        InputError: as `read_json`, or it holds something else.
    """
    content = read_json(path)
    if not isinstance(content, Mapping):
        raise InputError(f"{path} holds a {type(content).__name__}: give a JSON object, {{...}}")
    return Record(content, path.name)


def json_lines(path: Path) -> Iterator[Record]:
    """The objects of a JSON-lines file in order; empty lines are skipped.

    Raises:
        InputError: the file can't be read, or a line isn't a JSON object (with the line's number).
    """
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            where = f"{path.name}, line {number}"
            try:
                values = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(
                    f"{where}: not JSON ({error.msg} at column {error.colno}): one whole JSON object per line is needed"
                ) from error
            if not isinstance(values, Mapping):
                raise InputError(f"{where}: {_short(values)} is not a JSON object: one object per line is needed")
            yield Record(values, where)


def json_array(path: Path, prefix: str = "item") -> Iterator[Record]:
    """The objects of a JSON array one by one, without holding the array: files of several gigabytes are usual.

    Args:
        prefix: where the array's items are, in ijson's words: `item` for an array at the top, `annotations.item` for
            the array in the field `annotations`.
    Raises:
        InputError: the file can't be read, isn't JSON, or an item isn't an object.
    """
    import ijson

    name = prefix.removesuffix("item").removesuffix(".")
    with _opened(path, "rb") as file:
        items = enumerate(ijson.items(file, prefix, use_float=True))
        while True:
            try:
                number, values = next(items)
            except StopIteration:
                return
            except ijson.JSONError as error:
                reason = " ".join(str(error).split())[:120]
                raise InputError(f"{path}: not JSON ({reason}): the file may be cut short, fetch it again") from error
            where = f"{path.name}, {name}[{number}]" if name else f"{path.name}, record {number}"
            if not isinstance(values, Mapping):
                raise InputError(f"{where}: {_short(values)} is not a JSON object: an array of objects is needed")
            yield Record(values, where)


def _read(path: Path) -> str:
    with _opened(path) as file:
        return str(file.read())


def _opened(path: Path, mode: Literal["r", "rb"] = "r") -> IO[Any]:
    """The file opened for reading; as text it is UTF-8 in which undecodable bytes are replaced.

    One odd byte in a caption shouldn't stop a run over a million others.
    """
    try:
        return path.open("rb") if mode == "rb" else path.open(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}: give the path of an annotation file") from error


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: object) -> str:
    """The value in at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
