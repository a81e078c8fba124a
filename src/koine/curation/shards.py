"""Which files a run reads, of what format, and how they are cut into pieces of work."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from koine.curation.compressed import one_line
from koine.curation.options import OnDamage
from koine.errors import InputError


class Format(StrEnum):
    """What a file holds."""

    PARQUET = "parquet"
    JSON_LINES = "json lines"
    WEBDATASET = "webdataset"
    WAT = "wat"
    WARC = "warc"


# The first ending that fits decides: Common Crawl's metadata are named "….warc.wat.gz".
_ENDINGS = (
    (".parquet", Format.PARQUET),
    (".wat.gz", Format.WAT),
    (".wat", Format.WAT),
    (".warc.gz", Format.WARC),
    (".warc", Format.WARC),
    (".jsonl", Format.JSON_LINES),
    (".jsonl.gz", Format.JSON_LINES),
    (".ndjson", Format.JSON_LINES),
    (".ndjson.gz", Format.JSON_LINES),
    (".json.gz", Format.JSON_LINES),
    (".tar", Format.WEBDATASET),
    (".tar.gz", Format.WEBDATASET),
)


@dataclass(frozen=True)
class Shard:
    """One piece of work: a file, or some row groups of a parquet file."""

    number: int
    path: str
    format: Format
    size: int
    """Bytes of the file."""
    modified: int
    """Nanoseconds; with `size` tells whether the file is still the same."""
    row_groups: tuple[int, int] | None = None
    """The first row group and the one after the last; None for files of other formats."""
    rows: int | None = None
    """How many there are, if that is known without reading."""

    def as_json(self) -> dict[str, Any]:
        """All fields as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Shard:
        """The inverse of `as_json`."""
        groups = values["row_groups"]
        return cls(
            **{
                **values,
                "format": Format(values["format"]),
                "row_groups": tuple(groups) if groups is not None else None,
            }
        )

    def check(self) -> None:
        """Raises InputError if the file is gone or has changed since the run was planned."""
        try:
            found = Path(self.path).stat()
        except OSError as error:
            raise InputError(
                f"{self.path} can't be read any more ({error.strerror}): restore it and run again"
            ) from error
        if (found.st_size, found.st_mtime_ns) != (self.size, self.modified):
            raise InputError(
                f"{self.path} has changed since the run began: restore it, or begin anew in another folder"
            )


@dataclass(frozen=True)
class Plan:
    """All shards of a run, and the files that were passed over because they can't be opened at all."""

    shards: tuple[Shard, ...]
    unreadable: tuple[str, ...]


def plan(inputs: Iterable[str], *, rows_per_shard: int, on_damage: OnDamage) -> Plan:
    """Cuts the inputs into shards, in the order of their paths.

    Raises:
        InputError: an input names no file, or a file of an unknown format; or one can't be opened and `on_damage` says
            to stop.
    """
    shards: list[Shard] = []
    unreadable = []
    for path in find_files(inputs):
        try:
            shards.extend(_cut(path, len(shards), rows_per_shard))
        except (OSError, pa.ArrowException) as error:
            if on_damage is OnDamage.STOP:
                raise InputError(
                    f"{path} can't be opened ({one_line(error)}): mend or remove it, or --on-damage skip"
                ) from error
            unreadable.append(str(path))
    if not shards and not unreadable:
        raise InputError("there is nothing to read: the inputs hold no rows")
    return Plan(tuple(shards), tuple(unreadable))


def find_files(inputs: Iterable[str]) -> list[Path]:
    """The files that the inputs name, sorted, each once. Of a folder, at any depth, those of a known format.

    Raises:
        InputError: an input names no file, or one of an unknown format.
    """
    found: set[Path] = set()
    for given in inputs:
        if Path(given).is_dir():
            inside = {path for path in Path(given).rglob("*") if path.is_file() and _format(path) is not None}
            if not inside:
                raise InputError(f"the folder {given} has no file of a known format: {_known()}")
            found |= inside
            continue
        named = [Path(name) for name in glob.glob(given)] or [Path(given)]
        for path in named:
            if not path.exists():
                raise InputError(f"there is no input {given}: give files, folders or patterns")
            if _format(path) is None:
                raise InputError(f"{path} is of no known format: {_known()}")
        found |= set(named)
    return sorted(found)


def _format(path: Path) -> Format | None:
    return next((kind for ending, kind in _ENDINGS if path.name.endswith(ending)), None)


def _known() -> str:
    return "its name has to end in " + ", ".join(ending for ending, _ in _ENDINGS)


def _cut(path: Path, first: int, rows_per_shard: int) -> Iterator[Shard]:
    kind = _format(path)
    assert kind is not None
    about = path.stat()
    if kind is not Format.PARQUET:
        with path.open("rb"):
            yield Shard(first, str(path), kind, about.st_size, about.st_mtime_ns)
        return
    groups = pq.read_metadata(path)
    begin = rows = 0
    number = first
    for group in range(groups.num_row_groups):
        rows += groups.row_group(group).num_rows
        if rows >= rows_per_shard or group + 1 == groups.num_row_groups:
            yield Shard(number, str(path), kind, about.st_size, about.st_mtime_ns, (begin, group + 1), rows)
            begin, rows, number = group + 1, 0, number + 1
