"""Files of one kind that may have a class each, in folders or in tables: what pictures and sounds have in common.

Read as they lie on disk: a folder of files, with or without a folder for each class, or parquet files (those of a
Hugging Face data set, for example) with a column that holds encoded files. Nothing is decoded before its turn.
"""

from __future__ import annotations

import io
import json
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, Protocol, TypeVar

from koine.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

LABEL = "label"
"""The column of a Hugging Face data set that holds the number of each row's class."""

T = TypeVar("T")
Read = TypeVar("Read", covariant=True)


@dataclass(frozen=True)
class Kind(Generic[T]):
    """What the files hold.

    Attributes:
        name: one of them in a word.
        suffixes: of their names.
        column: of tables that hold them, as Hugging Face's data sets call it.
        read: makes it from a path or an open file; raises `InputError` for what it can't read.
    """

    name: str
    suffixes: tuple[str, ...]
    column: str
    read: Callable[[Path | BinaryIO], T]


@dataclass(frozen=True)
class LabelledFile:
    """Where one comes from.

    Attributes:
        name: its file's name below the folder, or its place in the tables.
        label: number of its class; None if there are no classes.
    """

    name: str
    label: int | None = None


class LabelledFiles(Protocol[Read]):
    """Files that can be opened in any order, and the names of their classes, if they have any."""

    classes: Sequence[str]

    def __len__(self) -> int: ...

    def open(self, index: int) -> Read:
        """What the file of that number holds.

        Raises:
            InputError: it can't be read; the message names the file.
        """

    def where(self, index: int) -> LabelledFile:
        """Where it comes from."""


def open_files(
    kind: Kind[T], path: str | os.PathLike[str], *, split: str | None = None, label: str = LABEL
) -> LabelledFiles[T]:
    """The files of a folder, or of the parquet files in it.

    Args:
        path: the folder, a parquet file, or a folder with a folder or parquet files for each split.
        split: "train", "validation", ...; by default everything that there is.
        label: the column of the parquet files whose values are the classes.
    Raises:
        InputError: there are none.
    """
    root = Path(path)
    if not root.exists():
        raise InputError(f"there is no folder {root}: give one with {kind.name}s, or with parquet files that hold them")
    if tables := _parquet_files(root, split):
        return FilesInParquet(kind, tables, label)
    folder = root / split if split and (root / split).is_dir() else root
    return FilesInFolder(kind, folder)


class FilesInTurn(Generic[T]):
    """Several collections, one after another; the classes are those of the first.

    A file of another whose class the first has not is one without a class.
    """

    def __init__(self, parts: Sequence[LabelledFiles[T]]) -> None:
        self.parts = parts
        self.classes = parts[0].classes
        self._labels = [_renumbered(part.classes, self.classes) for part in parts]
        self._ends = list(accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1]

    def open(self, index: int) -> T:
        number, place = self._found(index)
        return self.parts[number].open(place)

    def where(self, index: int) -> LabelledFile:
        number, place = self._found(index)
        found = self.parts[number].where(place)
        return found if found.label is None else replace(found, label=self._labels[number][found.label])

    def _found(self, index: int) -> tuple[int, int]:
        number = bisect_right(self._ends, index)
        return number, index - (self._ends[number - 1] if number else 0)


class FilesInFolder(Generic[T]):
    """Every such file below a folder, by name; if all lie in folders of the first level, these are the classes."""

    def __init__(self, kind: Kind[T], folder: Path) -> None:
        """
        Raises:
            InputError: there is none below it.
        """
        self.kind, self.folder = kind, folder
        self.names = sorted(_names_below(folder, kind.suffixes)) if folder.is_dir() else []
        if not self.names:
            suffixes = ", ".join(kind.suffixes)
            raise InputError(f"{folder} holds no {kind.name}s ({suffixes}): give the folder that holds them")
        tops = [name.partition(os.sep)[0] if os.sep in name else None for name in self.names]
        self.classes: Sequence[str] = [] if None in tops else sorted({top for top in tops if top is not None})
        numbers = {name: number for number, name in enumerate(self.classes)}
        self._labels = [numbers.get(top or "") for top in tops]

    def __len__(self) -> int:
        return len(self.names)

    def open(self, index: int) -> T:
        return self.kind.read(self.folder / self.names[index])

    def where(self, index: int) -> LabelledFile:
        return LabelledFile(self.names[index], self._labels[index])


