"""Unpickles plain data (lists, dicts, strings, numbers, sets) and nothing else: a pickle file can run any code."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

from koine.errors import InputError

PLAIN = {
    "set": set,
    "frozenset": frozenset,
    "complex": complex,
    "bytearray": bytearray,
}
"""The builtins that pickle names by their class; lists, dicts, strings and numbers have codes of their own."""


class _PlainUnpickler(pickle.Unpickler):
    """Refuses every class and function except those of `PLAIN`."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("builtins", "__builtin__") and name in PLAIN:
            return PLAIN[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is not plain data")


def load_plain_pickle(path: Path) -> Any:
    """The content of a pickle file of plain data, Python 2's included (its byte strings are read as Latin-1).

    Raises:
        InputError: the file can't be read, is damaged, or names any class or function beyond builtin containers.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}: give the path of an annotation file") from error
    try:
        return _PlainUnpickler(io.BytesIO(content), encoding="latin-1").load()
    except Exception as error:  # a damaged pickle raises almost anything: EOFError, IndexError, UnicodeDecodeError, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"cannot unpickle {path}: {reason}: take the file as its authors published it; only plain data is read"
        ) from error
