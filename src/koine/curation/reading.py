"""Reads a shard batch by batch, the same way each time, whatever its format; damage is counted or stops the run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from koine.curation.archives import read_samples
from koine.curation.cleaning import Batch, Cleaner, as_bytes
from koine.curation.common_crawl import read_warc, read_wat
from koine.curation.compressed import BROKEN, one_line, open_compressed
from koine.curation.options import OnDamage
from koine.curation.shards import Format, Shard
from koine.errors import InputError

BATCH = 16_384
"""Rows that are read at once: texts may be long, and memory is to stay small."""
_GROUP = 32
"""A row's number is its row group, shifted by so many bits, and its place in there: damage before changes nothing."""


@dataclass(frozen=True)
class Reader:
    """How a shard's rows are read and cleaned."""

    cleaner: Cleaner
    on_damage: OnDamage

    def batches(self, shard: Shard, wanted: Collection[int] | None = None) -> Iterator[Batch]:
        """The rows of a shard, in order.

        Args:
            shard: what to read.
            wanted: the row groups that are needed (`row_groups_of` tells); None for all. Other formats are read whole.

        Raises:
            InputError: something can't be read and `on_damage` says to stop; or rows hold something else than expected.
        """
        if shard.format is Format.PARQUET:
            yield from self._parquet(shard, wanted)
            return
        records = _RECORDS[shard.format]
        lost: Counter[str] = Counter()
        first = 0
        for rows in _runs(self._until_damage(records(Path(shard.path), self.cleaner, lost), shard.path, lost)):
            batch = self.cleaner.clean(_table(rows, self.cleaner.columns.text), first, shard.path)
            batch.skipped.update(lost)
            lost.clear()
            first += batch.numbered
            yield batch
        if lost:
            yield _nothing_but(lost)

    def _parquet(self, shard: Shard, wanted: Collection[int] | None) -> Iterator[Batch]:
        assert shard.row_groups is not None
        # Memory maps and threads make no difference to the rows, only to how much memory is in use.
        with pq.ParquetFile(shard.path, memory_map=False, pre_buffer=False) as source:
            for group in range(*shard.row_groups):
                if wanted is not None and group not in wanted:
                    continue
                yield from self._row_group(source, group, shard.path)

    def _row_group(self, source: pq.ParquetFile, group: int, path: str) -> Iterator[Batch]:
        expected, done, first = source.metadata.row_group(group).num_rows, 0, group << _GROUP
        try:
            for records in source.iter_batches(BATCH, row_groups=[group], use_threads=False):
                batch = self.cleaner.clean(pa.Table.from_batches([records]), first, path)
                done += records.num_rows
                first += batch.numbered
                yield batch
        except (OSError, pa.ArrowException) as error:
            self._damage(path, error)
            yield _nothing_but(Counter({"unreadable rows": expected - done, "damaged row groups": 1}))

    def _until_damage(
        self, records: Iterator[dict[str, Any]], path: str, lost: Counter[str]
    ) -> Iterator[dict[str, Any]]:
        try:
            yield from records
        except (*BROKEN, ValueError) as error:
            if isinstance(error, InputError):
                raise
            self._damage(path, error)
            lost["damaged files"] += 1

    def _damage(self, path: str, error: BaseException) -> None:
        if self.on_damage is OnDamage.STOP:
            raise InputError(
                f"{path} can't be read to its end ({one_line(error)}): mend or remove it, or --on-damage skip"
            ) from error


def row_groups_of(rows: npt.NDArray[np.int64]) -> set[int]:
    """The parquet row groups of rows' numbers."""
    return set(np.unique(rows >> _GROUP).tolist())


def _nothing_but(skipped: Counter[str]) -> Batch:
    nothing = pa.array([], pa.large_string())
    return Batch(np.zeros(0, np.int64), pa.table({}), nothing, nothing, None, None, 0, Counter(skipped))


