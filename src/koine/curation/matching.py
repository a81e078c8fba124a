"""The matcher: which entries of the metadata occur in which texts (MetaCLIP, section 3.1), exactly as published.

matcher = Matcher.build(["red", "red cube"])
matcher.match(["a red cube, a ball"]).of(0)     # array([0, 1], dtype=int32)
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from koine.curation.kernel import match_characters, match_words
from koine.curation.keys import Keys, keys_of
from koine.curation.shared_arrays import map_arrays, on_a_line, save_arrays
from koine.curation.spacing import Rule
from koine.curation.strings import Strings, slices
from koine.curation.trie import Trie, build_trie
from koine.curation.vocabulary import UNKNOWN, Vocabulary, build_vocabulary, set_entries
from koine.errors import InputError

_FORMAT = "koine-matcher-1"
_CODE_POINTS = 0x110000


class Repeated(StrEnum):
    """What an entry that the list has several times is matched as."""

    LAST = "last"
    """The last of them, as in the releases' automata."""
    ALL = "all"
    """All of them, as in the first release's plain loop."""


@dataclass(frozen=True)
class Matches:
    """The entries of each of a run of texts."""

    offsets: npt.NDArray[np.int64]
    """[texts + 1]."""
    ids: npt.NDArray[np.int32]
    """Entry ids; those of text i are `ids[offsets[i] : offsets[i + 1]]`, ascending, each once."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def of(self, text: int) -> npt.NDArray[np.int32]:
        """The entries of one text."""
        return self.ids[self.offsets[text] : self.offsets[text + 1]]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """[texts], how many entries each text has."""
        return np.diff(self.offsets)

    def to_arrow(self) -> pa.Array:
        """A list<int32> per text."""
        return pa.LargeListArray.from_arrays(pa.array(self.offsets), pa.array(self.ids))

    @classmethod
    def from_arrow(cls, lists: pa.Array) -> Matches:
        """The inverse of `to_arrow`; also of a slice of it."""
        lists = lists.cast(pa.large_list(pa.int32()))
        offsets = lists.offsets.to_numpy()
        return cls(offsets - offsets[0], lists.values.to_numpy()[offsets[0] : offsets[-1]])

    @classmethod
    def concatenate(cls, parts: Sequence[Matches]) -> Matches:
        """The texts of several runs, one after the other."""
        ends = np.cumsum([0, *(len(part.ids) for part in parts)])
        offsets = [part.offsets[1:] + end for part, end in zip(parts, ends, strict=False)]
        ids = np.concatenate([np.zeros(0, np.int32), *(part.ids for part in parts)])
        return cls(np.concatenate([np.zeros(1, np.int64), *offsets]), ids)


class Matcher:
    """A compiled list of entries. Immutable; threads may share it, and processes its saved file."""

    def __init__(self, arrays: dict[str, npt.NDArray[Any]], about: dict[str, str]) -> None:
        """Takes what `build` or `load` made; use these."""
        self._arrays = arrays = {name: on_a_line(array) for name, array in arrays.items()}
        self._about = about
        # One compiled form for built and for mapped arrays: numba tells writable from read-only ones.
        for array in arrays.values():
            array.flags.writeable = False
        self._vocabulary = Vocabulary(
            arrays["words.slots"], arrays["words.pilots"], arrays["words.letters"], np.uint64(about["words.seed"])
        )
        self._word_trie = _trie("words", arrays, about)
        self._character_trie = _trie("characters", arrays, about)

    @classmethod
    def build(
        cls,
        entries: Sequence[str] | pa.Array,
        *,
        rule: Rule | str = Rule.V1,
        repeated: Repeated | str = Repeated.LAST,
        repair: bool = False,
    ) -> Matcher:
        """Compiles a list of entries; an entry's id is its place in the list.

        Args:
            entries: strings without nulls.
            rule: the release whose keys to use.
            repeated: what to report for an entry that occurs several times.
            repair: match entries that can't match as published ("U.S.") as texts spell them after spacing. A deviation
                from the releases; `dead` tells which entries it concerns.

        Raises:
            InputError: an entry is null or holds a lone surrogate.
        """
        rule, repeated = Rule(rule), Repeated(repeated)
        texts = _entry_array(entries)
        keys = keys_of(texts, rule, repair=repair)
        strings = Strings.of(texts)
        arrays: dict[str, npt.NDArray[Any]] = {
            "entries.letters": strings.letters,
            "entries.offsets": strings.offsets,
            "dead": keys.dead,
        }
        about = {"format": _FORMAT, "rule": rule.value, "repeated": repeated.value, "repair": str(repair)}
        about["fingerprint"] = _fingerprint(strings, about)
        _add_words(arrays, about, keys)
        _add_characters(arrays, about, keys)
        if repeated is Repeated.ALL:
            _add_repetitions(arrays, keys)
        return cls(arrays, about)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the compiled list to one file, which `load` maps instead of reading."""
        save_arrays(Path(path), self._arrays, self._about)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Matcher:
        """Maps a saved matcher; processes that load the same file share its memory.

        Raises:
            InputError: the file is missing, cut short, or not a matcher's.
        """
        arrays, about = map_arrays(Path(path))
        if about.get("format") != _FORMAT:
            raise InputError(f"{path} is not a matcher's index of this version: build and save it again")
        return cls(arrays, about)

    def match(self, texts: Sequence[str] | pa.Array | pa.ChunkedArray, *, threads: int = 1) -> Matches:
        """Finds each text's entries.

        Args:
            texts: strings, or bytes that needn't be valid UTF-8. A null has no entries.
            threads: how many to use; the result is the same.
        """
        runs = _runs(texts)
        if threads == 1:
            return Matches.concatenate([self._match(run) for run in runs])
        with ThreadPoolExecutor(threads) as pool:
            return Matches.concatenate(list(pool.map(self._match, runs)))

    @cached_property
    def entries(self) -> pa.Array:
        """[entries], large_string."""
        letters, offsets = self._arrays["entries.letters"], self._arrays["entries.offsets"]
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(letters)]
        return pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers)

    @property
    def dead(self) -> npt.NDArray[np.int64]:
        """Ids of the entries that no text can ever match because texts are spaced and entries are not, ascending.

        With `repair` these are the entries that are matched in their repaired spelling.
        """
        return self._arrays["dead"]

    @property
    def rule(self) -> Rule:
        """The release whose keys are used."""
        return Rule(self._about["rule"])

    @property
    def repaired(self) -> bool:
        """Whether dead entries are matched in their repaired spelling."""
        return self._about["repair"] == "True"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the entries in their order and of the rules by which they match."""
        return self._about["fingerprint"]

    @property
    def nbytes(self) -> int:
        """Bytes that matching touches: the compiled index without the entries' own spelling."""
        return sum(array.nbytes for name, array in self._arrays.items() if not name.startswith("entries."))

    def __len__(self) -> int:
        return len(self._arrays["entries.offsets"]) - 1

    def __repr__(self) -> str:
        return f"Matcher({len(self):,} entries, rule {self.rule.value}, {self.nbytes / 1e6:.1f} MB)"

    def _match(self, run: Strings) -> Matches:
        texts = run.address, run.offsets, run.valid
        ids, offsets = match_words(*texts, self._vocabulary, self._word_trie)
        matches = Matches(offsets, ids)
        if "characters.singles" in self._arrays:
            ids, offsets = match_characters(*texts, self._arrays["characters.singles"], self._character_trie)
            matches = _union(matches, Matches(offsets, ids))
        if "repeated.offsets" in self._arrays:
            matches = _expand(matches, self._arrays["repeated.offsets"], self._arrays["repeated.ids"])
        return matches


