"""Random numbers that belong to a row, not to a moment: the same whatever is drawn before, beside or after it.

Philox 4x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) is a function of a key and counter.
Here the key is the seed and the row's uid, and the counter says which of the row's numbers is meant; so the result does
not depend on the order of the rows, on how they are divided among files, or on how many workers there are.
`numpy.random.Philox` computes the same numbers, but for one key at a time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from koine.curation.compiled import compiled, compiled_into_caller
from koine.curation.hashing import hash_strings
from koine.curation.intrinsics import wide_product
from koine.curation.strings import slices

ROUNDS = 10
NUMBERS = 4
"""Numbers that one counter gives."""
_MULTIPLIERS = (np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157))
_BUMPS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B))
_MANTISSA = 1.0 / (1 << 53)


@compiled
def philox(
    counter: tuple[np.uint64, np.uint64, np.uint64, np.uint64], key: tuple[np.uint64, np.uint64]
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """The four random uint64 of a counter under a key."""
    first, second, third, fourth = counter
    left, right = key
    for _ in range(ROUNDS):
        upper_first, lower_first = wide_product(_MULTIPLIERS[0], first)
        upper_third, lower_third = wide_product(_MULTIPLIERS[1], third)
        first, second = upper_third ^ second ^ left, lower_third
        third, fourth = upper_first ^ fourth ^ right, lower_first
        left, right = left + _BUMPS[0], right + _BUMPS[1]
    return first, second, third, fourth


@compiled_into_caller
def as_uniform(bits: np.uint64) -> float:
    """A number in [0, 1) from the upper 53 bits."""
    return float(bits >> np.uint64(11)) * _MANTISSA


def hash_column(column: pa.Array | pa.ChunkedArray, seed: int = 0) -> npt.NDArray[np.uint64]:
    """[rows], XXH64 of each string; of a null that of the empty string."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    out = np.empty(sum(map(len, chunks)), np.uint64)
    done = 0
    for chunk in chunks:
        for run in slices(chunk):
            hash_strings(run.address, run.offsets, np.uint64(seed), out[done : done + len(run)])
            done += len(run)
    return out


@compiled
def draw_row(
    seed: np.uint64,
    uid: np.uint64,
    text: np.uint64,
    probabilities: npt.NDArray[np.float64],
    ids: npt.NDArray[np.int32],
    begin: int,
    end: int,
) -> bool:
    """Draws for one text entry by entry, `ids[begin:end]` in order, until a draw is less than the entry's probability.

    The draw for the i-th entry is the i-th number of the row, so drawing for all entries at once keeps the same rows.
    """
    for block in range((end - begin + NUMBERS - 1) // NUMBERS):
        numbers = philox((np.uint64(block), text, np.uint64(0), np.uint64(0)), (seed, uid))
        for number in range(NUMBERS):
            place = begin + block * NUMBERS + number
            if place < end and as_uniform(numbers[number]) < probabilities[ids[place]]:
                return True
    return False


@compiled
def draw_rows(
    seed: np.uint64,
    uids: npt.NDArray[np.uint64],
    texts: npt.NDArray[np.uint64],
    probabilities: npt.NDArray[np.float64],
    offsets: npt.NDArray[np.int64],
    ids: npt.NDArray[np.int32],
) -> npt.NDArray[np.bool_]:
    """`draw_row` for each row; [rows]."""
    keep = np.empty(len(uids), np.bool_)
    for row in range(len(uids)):
        keep[row] = draw_row(seed, uids[row], texts[row], probabilities, ids, offsets[row], offsets[row + 1])
    return keep


@compiled
def uniform_rows(
    seed: np.uint64, uids: npt.NDArray[np.uint64], texts: npt.NDArray[np.uint64], stream: np.uint64
) -> npt.NDArray[np.float64]:
    """One number in [0, 1) for each row and `stream` (an epoch, say); streams are independent of `draw_rows`, too."""
    out = np.empty(len(uids))
    for row in range(len(uids)):
        numbers = philox((np.uint64(0), texts[row], stream, np.uint64(1)), (seed, uids[row]))
        out[row] = as_uniform(numbers[0])
    return out