class FilesInParquet(Generic[T]):
    """The rows of parquet files with a column of encoded files, {bytes, path} or bytes, and perhaps one of classes.

    Classes are what the hub's metadata call them, or else the column's values in order if they are words, or if the
    column was asked for by another name than `LABEL`: numbers there may mean anything.

    Rows are read by row group, of which the latest few are kept: cheap in order, dear at random if groups are large.
    """

    def __init__(self, kind: Kind[T], files: Sequence[Path], label: str = LABEL, *, beside: Sequence[str] = ()) -> None:
        """
        Args:
            label: the column of the classes.
            beside: more columns that `row` gives, as far as the files have them.
        Raises:
            InputError: a file is damaged or has no such column, or none has a row.
        """
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.kind, self.files, self.label, self.beside = kind, list(files), label, tuple(beside)
        groups: list[tuple[int, int]] = []
        sizes: list[int] = []
        for number, file in enumerate(self.files):
            try:
                opened = pq.ParquetFile(file)
            except (pa.ArrowException, OSError) as error:
                raise InputError(f"{file} is not a readable parquet file ({error}): fetch it again") from error
            self._check_columns(opened.schema_arrow, file)
            groups += [(number, group) for group in range(opened.num_row_groups)]
            sizes += [opened.metadata.row_group(group).num_rows for group in range(opened.num_row_groups)]
        if not sum(sizes):
            raise InputError(f"{self.files[0]} holds no {kind.name}s: give tables with rows")
        self._groups = groups
        self._ends = np.cumsum(sizes)
        self.classes: Sequence[str] = _class_names(pq.read_schema(self.files[0]), label)
        self._numbers: dict[Any, int] | None = None
        if not self.classes and (values := self._values_of_label()):
            self.classes = [str(value) for value in values]
            self._numbers = {value: number for number, value in enumerate(values)}
        self._read = lru_cache(maxsize=8)(self._read_group)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def open(self, index: int) -> T:
        value = self.row(index)[self.kind.column]
        content = value.get("bytes") if isinstance(value, dict) else value
        where = f"{self.kind.name} {index} of {self.files[0].parent}"
        if content is None:
            raise InputError(f"{where} is not inside of its file: embed the {self.kind.name}s")
        try:
            return self.kind.read(io.BytesIO(content))
        except InputError as error:
            raise InputError(f"{where}: {error}") from error

    def where(self, index: int) -> LabelledFile:
        value = self.row(index).get(self.label)
        if self._numbers is not None:
            return LabelledFile(str(index), self._numbers.get(value))
        if value is None or value < 0 or not self.classes:  # -1 stands for a label that is kept secret
            return LabelledFile(str(index))
        return LabelledFile(str(index), int(value))

    def row(self, index: int) -> dict[str, Any]:
        """The columns of a row that are read; that of the file is called as its kind says."""
        import numpy as np

        place = int(np.searchsorted(self._ends, index, side="right"))
        begin = int(self._ends[place - 1]) if place else 0
        row: dict[str, Any] = self._read(place).slice(index - begin, 1).to_pylist()[0]
        return row

    def _check_columns(self, schema: pa.Schema, file: Path) -> None:
        if _column_of_files(schema, self.kind.column) is None:
            raise InputError(
                f"{file} has no column {self.kind.column!r} but {schema.names}: give {self.kind.column} data sets"
            )
        if self.label != LABEL and self.label not in schema.names:
            raise InputError.unknown(f"column of classes in {file}", self.label, schema.names)

    def _values_of_label(self) -> list[Any]:
        """The different values of the column of classes in order; none if they are numbers that nobody named."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        schema = pq.read_schema(self.files[0])
        if self.label not in schema.names:
            return []
        kind = schema.field(self.label).type
        if self.label == LABEL and not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            return []
        found: set[Any] = set()
        for file in self.files:
            if self.label in pq.read_schema(file).names:
                found.update(pc.unique(pq.read_table(file, columns=[self.label])[self.label]).to_pylist())
        return sorted(found - {None})

    def _read_group(self, place: int) -> pa.Table:
        import pyarrow.parquet as pq

        file, group = self._groups[place]
        opened = pq.ParquetFile(self.files[file])
        held = _column_of_files(opened.schema_arrow, self.kind.column)
        wanted = [name for name in (held, self.label, *self.beside) if name in opened.schema_arrow.names]
        table = opened.read_row_group(group, columns=wanted)
        return table.rename_columns([self.kind.column if name == held else name for name in table.column_names])


def _parquet_files(root: Path, split: str | None) -> list[Path]:
    if root.is_file():
        return [root] if root.suffix == ".parquet" else []
    found = sorted(root.rglob("*.parquet"))
    return [file for file in found if split is None or file.name.startswith(split) or split in file.parts[-2:-1]]


def _column_of_files(schema: pa.Schema, usual: str) -> str | None:
    """The usual one, or else the only column that holds encoded files; None if there is neither."""
    import pyarrow as pa

    def holds_files(kind: pa.DataType) -> bool:
        if pa.types.is_struct(kind):
            return {field.name for field in kind} == {"bytes", "path"}
        return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    if usual in schema.names:
        return usual
    found = [field.name for field in schema if holds_files(field.type)]
    return found[0] if len(found) == 1 else None


def _renumbered(classes: Sequence[str], known: Sequence[str]) -> list[int | None]:
    """For each class its number among the known ones; None if it isn't there."""
    if list(classes) == list(known):  # two may be called the same
        return list(range(len(known)))
    return [known.index(name) if name in known else None for name in classes]


def _names_below(folder: Path, suffixes: tuple[str, ...]) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(suffixes) and not name.startswith("."):
                yield os.path.relpath(os.path.join(place, name), folder)


def _class_names(schema: pa.Schema, label: str) -> list[str]:
    """What the hub's metadata call the classes; empty if they don't name any."""
    if label not in schema.names:
        return []
    metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    feature = metadata.get("info", {}).get("features", {}).get(label, {})
    return list(feature.get("names") or [])
