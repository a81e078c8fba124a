"""The loop that matches: scan a few hundred symbols, look them up, walk the trie, put each text's entries in order.

Everything here is compiled, knows no Python object and releases the interpreter, so that threads scale like processes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from koine.curation.compiled import compiled, compiled_into_caller, signed
from koine.curation.intrinsics import LANES, compare_lanes
from koine.curation.scanning import scan_characters, scan_words
from koine.curation.trie import Trie, find_pairs, walk
from koine.curation.vocabulary import UNKNOWN, Vocabulary, look_up

CAPACITY = 512
"""Symbols that are looked at together: enough to hide the memory's latency, few enough to stay in the first cache."""
_INSERTION_LIMIT = 64
_LARGEST = np.int32(0x7FFFFFFF)


@compiled
def match_words(
    address: int,
    offsets: npt.NDArray[np.int64],
    valid: npt.NDArray[np.bool_],
    vocabulary: Vocabulary,
    trie: Trie,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Finds the entries whose words occur side by side in each text.

    Args:
        address: where the texts' bytes lie, followed by `strings.PADDING` bytes that may be read.
        offsets: [texts + 1] into these bytes.
        valid: [texts]; a text that isn't valid has no entries.

    Returns:
        The entries of all texts, ascending and each once per text, and the offsets [texts + 1] that cut them.
    """
    found = np.empty(8 * len(valid) + 1024, np.int32)
    found_offsets = np.zeros(len(valid) + 1, np.int64)
    room = CAPACITY + trie.depth  # the last words of an unfinished text stay for the next round
    starts, lengths = np.empty(room, np.int64), np.empty(room, np.int64)
    symbols, entries = np.empty(room, np.int64), np.empty(room, np.int32)
    ends, pairs = np.empty(room, np.int64), np.empty(room, np.int64)
    lanes, cursor = np.empty(LANES, np.int32), np.zeros(3, np.int64)
    carried = text = total = 0
    while text < len(valid):
        count, ended = scan_words(address, offsets, valid, cursor, carried, starts, lengths, ends)
        look_up(vocabulary, starts, lengths, carried, count, symbols, entries)
        found = _with_room(found, total + count * trie.depth)
        pair_count = find_pairs(trie, symbols, count, pairs)
        begin = pair = 0
        for done in range(ended):
            end = ends[done]
            total = _collect(entries, begin, end, found, total)
            total, pair = _follow(trie, symbols, pairs, pair, pair_count, end, end, found, total)
            total = _settle(found, found_offsets[text], total, lanes)
            text += 1
            found_offsets[text] = total
            begin = end
        # What is left of an unfinished text: all but its last words have everything that may follow them.
        last = max(begin, count - (trie.depth - 1))
        total = _collect(entries, begin, last, found, total)
        total, pair = _follow(trie, symbols, pairs, pair, pair_count, last, count, found, total)
        carried = count - last
        for place in range(carried):
            symbols[place], entries[place] = symbols[last + place], entries[last + place]
    return found[:total].copy(), found_offsets


@compiled
def match_characters(
    address: int,
    offsets: npt.NDArray[np.int64],
    valid: npt.NDArray[np.bool_],
    singles: npt.NDArray[np.int32],
    trie: Trie,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Finds the entries whose keys occur in each spaced text at any character; arguments and result as `match_words`.

    Args:
        singles: the entry that a code point is by itself, UNKNOWN for none; only as far as there are any.
    """
    found = np.empty(8 * len(valid) + 1024, np.int32)
    found_offsets = np.zeros(len(valid) + 1, np.int64)
    room = CAPACITY + trie.depth
    symbols, entries = np.empty(room, np.int64), np.empty(room, np.int32)
    ends, pairs = np.empty(room, np.int64), np.empty(room, np.int64)
    lanes, cursor = np.empty(LANES, np.int32), np.zeros(3, np.int64)
    carried = text = total = 0
    while text < len(valid):
        count, ended = scan_characters(address, offsets, valid, cursor, carried, symbols, ends)
        for place in range(carried, count):
            symbol = symbols[place]
            entries[place] = singles[symbol] if 0 <= symbol < len(singles) else np.int32(UNKNOWN)
        found = _with_room(found, total + count * trie.depth)
        pair_count = find_pairs(trie, symbols, count, pairs)
        begin = pair = 0
        for done in range(ended):
            end = ends[done]
            total = _collect(entries, begin, end, found, total)
            total, pair = _follow(trie, symbols, pairs, pair, pair_count, end, end, found, total)
            total = _settle(found, found_offsets[text], total, lanes)
            text += 1
            found_offsets[text] = total
            begin = end
        last = max(begin, count - (trie.depth - 1))
        total = _collect(entries, begin, last, found, total)
        total, pair = _follow(trie, symbols, pairs, pair, pair_count, last, count, found, total)
        carried = count - last
        for place in range(carried):
            symbols[place], entries[place] = symbols[last + place], entries[last + place]
    return found[:total].copy(), found_offsets


@compiled
def _with_room(found: npt.NDArray[np.int32], needed: int) -> npt.NDArray[np.int32]:
    if needed <= len(found):
        return found
    larger = np.empty(2 * needed, np.int32)
    larger[: len(found)] = found
    return larger


@compiled_into_caller
def _collect(entries: npt.NDArray[np.int32], begin: int, last: int, found: npt.NDArray[np.int32], total: int) -> int:
    """Appends to `found[:total]` the entries of one symbol in [begin, last); the new total."""
    for place in range(begin, last):
        found[total] = entries[place]
        total += signed(entries[place] >= 0)
    return total


@compiled_into_caller
def _follow(
    trie: Trie,
    symbols: npt.NDArray[np.int64],
    pairs: npt.NDArray[np.int64],
    pair: int,
    pair_count: int,
    last: int,
    end: int,
    found: npt.NDArray[np.int32],
    total: int,
) -> tuple[int, int]:
    """Appends the longer entries that begin at `pairs[pair]` and so on before `last`, and end before `end`.

    Returns:
        The new total, and the first pair at `last` or later.
    """
    while pair < pair_count and pairs[pair] < last:
        total = walk(trie, symbols, pairs[pair], end, found, total)
        pair += 1
    return total, pair


@compiled_into_caller
def _settle(found: npt.NDArray[np.int32], begin: int, end: int, lanes: npt.NDArray[np.int32]) -> int:
    """Sorts `found[begin:end]` and removes what is there twice; the new end."""
    count = end - begin
    if count <= LANES:
        return _rank(found, begin, count, lanes)
    if count <= _INSERTION_LIMIT:
        return _insert(found, begin, end)
    found[begin:end].sort()
    return _insert(found, begin, end)


@compiled_into_caller
def _rank(found: npt.NDArray[np.int32], begin: int, count: int, lanes: npt.NDArray[np.int32]) -> int:
    """Sorts up to sixteen numbers by counting, for each at once, how many are less: nothing to guess wrong."""
    lanes[:] = _LARGEST
    for place in range(count):
        lanes[place] = found[begin + place]
    address = lanes.ctypes.data
    again = 0
    for place in range(count):
        less, equal = compare_lanes(address, lanes[place])
        found[begin + less] = lanes[place]
        again |= (equal & ((1 << place) - 1) != 0) << place
    if again == 0:
        return begin + count
    # Equal numbers got the same rank, so the places behind them were left as they were: rank the others anew.
    kept = 0
    for place in range(count):
        if (again >> place) & 1:
            lanes[place] = _LARGEST
        else:
            kept += 1
    for place in range(count):
        less, _ = compare_lanes(address, lanes[place])
        if less < kept:
            found[begin + less] = lanes[place]
    return begin + kept


@compiled_into_caller
def _insert(found: npt.NDArray[np.int32], begin: int, end: int) -> int:
    """Insertion sort that drops repetitions; linear on what is sorted already."""
    kept = begin
    for place in range(begin, end):
        value = found[place]
        before = kept - 1
        while before >= begin and found[before] > value:
            before -= 1
        if before >= begin and found[before] == value:
            continue
        for later in range(kept, before + 1, -1):
            found[later] = found[later - 1]
        found[before + 1] = value
        kept += 1
    return kept
