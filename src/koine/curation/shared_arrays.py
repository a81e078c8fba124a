"""Named arrays in one safetensors file that any number of processes map and share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from koine.errors import InputError
from koine.files import write_atomically

LINE = 64
"""Bytes of a cache line. The arrays begin at a multiple of it."""
_KINDS = {"U64": np.uint64, "I64": np.int64, "I32": np.int32, "U16": np.uint16, "U8": np.uint8}


def save_arrays(path: Path, arrays: Mapping[str, npt.NDArray[np.generic]], metadata: Mapping[str, str]) -> None:
    """Writes the arrays (uint64, int64, int32, uint16, uint8) and some strings."""
    from safetensors.numpy import save

    whole = save(dict(arrays), {**metadata, "padding": ""})
    missing = -_data_begin(whole[:8]) % LINE
    if missing:
        whole = save(dict(arrays), {**metadata, "padding": " " * missing})
    with write_atomically(path) as temporary:
        temporary.write_bytes(whole)


def map_arrays(path: Path) -> tuple[dict[str, npt.NDArray[np.generic]], dict[str, str]]:
    """Maps a file that `save_arrays` wrote: read-only arrays that cost no memory until they are touched, and strings.

    Raises:
        InputError: there is no such file, or it is something else, or it was cut short.
    """
    try:
        content = np.memmap(path, np.uint8, mode="r")
        begin = _data_begin(content[:8].tobytes())
        header = json.loads(content[8:begin].tobytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a matcher's index ({error}): write one with Matcher.save") from error
    metadata = header.pop("__metadata__", {})
    arrays = {}
    for name, about in header.items():
        first, last = (begin + offset for offset in about["data_offsets"])
        if last > len(content):
            raise InputError(
                f"{path} has {len(content):,} of at least {last:,} bytes: it was cut short, write it again"
            )
        arrays[name] = np.frombuffer(content, _KINDS[about["dtype"]], offset=first, count=int(np.prod(about["shape"])))
    return arrays, metadata


def on_a_line(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """The array, or a copy of it that begins at a cache line: items that straddle two cost a fifth of the speed."""
    if array.ctypes.data % LINE == 0:
        return array
    room = np.empty(array.nbytes + LINE, np.uint8)
    begin = -room.ctypes.data % LINE
    copy = room[begin : begin + array.nbytes].view(array.dtype)
    copy[:] = array
    return copy


def _data_begin(first_bytes: bytes) -> int:
    return 8 + int.from_bytes(first_bytes, "little")
