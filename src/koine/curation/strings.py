"""Arrow strings as the kernels take them: one padded run of bytes and the offsets that cut it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from koine.errors import InputError

PADDING = 128
"""Bytes after the last string that a kernel may read (and ignores)."""
SLICE_ROWS = 1 << 16
SLICE_BYTES = 1 << 24


@dataclass(frozen=True)
class Strings:
    """Strings without a Python object for any of them."""

    letters: npt.NDArray[np.uint8]
    """All bytes, then PADDING zeros."""
    offsets: npt.NDArray[np.int64]
    """[strings + 1]; string i is `letters[offsets[i] : offsets[i + 1]]`."""
    valid: npt.NDArray[np.bool_]
    """[strings]; False where the array has a null."""

    @classmethod
    def of(cls, array: pa.Array) -> Strings:
        """A copy of an Arrow array of strings or bytes; its values needn't be valid UTF-8."""
        return next(iter(slices(array, rows=max(1, len(array)), size=None)), cls.empty())

    @classmethod
    def empty(cls) -> Strings:
        return cls(np.zeros(PADDING, np.uint8), np.zeros(1, np.int64), np.zeros(0, np.bool_))

    @property
    def address(self) -> int:
        """Where `letters` begins in memory; valid as long as this object lives."""
        return int(self.letters.ctypes.data)

    def __len__(self) -> int:
        return len(self.offsets) - 1


def slices(array: pa.Array, *, rows: int = SLICE_ROWS, size: int | None = SLICE_BYTES) -> Iterator[Strings]:
    """Cuts an array into runs of at most `rows` strings and about `size` bytes (a longer string comes alone), in order.

    Each run is a copy: Arrow promises nothing about the bytes behind its buffers, and copying costs far less than
    matching does.

    Raises:
        InputError: the array has no strings.
    """
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if pa.types.is_null(array.type):
        array = array.cast(pa.large_binary())
    kind = array.type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if not (text or pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)):
        raise InputError(f"a column of {kind} holds no texts: name a column of strings")
    array = array.cast(pa.large_string() if text else pa.large_binary())
    if len(array) == 0:
        return
    _, offset_buffer, letter_buffer = array.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[array.offset : array.offset + len(array) + 1]
    letters = np.frombuffer(letter_buffer or b"", np.uint8)
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    begin = 0
    while begin < len(array):
        end = min(begin + rows, len(array))
        if size is not None:
            end = max(begin + 1, min(end, int(np.searchsorted(offsets, offsets[begin] + size, side="right")) - 1))
        first, last = int(offsets[begin]), int(offsets[end])
        padded = np.zeros(last - first + PADDING, np.uint8)
        padded[: last - first] = letters[first:last]
        yield Strings(padded, offsets[begin : end + 1] - first, valid[begin:end])
        begin = end
