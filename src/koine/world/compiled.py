"""How loops over rays and pixels are compiled: to machine code that is kept on disk and needs no interpreter.

What is kept is renewed when the file of its kernel changes, whatever becomes of other files. So a kernel calls only
functions of its own file, and takes the numbers of other rooms as arguments, all but the ids of bodies and materials.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """A loop over rays or pixels, called from Python: compiled when first called, and kept on disk."""
    compiled: Any = njit(cache=True, nogil=True, error_model="numpy")(function)
    return compiled


def shader(function: Function) -> Function:
    """What a kernel computes for one ray or pixel: compiled into the kernel.

    A call that stays a call would count references to the arrays of its arguments, which takes longer than the work.
    """
    compiled: Any = njit(forceinline=True, error_model="numpy")(function)
    return compiled
