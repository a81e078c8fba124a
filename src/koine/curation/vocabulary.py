"""The words of the entries in a perfect hash whose slots hold the words themselves, so that no hash is trusted.

A word of up to 16 bytes is kept whole in its slot, as its first and its last eight bytes (they may overlap; the length
tells); of a longer one the slot has the first eight bytes, a hash of all, and the place where all its bytes lie.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from koine.curation.compiled import compiled, signed
from koine.curation.hashing import hash_bytes, mix, perfect_hash, seeds, slot_count, slot_of
from koine.curation.intrinsics import load_word, prefetch
from koine.curation.strings import Strings

UNKNOWN = -1
"""The symbol of a word that no entry has, and the entry of a symbol that is none by itself."""
INLINE = 16
"""Bytes of the longest word that its slot holds whole."""
SLOT = 4
"""Numbers per slot: first bytes, last bytes or hash, length + 1, entry (lower half) and place (upper half)."""
_LOW = np.uint64(0xFFFFFFFF)


class Vocabulary(NamedTuple):
    """A compiled set of words. A word's symbol is its slot's number."""

    slots: npt.NDArray[np.uint64]
    """[slots * SLOT]."""
    pilots: npt.NDArray[np.uint16]
    """[buckets] of the perfect hash."""
    letters: npt.NDArray[np.uint8]
    """The bytes of the words longer than INLINE."""
    seed: np.uint64


def build_vocabulary(words: pa.Array) -> tuple[Vocabulary, npt.NDArray[np.int64]]:
    """Compiles distinct words.

    Args:
        words: [words], strings or bytes.

    Returns:
        The vocabulary, in which no symbol is an entry yet, and each word's symbol [words].
    """
    strings = Strings.of(words)
    lengths = np.diff(strings.offsets)
    long = lengths > INLINE
    place = np.cumsum(np.where(long, lengths, 0)) - np.where(long, lengths, 0)
    letters = np.zeros(int(lengths[long].sum()) + 8, np.uint8)  # a word may be loaded seven bytes beyond its end
    pairs = np.empty((len(lengths), 2), np.uint64)
    hashes = np.empty(len(lengths), np.uint64)
    for seed in seeds():
        _hash_words(strings.address, strings.offsets, np.uint64(seed), pairs, hashes)
        if (found := perfect_hash(hashes)) is not None:
            break
    else:
        raise RuntimeError(f"no perfect hash of {len(lengths):,} words with any of {len(seeds())} seeds")
    pilots, symbols = found
    slots = np.zeros((slot_count(len(lengths)), SLOT), np.uint64)
    slots[symbols, :2] = pairs
    slots[symbols, 2] = lengths + 1
    slots[symbols, 3] = _LOW | (place.astype(np.uint64) << np.uint64(32))
    _copy_long(strings.letters, strings.offsets, place, letters)
    return Vocabulary(slots.reshape(-1), pilots, letters, np.uint64(seed)), symbols


def set_entries(vocabulary: Vocabulary, symbols: npt.NDArray[np.int64], entries: npt.NDArray[np.int64]) -> None:
    """Says which entry each of these symbols is by itself."""
    slots = vocabulary.slots.reshape(-1, SLOT)
    slots[symbols, 3] = (slots[symbols, 3] & ~_LOW) | entries.astype(np.uint32).astype(np.uint64)


@compiled
def look_up(
    vocabulary: Vocabulary,
    starts: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    begin: int,
    end: int,
    symbols: npt.NDArray[np.int64],
    entries: npt.NDArray[np.int32],
) -> None:
    """Finds the words at addresses `starts` with `lengths` bytes, from `begin` to before `end`.

    Fills `symbols` and `entries` at the same places: the word's symbol, and the entry that it is by itself; UNKNOWN
    where there is none. Two passes without a branch that depends on the data: the first only computes addresses and
    asks for their cache lines, so that the second needn't wait for memory.
    """
    slots, pilots, seed = vocabulary.slots, vocabulary.pilots, vocabulary.seed
    count = np.uint64(len(slots) // SLOT)
    base = slots.ctypes.data
    for word in range(begin, end):
        first, last = _key(starts[word], lengths[word])
        slot = slot_of(_hash_key(first, last, lengths[word], seed), pilots, count)
        symbols[word] = slot
        prefetch(base + slot * (SLOT * 8))
    pool = vocabulary.letters.ctypes.data
    for word in range(begin, end):
        length = lengths[word]
        first, last = _key(starts[word], length)
        slot = symbols[word] * SLOT
        same = (slots[slot] == first) & (slots[slot + 1] == last) & (slots[slot + 2] == np.uint64(length + 1))
        if same and length > INLINE:
            same = _equal(starts[word], pool + signed(slots[slot + 3] >> np.uint64(32)), length)
        symbols[word] = symbols[word] if same else UNKNOWN
        entries[word] = np.int32(slots[slot + 3] & _LOW) if same else np.int32(UNKNOWN)


@compiled
def _key(address: int, length: int) -> tuple[np.uint64, np.uint64]:
    """The first eight bytes, zeros after the end; and the last eight of more than eight, a hash of more than INLINE."""
    first = load_word(address)
    if length <= 8:
        # A shift by 64 is undefined in LLVM, so the empty word goes in two steps.
        beyond = np.uint64(4 * (8 - length))
        return (first << beyond << beyond) >> beyond >> beyond, np.uint64(0)
    if length <= INLINE:
        return first, load_word(address + length - 8)
    return first, hash_bytes(address, length, np.uint64(0))


@compiled
def _hash_key(first: np.uint64, last: np.uint64, length: int, seed: np.uint64) -> np.uint64:
    # The length too: "nana" and "nanana" have the same first and last four bytes, and longer ones the same eight.
    return mix(first ^ mix(last, np.uint64(length)), seed)


@compiled
def _equal(left: int, right: int, length: int) -> bool:
    """Whether `length` >= 8 bytes at two addresses are the same."""
    for position in range(0, length - 7, 8):
        if load_word(left + position) != load_word(right + position):
            return False
    return load_word(left + length - 8) == load_word(right + length - 8)


@compiled
def _hash_words(
    address: int,
    offsets: npt.NDArray[np.int64],
    seed: np.uint64,
    pairs: npt.NDArray[np.uint64],
    hashes: npt.NDArray[np.uint64],
) -> None:
    for word in range(len(offsets) - 1):
        length = offsets[word + 1] - offsets[word]
        first, last = _key(address + offsets[word], length)
        pairs[word, 0], pairs[word, 1] = first, last
        hashes[word] = _hash_key(first, last, length, seed)


@compiled
def _copy_long(
    source: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    place: npt.NDArray[np.int64],
    letters: npt.NDArray[np.uint8],
) -> None:
    for word in range(len(offsets) - 1):
        length = offsets[word + 1] - offsets[word]
        if length > INLINE:
            letters[place[word] : place[word] + length] = source[offsets[word] : offsets[word] + length]
