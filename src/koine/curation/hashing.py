"""Hashes of bytes and of numbers, and a perfect hash over a fixed set of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from koine.curation.compiled import compiled, compiled_into_caller, signed
from koine.curation.intrinsics import load_word, wide_product

# Odd constants with half of their bits set and no pattern: the first is 2**64 divided by the golden ratio.
_A = np.uint64(0x9E3779B97F4A7C15)
_B = np.uint64(0xD6E8FEB86659FD93)

# The five primes of XXH64.
_P1 = np.uint64(0x9E3779B185EBCA87)
_P2 = np.uint64(0xC2B2AE3D27D4EB4F)
_P3 = np.uint64(0x165667B19E3779F9)
_P4 = np.uint64(0x85EBCA77C2B2AE63)
_P5 = np.uint64(0x27D4EB2F165667C5)
_LOW_HALF = np.uint64(0xFFFFFFFF)
_LOW_BYTE = np.uint64(0xFF)

KEYS_PER_BUCKET = 4
LOAD = 0.8
"""Share of the slots of a perfect hash that hold a key."""
_PILOTS = 1 << 16
_SEEDS = 16


@compiled
def mix(value: np.uint64, seed: np.uint64) -> np.uint64:
    """A 64-bit hash of a 64-bit number."""
    upper, lower = wide_product(value ^ _A, seed ^ _B)
    upper, lower = wide_product(upper ^ lower ^ value, _A)
    return upper ^ lower


@compiled
def hash_bytes(address: int, length: int, seed: np.uint64) -> np.uint64:
    """XXH64 of `length` bytes at `address`; reads up to seven bytes beyond them, and ignores these.

    A published hash rather than `mix`, because what is drawn and what counts as a duplicate hang on it: others can
    compute it too, and it must never change.
    """
    position = 0
    if length >= 32:
        one, two, three, four = seed + _P1 + _P2, seed + _P2, seed, seed - _P1
        while position + 32 <= length:
            one = _round(one, load_word(address + position))
            two = _round(two, load_word(address + position + 8))
            three = _round(three, load_word(address + position + 16))
            four = _round(four, load_word(address + position + 24))
            position += 32
        state = _rotate(one, 1) + _rotate(two, 7) + _rotate(three, 12) + _rotate(four, 18)
        for lane in (one, two, three, four):
            state = (state ^ _round(np.uint64(0), lane)) * _P1 + _P4
    else:
        state = seed + _P5
    state += np.uint64(length)
    while position + 8 <= length:
        state = _rotate(state ^ _round(np.uint64(0), load_word(address + position)), 27) * _P1 + _P4
        position += 8
    if position + 4 <= length:
        state = _rotate(state ^ ((load_word(address + position) & _LOW_HALF) * _P1), 23) * _P2 + _P3
        position += 4
    while position < length:
        state = _rotate(state ^ ((load_word(address + position) & _LOW_BYTE) * _P5), 11) * _P1
        position += 1
    state = (state ^ (state >> np.uint64(33))) * _P2
    state = (state ^ (state >> np.uint64(29))) * _P3
    return state ^ (state >> np.uint64(32))


@compiled
def _round(state: np.uint64, word: np.uint64) -> np.uint64:
    return _rotate(state + word * _P2, 31) * _P1


@compiled
def _rotate(word: np.uint64, bits: int) -> np.uint64:
    return (word << np.uint64(bits)) | (word >> np.uint64(64 - bits))


@compiled
def hash_strings(address: int, offsets: npt.NDArray[np.int64], seed: np.uint64, out: npt.NDArray[np.uint64]) -> None:
    """`hash_bytes` of each of the strings that lie at `address` between consecutive `offsets` ([strings + 1])."""
    for row in range(len(offsets) - 1):
        out[row] = hash_bytes(address + offsets[row], offsets[row + 1] - offsets[row], seed)


@compiled_into_caller
def slot_of(hashed: np.uint64, pilots: npt.NDArray[np.uint16], slots: np.uint64) -> int:
    """Where a key with this hash lives in a perfect hash of so many slots, if it lives there at all."""
    bucket, _ = wide_product(hashed, np.uint64(len(pilots)))
    upper, lower = wide_product(hashed ^ (np.uint64(pilots[signed(bucket)]) * _B), _A)
    slot, _ = wide_product(upper ^ lower, slots)
    return signed(slot)


def perfect_hash(hashes: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int64]] | None:
    """Gives every key a slot of its own, by hash and displace (Belazzougui, Botelho and Dietzfelbinger, 2009).

    A look-up then reads one small pilot and exactly one slot: no probing, so nothing for the processor to guess.

    Args:
        hashes: [keys], of keys that all differ.

    Returns:
        The pilots [buckets], and each key's slot [keys] below `slot_count(len(hashes))`. None if two keys have the
        same hash: hash them with another seed.
    """
    slots = slot_count(len(hashes))
    buckets = max(1, len(hashes) // KEYS_PER_BUCKET)
    bucket_of = _buckets(hashes, buckets)
    order = np.argsort(bucket_of, kind="stable")
    sizes = np.bincount(bucket_of, minlength=buckets)
    first = np.concatenate([[0], np.cumsum(sizes)])
    # Big buckets first, while there is room for them.
    largest_first = np.argsort(-sizes, kind="stable")
    pilots = np.zeros(buckets, np.uint16)
    slot = np.empty(len(hashes), np.int64)
    placed = _displace(hashes, order, first, largest_first, pilots, slot, slots)
    return (pilots, slot) if placed else None


def slot_count(keys: int) -> int:
    """Slots of a perfect hash of so many keys: a multiple of four, so that what follows in a file stays aligned."""
    return (int(keys / LOAD) + 4) // 4 * 4


def seeds() -> range:
    """The seeds to try for a perfect hash. One nearly always does: two of a million keys collide once in 30 million."""
    return range(_SEEDS)


@compiled
def _buckets(hashes: npt.NDArray[np.uint64], buckets: int) -> npt.NDArray[np.int64]:
    out = np.empty(len(hashes), np.int64)
    for key in range(len(hashes)):
        bucket, _ = wide_product(hashes[key], np.uint64(buckets))
        out[key] = signed(bucket)
    return out


@compiled
def _displace(
    hashes: npt.NDArray[np.uint64],
    order: npt.NDArray[np.int64],
    first: npt.NDArray[np.int64],
    largest_first: npt.NDArray[np.int64],
    pilots: npt.NDArray[np.uint16],
    slot: npt.NDArray[np.int64],
    slots: int,
) -> bool:
    """Finds for each bucket the least pilot that sends its keys to free slots; False if there is none."""
    used = np.zeros(slots, np.bool_)
    for bucket in largest_first:
        begin, end = first[bucket], first[bucket + 1]
        if begin == end:
            return True
        for pilot in range(_PILOTS):
            pilots[bucket] = pilot
            done = begin
            while done < end:
                key = order[done]
                where = slot_of(hashes[key], pilots, np.uint64(slots))
                if used[where]:
                    break
                used[where] = True
                slot[key] = where
                done += 1
            if done == end:
                break
            for position in range(begin, done):
                used[slot[order[position]]] = False
        else:
            return False
    return True
