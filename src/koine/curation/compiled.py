"""How this room's kernels are compiled: to machine code that is kept on disk and needs no interpreter while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numba.extending import intrinsic

Function = TypeVar("Function", bound=Callable[..., Any])

signed = cast(Callable[[Any], int], np.int64)
"""Makes a kernel's number an int64. numba turns a signed and an unsigned number into a float, so kernels convert."""


def compiled(function: Function) -> Function:
    """Compiles a function when it is first called; keeps the machine code beside the source or in the user's cache.

    numba compiles anew when the function's own file has changed. After a change in a file whose functions it calls,
    remove the old machine code by hand: `rm src/koine/curation/__pycache__/*.nb?`.
    """
    try:
        kernel: Any = njit(cache=True, nogil=True)(function)
    except RuntimeError:  # neither place can be written to: compile in each process
        kernel = njit(nogil=True)(function)
    return kernel


def compiled_into_caller(function: Function) -> Function:
    """Compiles a function into each kernel that calls it.

    numba counts references to the arrays of every call, atomically. For what is called once per text or per word that
    costs more than the work itself.
    """
    kernel: Any = njit(inline="always")(function)
    return kernel


def instruction(generator: Callable[..., Any]) -> Callable[..., Any]:
    """A function for kernels whose machine code is written by hand; `generator` gets its arguments' types."""
    made: Any = intrinsic(generator)
    return made
