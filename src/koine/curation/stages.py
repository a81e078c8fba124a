"""The pieces of work that a curation run consists of.

Each reads files, writes one file or folder as a whole, and can be done again at any time with the same result; so a run
may be stopped anywhere, and any engine may do the work.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from safetensors.numpy import load_file, save_file

from koine.curation.balancing import text_probabilities
from koine.curation.cleaning import Batch, Cleaner
from koine.curation.deduplication import keys, read_dropped, search_bucket
from koine.curation.draws import draw_rows, hash_column
from koine.curation.languages import NONE, Lists, load_function, load_map
from koine.curation.matching import Matches
from koine.curation.options import Options, Sampling
from koine.curation.pieces import Piece, PieceWriter, read_counts, read_pieces
from koine.curation.reading import Reader, row_groups_of
from koine.curation.shards import Shard
from koine.curation.spacing import Rule
from koine.curation.writing import write_part
from koine.errors import InputError
from koine.files import write_atomically

GROUP = 32
"""Shards whose counts are added up together, so that there are few files of counts."""


@dataclass(frozen=True)
class Run:
    """Where a run's files are, and what it was told. Small, so that it can be sent to any worker."""

    folder: Path
    """The output folder."""
    options: Options
    languages: tuple[str, ...]
    shards: tuple[Shard, ...]
    buckets: int = 1

    @property
    def work(self) -> Path:
        """Where what is needed only during the run lies."""
        return self.folder / "work"

    @property
    def groups(self) -> range:
        """The groups of shards."""
        return range(-(-len(self.shards) // GROUP))

    def shards_of(self, group: int) -> tuple[Shard, ...]:
        """The shards of a group."""
        return self.shards[group * GROUP : (group + 1) * GROUP]

    def matched(self, shard: int) -> Path:
        """The folder that `match_shard` writes."""
        return self.work / "match" / f"{shard:06}"

    def dropped(self, bucket: int) -> Path:
        """The file that `deduplicate_bucket` writes."""
        return self.work / "equal" / f"{bucket:06}.npy"

    def searched(self, bucket: int) -> Path:
        """What `deduplicate_bucket` says of a bucket."""
        return self.work / "equal" / f"{bucket:06}.json"

    def counted(self, group: int) -> Path:
        """The file that `count_group` writes."""
        return self.work / "count" / f"{group:06}.safetensors"

    def drawn(self, group: int) -> Path:
        """The folder that `draw_group` writes."""
        return self.work / "draw" / f"{group:06}"

    def probabilities(self, language: int) -> Path:
        """Where the probabilities of a language's entries lie, once its threshold is known."""
        return self.work / "probabilities" / f"{language:05}.npy"

    def part(self, shard: int) -> Path:
        """The output of a shard."""
        return self.folder / "data" / f"part-{shard:06}.{_SUFFIX[self.options.output_format.value]}"

    def written(self, shard: int) -> Path:
        """What `write_shard` says of a shard's output."""
        return self.work / "write" / f"{shard:06}.json"

    @property
    def fingerprints(self) -> Path:
        """What identifies the lists, by language; written when all are compiled."""
        return self.work / "lists" / "fingerprints.json"

    @cached_property
    def lists(self) -> Lists:
        """The compiled lists of entries."""
        return Lists(self.work / "lists", self.languages, load_map(self.options.language_map))

    @cached_property
    def reader(self) -> Reader:
        """How this run reads."""
        cleaner = Cleaner(self.options.columns, self.options.rule, self.options.on_bad_text)
        return Reader(cleaner, self.options.on_damage)


_SUFFIX = {"parquet": "parquet", "webdataset": "tar"}


def match_shard(run: Run, number: int) -> int:
    """Reads a shard, finds its rows' entries, and writes pieces (`pieces`); how many rows it has."""
    shard = run.shards[number]
    shard.check()
    find_language = load_function(run.options.language_function)
    counts: Counter[str] = Counter()
    with write_atomically(run.matched(number)) as folder:
        folder.mkdir()
        writer = PieceWriter(folder)
        for batch in run.reader.batches(shard):
            counts += Counter({"rows": len(batch.rows) + batch.skipped.total() - _not_rows(batch.skipped)})
            counts += batch.skipped
            if not len(batch.rows):
                continue
            codes = find_language(batch.text) if find_language else batch.language
            language = run.lists.languages_of(codes, len(batch.rows))
            counts["no list for the language"] += int((language == NONE).sum())
            matches = match_languages(run.lists, batch.text, language, run.options.rule)
            _keep_matched(run, batch, language, matches, writer)
        counts["matched"] = writer.rows
        writer.close(counts)
    return counts["rows"]


def match_languages(lists: Lists, text: pa.Array, language: npt.NDArray[np.int16], rule: Rule) -> Matches:
    """Matches each text against its language's list; MetaCLIP 2 strips texts before."""
    if rule is Rule.V2:
        text = pc.utf8_trim_whitespace(text)
    present = np.unique(language)
    if len(present) == 1:
        if present[0] == NONE:
            return Matches(np.zeros(len(text) + 1, np.int64), np.zeros(0, np.int32))
        return lists.matcher(int(present[0])).match(text)
    order = np.argsort(language, kind="stable")
    sorted_language, parts = language[order], []
    for one in present:
        begin, end = np.searchsorted(sorted_language, [one, one + 1])
        subset = text.take(pa.array(order[begin:end]))
        parts.append(match_languages(lists, subset, sorted_language[begin:end], Rule.V1))
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return Matches.from_arrow(Matches.concatenate(parts).to_arrow().take(pa.array(back)))


def deduplicate_bucket(run: Run, bucket: int) -> int:
    """Finds the equal rows of one bucket among all shards; how many rows it has."""
    found = search_bucket([run.matched(shard.number) for shard in run.shards], bucket, run.buckets)
    with write_atomically(run.dropped(bucket)) as path, path.open("wb") as file:
        np.save(file, found.dropped)
    about = {"equal rows": len(found.dropped), "rows with a uid used before": found.repeated_uids}
    with write_atomically(run.searched(bucket)) as path:
        path.write_text(json.dumps(about))
    return found.rows


def count_group(run: Run, group: int) -> int:
    """Adds up, by language, the counts of a group's entries over the rows that are left; how many rows these are."""
    totals: dict[int, npt.NDArray[np.uint64]] = {}
    rows = 0
    for shard in run.shards_of(group):
        for piece in _left(run, shard.number):
            _add(totals, piece, run.lists)
            rows += len(piece)
    _save_counts(run.counted(group), totals)
    return rows


def draw_group(run: Run, group: int) -> int:
    """Draws which rows of a group to keep; writes these with their probabilities, and their entries' counts.

    With `Sampling.ONLINE` every row is kept.
    """
    totals: dict[int, npt.NDArray[np.uint64]] = {}
    kept_rows = 0
    with write_atomically(run.drawn(group)) as folder:
        folder.mkdir()
        for shard in run.shards_of(group):
            rows, chances = [np.zeros(0, np.int64)], [np.zeros(0)]
            for piece in _left(run, shard.number):
                kept, chance = _draw(run, piece)
                _add(totals, kept, run.lists)
                rows.append(kept.row)
                chances.append(chance)
            whole = np.concatenate(rows)
            np.savez(folder / f"{shard.number:06}.npz", row=whole, probability=np.concatenate(chances))
            kept_rows += len(whole)
        _save_counts(folder / "counts.safetensors", totals)
    return kept_rows


def write_shard(run: Run, number: int) -> int:
    """Reads a shard again and writes the rows that are kept; how many these are."""
    shard = run.shards[number]
    shard.check()
    with np.load(run.drawn(number // GROUP) / f"{number:06}.npz") as drawn:
        rows, probability = drawn["row"], drawn["probability"]
    batches = _selected(run, shard, rows, probability)
    written = write_part(run.part(number), batches, run.options, shard)
    if written != len(rows):
        raise InputError(
            f"{shard.path} gave {written:,} of {len(rows):,} rows when it was read again, so it has changed or can't "
            "be read reliably: restore it and begin anew in another folder"
        )
    content = hashlib.sha256()
    with run.part(number).open("rb") as part:
        while block := part.read(1 << 20):
            content.update(block)
    about = {"rows": written, "bytes": run.part(number).stat().st_size, "sha256": content.hexdigest()}
    with write_atomically(run.written(number)) as path:
        path.write_text(json.dumps(about))
    return written


def load_counts(path: Path, lists: Lists) -> dict[int, npt.NDArray[np.uint64]]:
    """The counts of a file that `count_group` or `draw_group` wrote, by language."""
    totals = {}
    for name, values in load_file(path).items():
        kind, _, language = name.partition(".")
        if kind == "id":
            total = np.zeros(len(lists.matcher(int(language))), np.uint64)
            total[values] = load_file(path)[f"count.{language}"]
            totals[int(language)] = total
    return totals


def shard_counts(run: Run) -> Counter[str]:
    """What was read, left out and matched, over all shards."""
    total: Counter[str] = Counter()
    for shard in run.shards:
        total.update(read_counts(run.matched(shard.number)))
    return total


def bucket_counts(run: Run) -> Counter[str]:
    """What finding equal rows found, over all buckets."""
    total: Counter[str] = Counter()
    for bucket in range(run.buckets):
        total.update(json.loads(run.searched(bucket).read_text()))
    return total


def _not_rows(skipped: Counter[str]) -> int:
    """What is counted beside rows: files and row groups."""
    return sum(count for reason, count in skipped.items() if reason.startswith("damaged"))


def _keep_matched(
    run: Run, batch: Batch, language: npt.NDArray[np.int16], matches: Matches, writer: PieceWriter
) -> None:
    uid, text = hash_column(batch.uid), hash_column(batch.text)
    piece = Piece(batch.rows, language, uid, text, matches)
    matched = matches.lengths > 0
    mask = pa.array(matched)
    # A row without an address is equal to none: its uid takes the address's place.
    url = pc.coalesce(batch.url, batch.uid).filter(mask) if batch.url is not None else None
    where = run.shards[0].path
    piece = piece.take(matched)
    same = keys(run.options.deduplicate, batch.text.filter(mask), url, piece.uid, piece.row, where)
    writer.add(piece, same)


def _left(run: Run, shard: int) -> Iterator[Piece]:
    """The matched rows of a shard that no equal row stands for."""
    gone = read_dropped([run.dropped(bucket) for bucket in range(run.buckets)], shard)
    for piece in read_pieces(run.matched(shard)):
        yield piece.take(~np.isin(piece.row, gone)) if len(gone) else piece


def _add(totals: dict[int, npt.NDArray[np.uint64]], piece: Piece, lists: Lists) -> None:
    for language in np.unique(piece.language):
        ids = piece.matches.ids
        if (piece.language != language).any():
            ids = ids[np.repeat(piece.language == language, piece.matches.lengths)]
        counts = np.bincount(ids, minlength=len(lists.matcher(int(language)))).astype(np.uint64)
        totals[int(language)] = totals[int(language)] + counts if int(language) in totals else counts


def _save_counts(path: Path, totals: dict[int, npt.NDArray[np.uint64]]) -> None:
    """Only what is not zero, since most entries are rare."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for language, counts in sorted(totals.items()):
        ids = np.flatnonzero(counts)
        arrays[f"id.{language}"], arrays[f"count.{language}"] = ids, counts[ids]
    with write_atomically(path) as temporary:
        save_file(arrays, temporary)


def _draw(run: Run, piece: Piece) -> tuple[Piece, npt.NDArray[np.float64]]:
    chance = np.zeros(len(piece))
    keep = np.ones(len(piece), np.bool_)
    for language in np.unique(piece.language):
        mine = piece.language == language
        part = piece.take(mine)
        of_entry = np.load(run.probabilities(int(language)), mmap_mode="r")
        chance[mine] = text_probabilities(part.matches, of_entry)
        if run.options.sampling is Sampling.OFFLINE:
            seed = np.uint64(run.options.seed)
            keep[mine] = draw_rows(seed, part.uid, part.text, of_entry, part.matches.offsets, part.matches.ids)
    return piece.take(keep), chance[keep]


def _selected(
    run: Run, shard: Shard, rows: npt.NDArray[np.int64], probability: npt.NDArray[np.float64]
) -> Iterator[tuple[Batch, pa.Table]]:
    """The kept rows of each batch that has any, with the columns that were asked for."""
    wanted = row_groups_of(rows) if shard.row_groups else None
    for batch in run.reader.batches(shard, wanted):
        begin, end = np.searchsorted(rows, [batch.rows[0], batch.rows[-1] + 1]) if len(batch.rows) else (0, 0)
        if begin == end:
            continue
        place = np.searchsorted(batch.rows, rows[begin:end])
        table = batch.payload.take(pa.array(place))
        uid = run.options.columns.uid or "uid"
        if uid not in table.column_names or table[uid].null_count:
            table = _with_column(table, uid, batch.uid.take(pa.array(place)))
        if run.options.sampling is Sampling.ONLINE:
            table = _with_column(table, "keep_probability", pa.array(probability[begin:end]))
        if run.options.with_entries:
            table = _with_column(table, "entries", _entries(run, batch, place))
        yield batch, table


def _with_column(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    if name in table.column_names:
        return table.set_column(table.schema.get_field_index(name), name, column)
    return table.append_column(name, column)


def _entries(run: Run, batch: Batch, place: npt.NDArray[np.int64]) -> pa.Array:
    """The entries of some rows, spelled out."""
    rows = pa.array(place)
    text, codes = batch.text.take(rows), batch.language and batch.language.take(rows)
    if find_language := load_function(run.options.language_function):
        codes = find_language(text)
    language = run.lists.languages_of(codes, len(place))
    matches = match_languages(run.lists, text, language, run.options.rule)
    words = pa.nulls(len(matches.ids), pa.large_string())
    language_of_match = np.repeat(language, matches.lengths)
    for one in np.unique(language):
        mine = pa.array(language_of_match == one)
        spelled = run.lists.matcher(int(one)).entries.take(pa.array(matches.ids).filter(mine))
        words = pc.replace_with_mask(words, mine, spelled)
    return pa.LargeListArray.from_arrays(pa.array(matches.offsets), words)