def _entry_array(entries: Sequence[str] | pa.Array) -> pa.Array:
    try:
        array = entries if isinstance(entries, pa.Array) else pa.array(entries, pa.large_string())
        array = array.cast(pa.large_string())
    except (UnicodeEncodeError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(f"the entries are not all strings in valid Unicode ({error}): mend or remove these") from error
    if array.null_count:
        place = int(pc.index(array.is_null(), True).as_py())
        raise InputError(f"entry {place} of {len(array):,} is null: remove it")
    return array


def _fingerprint(strings: Strings, about: dict[str, str]) -> str:
    digest = hashlib.sha256(repr(sorted(about.items())).encode())
    digest.update(strings.offsets.tobytes())
    digest.update(strings.letters.tobytes())
    return digest.hexdigest()


def _add_words(arrays: dict[str, npt.NDArray[Any]], about: dict[str, str], keys: Keys) -> None:
    split = pc.split_pattern(keys.words, " ")
    encoded = split.values.dictionary_encode()
    vocabulary, symbol_of = build_vocabulary(encoded.dictionary)
    symbols = symbol_of[encoded.indices.to_numpy()]
    offsets = split.offsets.to_numpy().astype(np.int64)
    alone = np.diff(offsets) == 1
    set_entries(vocabulary, symbols[offsets[:-1][alone]], keys.word_ids[alone])
    _add_trie("words", arrays, about, build_trie(symbols, offsets, keys.word_ids, len(vocabulary.slots)))
    arrays["words.slots"], arrays["words.pilots"] = vocabulary.slots, vocabulary.pilots
    arrays["words.letters"], about["words.seed"] = vocabulary.letters, str(vocabulary.seed)


def _add_characters(arrays: dict[str, npt.NDArray[Any]], about: dict[str, str], keys: Keys) -> None:
    texts = keys.characters.to_pylist()
    symbols = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts], dtype=np.int64)])
    _add_trie("characters", arrays, about, build_trie(symbols, offsets, keys.character_ids, _CODE_POINTS))
    if not texts:
        return
    alone = np.diff(offsets) == 1
    single = symbols[offsets[:-1][alone]]
    singles = np.full(int(single.max()) + 1 if len(single) else 0, UNKNOWN, np.int32)
    singles[single] = keys.character_ids[alone]
    arrays["characters.singles"] = singles


