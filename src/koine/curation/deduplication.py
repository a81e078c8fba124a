"""Finds equal rows among all shards in bounded memory: bucket by bucket of their keys.

Of equal rows the one with the least uid hash stays, so that which one it is does not depend on how the rows are
divided among files or in which order they come.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from koine.curation.compiled import compiled
from koine.curation.draws import hash_column
from koine.curation.hashing import mix
from koine.curation.options import Deduplicate
from koine.curation.pieces import KEY, read_keys, read_uids
from koine.errors import InputError

DROPPED = np.dtype([("shard", "<i8"), ("row", "<i8")])
_BYTES_PER_KEY = 140
"""What sorting a bucket takes at its peak, measured on four million keys: the keys, their order, and copies."""


def keys(
    kind: Deduplicate,
    text: pa.Array,
    url: pa.Array | None,
    uid: npt.NDArray[np.uint64],
    rows: npt.NDArray[np.int64],
    where: str,
) -> npt.NDArray[np.void] | None:
    """[rows] of KEY, 128 bits of hash of what makes rows equal; None if equal rows may stay.

    Raises:
        InputError: rows are to be compared by their addresses, and there are none.
    """
    if kind is Deduplicate.NONE:
        return None
    if url is None and kind is not Deduplicate.TEXT:
        raise InputError(
            f"{where} has no addresses to find equal rows by: name their column (--url), or compare texts alone, or "
            "nothing (--deduplicate text, none)"
        )
    out = np.empty(len(rows), KEY)
    for seed, name in ((1, "high"), (2, "low")):
        if kind is Deduplicate.TEXT:
            out[name] = hash_column(text, seed)
        elif kind is Deduplicate.URL:
            out[name] = hash_column(url, seed)
        else:
            out[name] = _combined(hash_column(url, seed), hash_column(text, seed))
    out["uid"], out["row"] = uid, rows
    return out


def bucket_count(rows: int, memory: int) -> int:
    """How many buckets `rows` keys need so that one fits into `memory` bytes."""
    return max(1, -(-rows * _BYTES_PER_KEY // memory))


@dataclass(frozen=True)
class Bucket:
    """What was found in one bucket."""

    dropped: npt.NDArray[np.void]
    """[rows] of DROPPED: rows that are left out, by shard and row."""
    repeated_uids: int
    """How many rows have a uid that another row has too, less one for each such uid."""
    rows: int
    """How many there are in the bucket."""


def search_bucket(folders: Sequence[Path], number: int, buckets: int) -> Bucket:
    """Finds the equal rows of one bucket: those whose key lies in the `number`-th part of the range of keys.

    Args:
        folders: of all shards (`pieces`).
        number, buckets: which part, of how many.
    """
    lowest, beyond = number * 2**64 // buckets, (number + 1) * 2**64 // buckets
    parts = [read_keys(folder, lowest, beyond) for folder in folders]
    found = np.concatenate([np.zeros(0, KEY), *parts])
    shard = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    # Nearly all keys are alone. Only the others need to be put in order by all that decides.
    high = np.ascontiguousarray(found["high"])
    order = np.argsort(high, kind="stable")
    same = high[order[1:]] == high[order[:-1]]
    beside = np.zeros(len(order), np.bool_)
    beside[1:] |= same
    beside[:-1] |= same
    rows, places = len(found), order[beside]
    found, shard = found[places], shard[places]
    order = np.lexsort((found["row"], shard, found["uid"], found["low"], found["high"]))
    found, shard = found[order], shard[order]
    again = np.zeros(len(found), np.bool_)
    again[1:] = (found["high"][1:] == found["high"][:-1]) & (found["low"][1:] == found["low"][:-1])
    dropped = np.empty(int(again.sum()), DROPPED)
    dropped["shard"], dropped["row"] = shard[again], found["row"][again]
    dropped = dropped[np.lexsort((dropped["row"], dropped["shard"]))]
    uids = np.concatenate([np.zeros(0, np.uint64), *(read_uids(folder, lowest, beyond) for folder in folders)])
    uids.sort(kind="stable")  # runs that are sorted already are only merged
    return Bucket(dropped, int((np.diff(uids) == 0).sum()), rows)


def read_dropped(paths: Iterable[Path], shard: int) -> npt.NDArray[np.int64]:
    """The rows of a shard that are left out according to all buckets' files ([rows] of DROPPED, sorted); ascending."""
    rows = []
    for path in paths:
        mapped = np.load(path, mmap_mode="r")
        begin, end = (bisect_left(mapped["shard"], bound, key=int) for bound in (shard, shard + 1))
        rows.append(np.array(mapped["row"][begin:end]))
    return np.sort(np.concatenate([np.zeros(0, np.int64), *rows]))


@compiled
def _combined(left: npt.NDArray[np.uint64], right: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    out = np.empty(len(left), np.uint64)
    for row in range(len(left)):
        out[row] = mix(left[row], right[row])
    return out
