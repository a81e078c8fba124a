"""The single steps of curation over a folder of parquet files, for looking at one of them; `pipeline` does them all.

    match     rows that match any entry, with a column `entry_ids`
    count     how many rows match each entry
    balance   rows that the draws keep

These go file by file in one process, with one list of entries, and don't look for equal rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from koine.curation.balancing import Counts, count_entries, entry_probabilities, keep_texts, tail_share, threshold_for
from koine.curation.cleaning import Cleaner
from koine.curation.matching import Matcher, Matches
from koine.curation.metadata import Metadata
from koine.curation.options import USUAL_COLUMNS, Columns, OnBadText, OnDamage
from koine.curation.reading import Reader
from koine.curation.shards import Shard, plan
from koine.errors import InputError
from koine.files import write_atomically

IDS = "entry_ids"
_ENTRIES = b"koine.entries"
_TEXT = b"koine.text"
_UID = b"koine.uid"


@dataclass
class Tally:
    """How many rows a step saw, and how many of them it wrote."""

    seen: int = 0
    written: int = 0


def match_files(
    inputs: tuple[str, ...],
    matcher: Matcher,
    out: Path,
    *,
    columns: Columns = USUAL_COLUMNS,
    on_damage: OnDamage = OnDamage.STOP,
    on_bad_text: OnBadText = OnBadText.REPLACE,
) -> Tally:
    """Writes the rows that match any entry, a parquet file for each input file that has some.

    Raises:
        InputError: as `plan` and `Reader.batches`; or `out` is not empty.
    """
    _empty(out)
    reader = Reader(Cleaner(columns, matcher.rule, on_bad_text), on_damage)
    tally = Tally()
    for shard in plan(inputs, rows_per_shard=2**62, on_damage=on_damage).shards:
        _write(out / f"part-{shard.number:06}.parquet", _matched(reader, shard, matcher, tally))
    return tally


def _matched(reader: Reader, shard: Shard, matcher: Matcher, tally: Tally) -> Iterator[pa.Table]:
    columns = reader.cleaner.columns
    uid = columns.uid or "uid"
    about = {_ENTRIES: matcher.fingerprint.encode(), _TEXT: columns.text.encode(), _UID: uid.encode()}
    for batch in reader.batches(shard):
        tally.seen += batch.numbered
        if not len(batch.rows):
            continue
        matches = matcher.match(batch.text)
        table = batch.payload.drop_columns([uid]) if uid in batch.payload.column_names else batch.payload
        table = table.append_column(uid, batch.uid).append_column(IDS, matches.to_arrow())
        table = table.filter(pa.array(matches.lengths > 0)).replace_schema_metadata(about)
        tally.written += table.num_rows
        yield table


def count_files(matched: Path, entries: Metadata, matcher: Matcher) -> Counts:
    """[entries], how many rows of a folder that `match_files` wrote match each.

    Raises:
        InputError: the folder was matched against another list.
    """
    total = np.zeros(len(entries), np.uint64)
    for path in _parts(matched):
        _check(path, matcher)
        with pq.ParquetFile(path) as source:
            for records in source.iter_batches(columns=[IDS]):
                total += count_entries(Matches.from_arrow(records.column(0)), len(entries))
    return total


def balance_files(matched: Path, matcher: Matcher, counts: Counts, out: Path, *, threshold: float, seed: int) -> Tally:
    """Writes the rows of a folder that `match_files` wrote which the draws keep.

    The same rows are kept as by `pipeline.curate`, apart from equal ones.
    """
    _empty(out)
    probabilities = entry_probabilities(counts, threshold).astype(np.float64)
    tally = Tally()
    for path in _parts(matched):
        _write(out / path.name, _balanced(path, _check(path, matcher), probabilities, seed, tally))
    return tally


def _balanced(
    path: Path, about: dict[bytes, bytes], probabilities: npt.NDArray[np.float64], seed: int, tally: Tally
) -> Iterator[pa.Table]:
    text, uid = about[_TEXT].decode(), about[_UID].decode()
    with pq.ParquetFile(path) as source:
        for records in source.iter_batches():
            matches = Matches.from_arrow(records.column(IDS))
            keep = keep_texts(matches, probabilities, records.column(uid), records.column(text), seed=seed)
            tally.seen += len(keep)
            tally.written += int(keep.sum())
            yield pa.Table.from_batches([records]).filter(pa.array(keep))


def write_counts(path: Path, entries: Metadata, counts: Counts) -> None:
    """Writes each entry's count as parquet."""
    with write_atomically(path) as temporary:
        pq.write_table(pa.table({"entry": pa.array(entries.entries, pa.large_string()), "count": counts}), temporary)


def read_counts(path: Path, entries: Metadata) -> Counts:
    """Reads what `write_counts` wrote.

    Raises:
        InputError: the file is missing, or of another list.
    """
    try:
        table = pq.read_table(path)
        listed = table["entry"].to_pylist()
        counts: Counts = table["count"].to_numpy().astype(np.uint64)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise InputError(f"the counts {path} can't be read ({error}): write them with `koine curate count`") from error
    if listed != list(entries.entries):
        raise InputError(f"the counts {path} are of another list of entries: count again")
    return counts


def choose_threshold(counts: Counts, threshold: float | None, share: float | None) -> tuple[float, float]:
    """The threshold that was given or follows from a tail share, and its tail share."""
    if (threshold is None) == (share is None):
        raise InputError("give either a threshold (--threshold) or a tail share (--tail-share)")
    chosen = float(threshold_for(counts, share)) if share is not None else float(threshold or 0)
    return chosen, tail_share(counts, chosen)


def _empty(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is not empty: name a new folder")


def _parts(folder: Path) -> list[Path]:
    parts = sorted(folder.glob("*.parquet"))
    if not parts:
        raise InputError(f"{folder} holds no parquet files: name a folder that `koine curate match` wrote")
    return parts


def _check(path: Path, matcher: Matcher) -> dict[bytes, bytes]:
    about: dict[bytes, bytes] = pq.read_schema(path).metadata or {}
    if about.get(_ENTRIES, b"").decode() != matcher.fingerprint:
        raise InputError(f"{path} was not matched against this list of entries under these rules: match it again")
    return about


def _write(path: Path, tables: Iterator[pa.Table]) -> None:
    """Writes tables as one file; none if there are no tables."""
    first = next(tables, None)
    if first is None:
        return
    with write_atomically(path) as temporary, pq.ParquetWriter(temporary, first.schema, compression="zstd") as writer:
        for table in chain([first], tables):
            writer.write_table(table.cast(first.schema))