def _add_trie(name: str, arrays: dict[str, npt.NDArray[Any]], about: dict[str, str], trie: Trie) -> None:
    arrays[f"{name}.trie.edges"], arrays[f"{name}.trie.pilots"] = trie.edges, trie.pilots
    arrays[f"{name}.trie.bloom"] = trie.bloom
    about[f"{name}.trie.seed"], about[f"{name}.trie.depth"] = str(trie.seed), str(trie.depth)


def _trie(name: str, arrays: dict[str, npt.NDArray[Any]], about: dict[str, str]) -> Trie:
    edges, pilots, bloom = (arrays[f"{name}.trie.{part}"] for part in ("edges", "pilots", "bloom"))
    seed, depth = np.uint64(about[f"{name}.trie.seed"]), int(about[f"{name}.trie.depth"])
    return Trie(edges, pilots, bloom, seed, depth)


def _add_repetitions(arrays: dict[str, npt.NDArray[Any]], keys: Keys) -> None:
    """Lists, for each entry that stands for its key, all entries with that key; nothing if no key is there twice."""
    groups = []
    for spelled, ids in ((keys.words, keys.word_ids), (keys.characters, keys.character_ids)):
        codes = spelled.dictionary_encode().indices.to_numpy()
        last = np.zeros(len(codes), np.int64)
        last[codes] = ids
        groups.append((last[codes], ids))
    stands_for, members = (np.concatenate(column) for column in zip(*groups, strict=True))
    if (stands_for == members).all():
        return
    order = np.lexsort((members, stands_for))
    arrays["repeated.offsets"] = np.concatenate([[0], np.cumsum(np.bincount(stands_for))])
    arrays["repeated.ids"] = members[order].astype(np.int32)


def _runs(texts: Sequence[str] | pa.Array | pa.ChunkedArray) -> Iterable[Strings]:
    if isinstance(texts, pa.ChunkedArray):
        return chain.from_iterable(slices(chunk) for chunk in texts.chunks)
    if isinstance(texts, pa.Array):
        return slices(texts)
    try:
        return slices(pa.array(texts, pa.large_string()))
    except (UnicodeEncodeError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(f"the texts are not all strings in valid Unicode ({error}): clean them first") from error


def _union(left: Matches, right: Matches) -> Matches:
    """Both text by text; no entry is in both."""
    if len(right.ids) == 0:
        return left
    return _sorted_rows(
        np.concatenate(
            [np.repeat(np.arange(len(left)), left.lengths), np.repeat(np.arange(len(right)), right.lengths)]
        ),
        np.concatenate([left.ids, right.ids]),
        len(left),
    )


def _expand(matches: Matches, offsets: npt.NDArray[np.int64], members: npt.NDArray[np.int32]) -> Matches:
    """Replaces each id by all of its group."""
    sizes = np.diff(offsets)[matches.ids]
    first = offsets[matches.ids]
    within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    ids = members[np.repeat(first, sizes) + within]
    rows = np.repeat(np.repeat(np.arange(len(matches)), matches.lengths), sizes)
    return _sorted_rows(rows, ids, len(matches))


def _sorted_rows(rows: npt.NDArray[np.int64], ids: npt.NDArray[np.int32], count: int) -> Matches:
    order = np.lexsort((ids, rows))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=count))])
    return Matches(offsets, ids[order])
