"""What matching a shard leaves on disk: who matched what, and sorted keys by which equal rows are found.

A shard's folder holds pieces of at most ROWS matched rows, so that memory does not grow with the shard, and `done.json`
with its counts. It appears as a whole, or not at all.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from koine.curation.matching import Matches

ROWS = 1 << 18
KEY = np.dtype([("high", "<u8"), ("low", "<u8"), ("uid", "<u8"), ("row", "<i8")])
"""What makes rows equal (two numbers), which of equal rows comes first, and the row's number in its shard."""
_SCHEMA = pa.schema(
    {
        "row": pa.int64(),
        "language": pa.int16(),
        "uid": pa.uint64(),
        "text": pa.uint64(),
        "entries": pa.large_list(pa.int32()),
    }
)


@dataclass(frozen=True)
class Piece:
    """Matched rows of one shard. All arrays have one item per row."""

    row: npt.NDArray[np.int64]
    """Which row of the shard, ascending."""
    language: npt.NDArray[np.int16]
    """Whose list it was matched against, by its place."""
    uid: npt.NDArray[np.uint64]
    text: npt.NDArray[np.uint64]
    """Hashes of uid and text, which the draws are keyed by."""
    matches: Matches

    def __len__(self) -> int:
        return len(self.row)

    def take(self, mask: npt.NDArray[np.bool_]) -> Piece:
        """The rows where `mask` is true."""
        lists = self.matches.to_arrow().filter(pa.array(mask))
        matches = Matches.from_arrow(lists) if len(lists) else Matches(np.zeros(1, np.int64), np.zeros(0, np.int32))
        return Piece(self.row[mask], self.language[mask], self.uid[mask], self.text[mask], matches)


@dataclass
class PieceWriter:
    """Collects matched rows and writes them as pieces into a folder."""

    folder: Path
    rows: int = 0
    _held: list[tuple[Piece, npt.NDArray[np.void] | None]] = field(default_factory=list)
    _held_rows: int = 0
    _pieces: int = 0

    def add(self, piece: Piece, keys: npt.NDArray[np.void] | None) -> None:
        """Adds rows; `keys` ([rows] of KEY) only if equal rows are to be found."""
        self._held.append((piece, keys))
        self._held_rows += len(piece)
        self.rows += len(piece)
        if self._held_rows >= ROWS:
            self._write()

    def close(self, about: Counter[str]) -> None:
        """Writes what is left, and the counts."""
        self._write()
        (self.folder / "done.json").write_text(
            json.dumps({"pieces": self._pieces, "counts": dict(sorted(about.items()))})
        )

    def _write(self) -> None:
        if not self._held_rows:
            return
        pieces = [piece for piece, _ in self._held]
        columns = {name: np.concatenate([getattr(piece, name) for piece in pieces]) for name in _SCHEMA.names[:-1]}
        lists = Matches.concatenate([piece.matches for piece in pieces]).to_arrow()
        table = pa.table({**columns, "entries": lists}, schema=_SCHEMA)
        path = self.folder / f"{self._pieces:05}.arrow"
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema, options=options) as writer:
            writer.write_table(table)
        keys = [key for _, key in self._held if key is not None]
        if keys:
            whole = np.concatenate(keys)
            np.save(self.folder / f"{self._pieces:05}.keys.npy", whole[np.lexsort((whole["row"], whole["high"]))])
            np.save(self.folder / f"{self._pieces:05}.uids.npy", np.sort(whole["uid"]))
        self._pieces += 1
        self._held.clear()
        self._held_rows = 0


def read_pieces(folder: Path) -> Iterator[Piece]:
    """The pieces of a shard, in the order of its rows."""
    for number in range(_done(folder)["pieces"]):
        with pa.memory_map(str(folder / f"{number:05}.arrow")) as source:
            table = pa.ipc.open_file(source).read_all().combine_chunks()
            row, language, uid, text = (table[name].to_numpy() for name in _SCHEMA.names[:-1])
            lists = table["entries"].combine_chunks()
            yield Piece(row, language, uid, text, Matches.from_arrow(lists))


def read_counts(folder: Path) -> Counter[str]:
    """The counts of a shard."""
    return Counter(_done(folder)["counts"])


def read_keys(folder: Path, lowest: int, beyond: int) -> npt.NDArray[np.void]:
    """The keys of a shard whose `high` is in [lowest, beyond); reads no more than these."""
    parts = [_range(path, "high", lowest, beyond) for path in sorted(folder.glob("*.keys.npy"))]
    return np.concatenate(parts) if parts else np.zeros(0, KEY)


def read_uids(folder: Path, lowest: int, beyond: int) -> npt.NDArray[np.uint64]:
    """The hashes of uids in [lowest, beyond) of a shard's matched rows."""
    parts = [_range(path, None, lowest, beyond) for path in sorted(folder.glob("*.uids.npy"))]
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)


def _done(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "done.json").read_text())
    return content


def _range(path: Path, name: str | None, lowest: int, beyond: int) -> npt.NDArray[np.void]:
    mapped = np.load(path, mmap_mode="r")
    ascending = mapped if name is None else mapped[name]
    # Not np.searchsorted, which would first copy the whole column.
    begin, end = (bisect_left(ascending, bound, key=int) for bound in (lowest, beyond))
    return np.array(mapped[begin:end])
