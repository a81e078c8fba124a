"""Outlines as closed paths: of boxes and masks, smoothed, and cut into dashes or dots along their length."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from koine.sentence import Region

Path = NDArray[np.float64]  # [n, 2] (x, y); a closed path does not repeat its first point at the end


def outlines(region: Region) -> list[Path]:
    """The closed outlines of a box or mask in pixels of its image: one for a box, for a mask one per rim."""
    if region.mask is not None:
        return [_smoothed(rim) for rim in rims(region.mask)]
    x0, y0, x1, y1 = region.bounds
    return [np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=float)]


def rims(mask: NDArray[np.bool_]) -> list[Path]:
    """The closed chains of pixel edges that separate True from False, inner rims of holes included.

    Every edge is walked with the mask on its right-hand side, so that edges chain without ambiguity, except where two
    pixels touch at a corner: there any continuation closes.

    Args:
        mask: [height, width] bool.
    """
    padded = np.pad(mask, 1).astype(np.int8)
    rows, columns = np.nonzero(np.diff(padded, axis=0))
    downward = np.diff(padded, axis=0)[rows, columns] > 0  # False above, True below: a top edge, walked to the right
    starts = np.stack([np.where(downward, columns - 1, columns), rows], axis=1)
    ends = np.stack([np.where(downward, columns, columns - 1), rows], axis=1)
    rows, columns = np.nonzero(np.diff(padded, axis=1))
    rightward = np.diff(padded, axis=1)[rows, columns] > 0  # a left edge, walked upward
    starts = np.concatenate([starts, np.stack([columns, np.where(rightward, rows, rows - 1)], axis=1)])
    ends = np.concatenate([ends, np.stack([columns, np.where(rightward, rows - 1, rows)], axis=1)])

    following: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for start, end in zip(map(tuple, starts.tolist()), map(tuple, ends.tolist()), strict=True):
        following.setdefault(start, []).append(end)
    chains = []
    while following:
        first = place = next(iter(following))
        chain = []
        while place in following:
            chain.append(place)
            onward = following[place]
            place = onward.pop()
            if not onward:
                del following[chain[-1]]
            if place == first:
                break
        chains.append(np.array(chain, dtype=float))
    return chains


def _smoothed(path: Path, rounds: int = 2) -> Path:
    """The path with its corners cut (Chaikin): the staircase of a mask's rim becomes a curve."""
    for _ in range(rounds):
        onward = np.roll(path, -1, axis=0)
        path = np.stack([0.75 * path + 0.25 * onward, 0.25 * path + 0.75 * onward], axis=1).reshape(-1, 2)
    return path


def dashes(path: Path, on: float, off: float) -> list[Path]:
    """Open pieces of a closed path, `on` long with gaps of `off`, stretched so that a whole number goes round."""
    closed = np.concatenate([path, path[:1]])
    travelled = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    count = max(1, round(travelled[-1] / (on + off)))
    period = travelled[-1] / count
    pieces = []
    for number in range(count):
        begin, end = number * period, number * period + period * on / (on + off)
        corners = travelled[(travelled > begin) & (travelled < end)]
        stops = np.concatenate([[begin], corners, [end]])
        pieces.append(np.stack([np.interp(stops, travelled, closed[:, axis]) for axis in (0, 1)], axis=1))
    return pieces
