"""Hashes that must never change, and a perfect hash that must be perfect."""

from __future__ import annotations

import numpy as np
import pytest

from koine.curation.hashing import hash_bytes, perfect_hash, slot_count, slot_of


@pytest.mark.parametrize(
    ("content", "seed", "expected"),
    [
        # Computed with the reference implementation of XXH64.
        (b"", 0, 0xEF46DB3751D8E999),
        (b"a", 0, 0xD24EC4F1A98C6E5B),
        (b"abc", 0, 0x44BC2CF5AD770999),
    ],
)
def test_published_hash(content: bytes, seed: int, expected: int) -> None:
    padded = np.frombuffer(content + b"\xff" * 16, np.uint8)
    assert int(hash_bytes(padded.ctypes.data, len(content), np.uint64(seed))) == expected


def test_every_length_agrees_with_the_reference() -> None:
    reference = pytest.importorskip("xxhash", reason="compares with the xxhash package, which is not installed")
    content = np.random.default_rng(0).integers(0, 256, 300, dtype=np.uint8)
    for length in range(200):
        for seed in (0, 7, 2**63 + 1):
            expected = reference.xxh64_intdigest(content[:length].tobytes(), seed)
            assert int(hash_bytes(content.ctypes.data, length, np.uint64(seed))) == expected


@pytest.mark.parametrize("keys", [0, 1, 2, 3, 17, 1000, 50_000])
def test_every_key_has_a_slot_of_its_own(keys: int) -> None:
    hashes = np.random.default_rng(keys).integers(0, 2**63, keys).astype(np.uint64)
    found = perfect_hash(hashes)
    assert found is not None
    pilots, slots = found
    assert len(np.unique(slots)) == keys
    assert [int(slot_of(hashed, pilots, np.uint64(slot_count(keys)))) for hashed in hashes[:100]] == slots[
        :100
    ].tolist()


def test_equal_hashes_have_no_perfect_hash() -> None:
    assert perfect_hash(np.array([5, 5], np.uint64)) is None