def _runs(records: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    run: list[dict[str, Any]] = []
    for record in records:
        run.append(record)
        if len(run) == BATCH:
            yield run
            run = []
    if run:
        yield run


def _table(records: list[dict[str, Any]], text: str) -> pa.Table:
    """Columns of strings, that of the texts of bytes, since Python's strings from JSON may be invalid."""
    columns = {}
    for name in records[0]:
        values = [record[name] for record in records]
        if name != text:
            valid = [value if value is None else value.encode("utf-8", "replace").decode() for value in values]
            columns[name] = pa.array(valid, pa.large_string())
        elif any(isinstance(value, list) for value in values):
            values = [value if isinstance(value, list) or value is None else [value] for value in values]
            encoded = [None if value is None else [as_bytes(one) for one in value] for value in values]
            columns[name] = pa.array(encoded, pa.large_list(pa.large_binary()))
        else:
            columns[name] = pa.array(
                [value if value is None else as_bytes(value) for value in values], pa.large_binary()
            )
    return pa.table(columns)


def _json_lines(path: Path, cleaner: Cleaner, lost: Counter[str]) -> Iterator[dict[str, Any]]:
    """The named fields of each line, and the line itself as "record", so that nothing is lost."""
    with open_compressed(path) as lines:
        for line in lines:
            if not line.strip():
                continue
            try:
                record = json.loads(line.decode("utf-8", "surrogateescape"))
            except ValueError:
                record = None
            if isinstance(record, dict):
                yield {**_fields(record, cleaner), "record": line.decode("utf-8", "replace").rstrip("\r\n")}
            else:
                lost["lines that are no JSON object"] += 1


def _webdataset(path: Path, cleaner: Cleaner, lost: Counter[str]) -> Iterator[dict[str, Any]]:
    for sample in read_samples(path):
        yield {**_fields(sample.fields(cleaner.columns.text), cleaner, uid=sample.key), "key": sample.key}


def _wat(path: Path, cleaner: Cleaner, lost: Counter[str]) -> Iterator[dict[str, Any]]:
    with open_compressed(path) as lines:
        for link in read_wat(lines, cleaner.rule):
            for attribute, text in link.texts:
                yield _named({"uid": link.uid, "url": link.url, "text": text}, cleaner, attribute)


def _warc(path: Path, cleaner: Cleaner, lost: Counter[str]) -> Iterator[dict[str, Any]]:
    with open_compressed(path) as stream:
        for link in read_warc(stream, cleaner.rule):
            for attribute, text in link.texts:
                yield _named({"uid": link.uid, "url": link.url, "text": text}, cleaner, attribute)


_RECORDS = {
    Format.JSON_LINES: _json_lines,
    Format.WEBDATASET: _webdataset,
    Format.WAT: _wat,
    Format.WARC: _warc,
}


def _fields(record: dict[str, Any], cleaner: Cleaner, uid: str | None = None) -> dict[str, Any]:
    """The fields that the columns name; a text may be a list, also of pairs of attribute and text (as released)."""
    columns = cleaner.columns
    text = record.get(columns.text)
    if isinstance(text, list):
        text = [item[1] if isinstance(item, list) and len(item) > 1 else item for item in text]
        text = [item for item in text if isinstance(item, str)]
    taken: dict[str, Any] = {columns.text: text if isinstance(text, (str, list)) else None}
    for name in (columns.url, columns.uid, columns.language):
        if name is not None:
            value = record.get(name)
            taken[name] = None if value is None or isinstance(value, (list, dict)) else str(value)
    if uid is not None and columns.uid is not None and taken[columns.uid] is None:
        taken[columns.uid] = uid
    return taken


def _named(link: dict[str, str], cleaner: Cleaner, attribute: str) -> dict[str, Any]:
    names = {"uid": cleaner.columns.uid, "url": cleaner.columns.url, "text": cleaner.columns.text}
    return {name: link[kind] for kind, name in names.items() if name is not None} | {"attribute": attribute}
