"""Rows as the stages take them: valid texts, a uid for each, and a count of what had to be left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from koine.curation.common_crawl import uid_of
from koine.curation.draws import hash_column
from koine.curation.options import Columns, OnBadText
from koine.curation.spacing import Rule
from koine.errors import InputError


@dataclass(frozen=True)
class Batch:
    """Some rows of a shard. The columns have one item per row that is left."""

    rows: npt.NDArray[np.int64]
    """Which of the shard's rows these are, ascending."""
    payload: pa.Table
    """The rows as they were read, apart from the text: one per row, and valid."""
    text: pa.Array
    """large_string without nulls."""
    uid: pa.Array
    """large_string without nulls."""
    url: pa.Array | None
    language: pa.Array | None
    numbered: int
    """How many numbers these rows and those left out take."""
    skipped: Counter[str]
    """How many were left out, by reason."""


@dataclass(frozen=True)
class Cleaner:
    """How rows that were just read are cleaned."""

    columns: Columns
    rule: Rule
    on_bad_text: OnBadText

    def clean(self, table: pa.Table, first_row: int, where: str) -> Batch:
        """Takes the columns out of a table; a list of texts becomes one row per text.

        Args:
            table: rows.
            first_row: the number of the first one.
            where: what to call their source in errors.

        Raises:
            InputError: there is no column of texts, or a column holds something else than it should; or a text is
                invalid and `on_bad_text` says to stop.
        """
        skipped: Counter[str] = Counter()
        name = self.columns.text
        if name not in table.column_names:
            raise InputError(
                f"{where} has no column {name!r} (--text): it has {', '.join(table.column_names) or 'none'}"
            )
        table = _one_text_per_row(table, name, skipped)
        text, bad = self._valid(_one_chunk(table[name]), first_row, where)
        length = pc.fill_null(pc.binary_length(text), 0).to_numpy(zero_copy_only=False)
        null = text.is_null().to_numpy(zero_copy_only=False) & ~bad
        left = (length > 0) & ~bad
        skipped += Counter({"no text": int(null.sum()), "invalid text": int(bad.sum())})
        skipped += Counter({"empty text": int((~left & ~null & ~bad).sum())})
        mask = pa.array(left)
        text, table = text.filter(mask), table.filter(mask)
        table = table.set_column(table.schema.get_field_index(name), name, text)
        url = _strings(table, self.columns.url, where)
        uid = self._uids(table, url, text, where)
        rows = first_row + np.flatnonzero(left)
        return Batch(rows, table, text, uid, url, _strings(table, self.columns.language, where), len(left), skipped)

    def _valid(self, text: pa.Array, first_row: int, where: str) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
        """The texts as large_string, and which of them are to be left out because they are invalid."""
        if not _is_text(text.type) and not _is_bytes(text.type):
            raise InputError(
                f"column {self.columns.text!r} of {where} holds {text.type}, not texts: name another (--text)"
            )
        none_bad = np.zeros(len(text), np.bool_)
        try:
            valid = text.cast(pa.large_string())
            valid.validate(full=True)  # a column that claims to be strings may hold anything
            return valid, none_bad
        except pa.ArrowInvalid:
            raw = text.cast(pa.large_binary()).to_pylist()
        bad = np.array([value is not None and not _is_utf8(value) for value in raw], np.bool_)
        if self.on_bad_text is OnBadText.STOP:
            row = first_row + int(np.flatnonzero(bad)[0])
            raise InputError(
                f"the text of row {row} of {where} is no valid UTF-8: mend it, or replace or skip such texts"
            )
        mended = [None if value is None else value.decode("utf-8", "replace") for value in raw]
        return pa.array(mended, pa.large_string()), bad if self.on_bad_text is OnBadText.SKIP else none_bad

    def _uids(self, table: pa.Table, url: pa.Array | None, text: pa.Array, where: str) -> pa.Array:
        """The uids, and where there is none the releases' hash of the address, or a hash of the text."""
        uid = _strings(table, self.columns.uid, where)
        if uid is not None and uid.null_count == 0:
            return uid
        made: list[str | None] = [None] * len(text)
        if url is not None:
            made = [None if address is None else uid_of(address, self.rule) for address in url.to_pylist()]
        if None in made:
            digests = zip(hash_column(text, 1).tolist(), hash_column(text, 2).tolist(), strict=True)
            by_text = (f"{high:016x}{low:016x}" for high, low in digests)
            made = [other if one is None else one for one, other in zip(made, by_text, strict=True)]
        derived = pa.array(made, pa.large_string())
        return derived if uid is None else pc.coalesce(uid, derived)


def as_bytes(text: str) -> bytes:
    """A Python string as bytes; what is invalid in it becomes bytes that are no UTF-8, so that `Cleaner` sees it."""
    try:
        return text.encode("utf-8", "surrogateescape")  # a byte that was decoded so becomes itself
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _one_text_per_row(table: pa.Table, name: str, skipped: Counter[str]) -> pa.Table:
    column = _one_chunk(table[name])
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        return table
    lengths = pc.fill_null(pc.list_value_length(column), 0)
    skipped["no text"] += int(pc.sum(pc.equal(lengths, 0)).as_py() or 0)
    opened = table.take(pc.list_parent_indices(column))
    return opened.set_column(table.schema.get_field_index(name), name, pc.list_flatten(column))


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):  # more bytes than offsets of 32 bits can count
        whole = whole.cast(pa.large_string() if _is_text(whole.type) else pa.large_binary()).combine_chunks()
    return whole.dictionary_decode() if pa.types.is_dictionary(whole.type) else whole


def _strings(table: pa.Table, name: str | None, where: str) -> pa.Array | None:
    """A column as large_string; None if there is no such column."""
    if name is None or name not in table.column_names:
        return None
    column = _one_chunk(table[name])
    if not (_is_text(column.type) or pa.types.is_integer(column.type) or pa.types.is_null(column.type)):
        raise InputError(f"column {name!r} of {where} holds {column.type}: give strings or integers")
    return column.cast(pa.large_string())


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_null(kind)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
