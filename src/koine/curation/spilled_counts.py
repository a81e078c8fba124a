"""Counts of more distinct strings than memory holds: sums in memory, spilled to disk, added up part by part."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pyarrow as pa

from koine.curation.draws import hash_column
from koine.errors import InputError

PARTS = 64


class SpilledCounts:
    """Adds counts of strings. A context manager: its files are removed at the end.

    Strings are divided among PARTS by their hash, so that one part's distinct strings fit into memory however many
    there are altogether.
    """

    def __init__(self, folder: Path | None = None, *, in_memory: int = 2_000_000) -> None:
        """Args:
        folder: where to spill to; by default the system's place for temporary files.
        in_memory: how many distinct strings to hold before spilling.
        """
        self._folder = Path(mkdtemp(prefix="counts-", dir=folder))
        self._in_memory = in_memory
        self._counts: Counter[str] = Counter()
        self._runs: list[tuple[Path, np.ndarray[tuple[int], np.dtype[np.int64]]]] = []

    def __enter__(self) -> SpilledCounts:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, counts: Mapping[str, int]) -> None:
        """Adds to the counts of these strings.

        Raises:
            InputError: the disk is full.
        """
        self._counts.update(counts)
        if len(self._counts) >= self._in_memory:
            self._spill()

    def items(self, least: int = 1) -> Iterator[tuple[str, int]]:
        """Every string with its count, if that is at least `least`; in an arbitrary order that never changes."""
        for table in self._tables():
            if least > 1:
                table = table.filter(pa.compute.greater_equal(table["count_sum"], least))
            yield from zip(table["string"].to_pylist(), table["count_sum"].to_pylist(), strict=True)

    def _tables(self) -> Iterator[pa.Table]:
        self._spill()
        for part in range(PARTS):
            pieces = []
            for path, bounds in self._runs:
                with pa.memory_map(str(path)) as source:
                    run = pa.ipc.open_file(source).read_all()
                    pieces.append(run.slice(bounds[part], bounds[part + 1] - bounds[part]))
            if pieces:
                yield pa.concat_tables(pieces).group_by("string", use_threads=False).aggregate([("count", "sum")])

    def _spill(self) -> None:
        if not self._counts:
            return
        strings = pa.array(self._counts.keys(), pa.large_string())
        counts = pa.array(self._counts.values(), pa.int64())
        part = (hash_column(strings) % PARTS).astype(np.int64)
        order = pa.array(np.argsort(part, kind="stable"))
        table = pa.table({"string": strings, "count": counts}).take(order).combine_chunks()
        path = self._folder / f"{len(self._runs):06}.arrow"
        try:
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
        except OSError as error:
            raise InputError(
                f"counts can't be written to {path}: {error}: free some space, or name another folder"
            ) from error
        self._runs.append((path, np.concatenate([[0], np.cumsum(np.bincount(part, minlength=PARTS))])))
        self._counts.clear()
