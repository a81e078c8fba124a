"""A trie over symbols (words or characters) in a perfect hash, and the walk that finds every entry in a sequence.

A node of depth one is its symbol; deeper nodes are numbered on from there. An edge's key is its parent and its symbol,
so that no hash is trusted. A Bloom filter over the first edges keeps nearly all pairs of neighbours that begin no
entry away from the edges, from within the cache.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from koine.curation.compiled import compiled, compiled_into_caller, signed
from koine.curation.hashing import mix, perfect_hash, seeds, slot_count, slot_of
from koine.curation.intrinsics import prefetch

EDGE = 2
"""Numbers per edge: parent and symbol; then entry (lower half), child (upper half), whose top bit says "leads on"."""
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_LEADS_ON = np.uint64(1 << 63)
_CHILD = np.uint64(0x7FFFFFFF)
_NO_EDGE = np.uint64(0xFFFFFFFFFFFFFFFF)
_BLOOM_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_BITS_PER_PAIR = 16
_EMPTY = np.zeros(0, np.uint64)


class Trie(NamedTuple):
    """Entries of two symbols and more."""

    edges: npt.NDArray[np.uint64]
    """[slots * EDGE]."""
    pilots: npt.NDArray[np.uint16]
    bloom: npt.NDArray[np.uint64]
    """One bit per pair of symbols that begins an entry, at the top bits of a product; a power of two of words."""
    seed: np.uint64
    depth: int
    """Symbols of the longest entry, at least one."""


def build_trie(
    symbols: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    entries: npt.NDArray[np.int64],
    first_node: int,
) -> Trie:
    """Compiles sequences of symbols, level by level; those of fewer than two symbols are left out.

    Args:
        symbols: the sequences, one after the other; below `first_node`.
        offsets: [sequences + 1]; sequence i is `symbols[offsets[i] : offsets[i + 1]]`.
        entries: [sequences], the entry that each sequence is. Of equal sequences the last one counts.
        first_node: the first number that is no symbol.
    """
    lengths = np.diff(offsets)
    alive = np.flatnonzero(lengths >= 2)
    node = symbols[offsets[alive]]
    depth, next_node = 1, first_node
    keys: list[npt.NDArray[np.uint64]] = []
    values: list[npt.NDArray[np.uint64]] = []
    bloom = _bloom(_EMPTY)
    while len(alive):
        depth += 1
        edge = _edge_keys(node, symbols[offsets[alive] + depth - 1])
        distinct, which = np.unique(edge, return_inverse=True)
        if depth == 2:
            bloom = _bloom(distinct)
        leads_on = lengths[alive] > depth
        entry = np.full(len(distinct), _LOW)
        entry[which[~leads_on]] = entries[alive[~leads_on]].astype(np.uint64)
        child = np.arange(next_node, next_node + len(distinct))
        value = entry | (child.astype(np.uint64) << _HALF)
        value[which[leads_on]] |= _LEADS_ON
        keys.append(distinct)
        values.append(value)
        alive, node = alive[leads_on], child[which[leads_on]]
        next_node += len(distinct)
    if next_node > int(_CHILD):
        raise ValueError(f"a trie of {next_node:,} nodes is too large: at most {int(_CHILD):,}")
    edges, pilots, seed = _place(np.concatenate([*keys, _EMPTY]), np.concatenate([*values, _EMPTY]))
    return Trie(edges, pilots, bloom, seed, depth)


def _edge_keys(parents: npt.NDArray[np.int64], symbols: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    return (parents.astype(np.uint64) << _HALF) | symbols.astype(np.uint64)


def _bloom(pairs: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    words = 1 << max(3, (len(pairs) * _BITS_PER_PAIR // 64 - 1).bit_length())  # at least a cache line
    bloom = np.zeros(words, np.uint64)
    _fill_bloom(bloom, pairs)
    return bloom


@compiled
def _fill_bloom(bloom: npt.NDArray[np.uint64], pairs: npt.NDArray[np.uint64]) -> None:
    shift = _bloom_shift(bloom)
    for pair in pairs:
        bit = (pair * _BLOOM_FACTOR) >> shift
        bloom[signed(bit >> np.uint64(6))] |= np.uint64(1) << (bit & np.uint64(63))


@compiled_into_caller
def _bloom_shift(bloom: npt.NDArray[np.uint64]) -> np.uint64:
    """How far a product is shifted so that its top bits number a bit of the filter."""
    bits = len(bloom) * 64
    shift = 64
    while bits > 1:
        bits >>= 1
        shift -= 1
    return np.uint64(shift)


def _place(
    keys: npt.NDArray[np.uint64], values: npt.NDArray[np.uint64]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint16], np.uint64]:
    for seed in seeds():
        hashes = np.empty(len(keys), np.uint64)
        _hash_edges(keys, np.uint64(seed), hashes)
        if (found := perfect_hash(hashes)) is not None:
            pilots, slot = found
            edges = np.full((slot_count(len(keys)), EDGE), _NO_EDGE)
            edges[slot, 0], edges[slot, 1] = keys, values
            return edges.reshape(-1), pilots, np.uint64(seed)
    raise RuntimeError(f"no perfect hash of {len(keys):,} edges with any of {len(seeds())} seeds")


@compiled
def _hash_edges(keys: npt.NDArray[np.uint64], seed: np.uint64, hashes: npt.NDArray[np.uint64]) -> None:
    for edge in range(len(keys)):
        hashes[edge] = mix(keys[edge], seed)


@compiled
def find_pairs(trie: Trie, symbols: npt.NDArray[np.int64], count: int, out: npt.NDArray[np.int64]) -> int:
    """Writes the places of the known symbols in `symbols[:count]` that may begin an entry with their neighbour.

    Also asks for the cache lines of their edges. Returns how many places there are.
    """
    bloom, pilots, seed = trie.bloom, trie.pilots, trie.seed
    edges, slots = trie.edges.ctypes.data, np.uint64(len(trie.edges) // EDGE)
    shift = _bloom_shift(bloom)
    found = 0
    for place in range(count - 1):
        symbol, following = symbols[place], symbols[place + 1]
        bit = (((np.uint64(symbol) << _HALF) | np.uint64(following)) * _BLOOM_FACTOR) >> shift
        hit = (bloom[signed(bit >> np.uint64(6))] >> (bit & np.uint64(63))) & np.uint64(1)
        out[found] = place
        # Added, not tested: whether a pair hits can't be guessed, and a wrong guess costs more than a useless store.
        found += signed(hit) & signed((symbol >= 0) & (following >= 0))
    for pair in range(found):
        key = (np.uint64(symbols[out[pair]]) << _HALF) | np.uint64(symbols[out[pair] + 1])
        prefetch(edges + slot_of(mix(key, seed), pilots, slots) * (EDGE * 8))
    return found


@compiled_into_caller
def walk(
    trie: Trie,
    symbols: npt.NDArray[np.int64],
    place: int,
    end: int,
    out: npt.NDArray[np.int32],
    count: int,
) -> int:
    """Appends to `out[:count]` the entries of two and more symbols that begin at `place`; the new count.

    The symbol at `place` must be known; an unknown one ends the walk, and so does `end`.
    """
    slots = np.uint64(len(trie.edges) // EDGE)
    node = np.uint64(symbols[place])
    for position in range(place + 1, end):
        if symbols[position] < 0:
            break
        key = (node << _HALF) | np.uint64(symbols[position])
        slot = slot_of(mix(key, trie.seed), trie.pilots, slots) * EDGE
        if trie.edges[slot] != key:
            break
        value = trie.edges[slot + 1]
        entry = np.int32(value & _LOW)
        out[count] = entry
        count += signed(entry >= 0)
        if value & _LEADS_ON == np.uint64(0):
            break
        node = (value >> _HALF) & _CHILD
    return count
