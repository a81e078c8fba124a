"""Free-form strokes inside an object, as a hand would scribble over it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from koine.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLES = 48
"""Points per stroke: enough that the widest pictures show no corners between them."""


def draw_stroke(
    mask: NDArray[np.bool_],
    generator: np.random.Generator,
    *,
    waypoints: int = 4,
    thickness: float = 0.12,
) -> NDArray[np.bool_]:
    """A smooth random stroke through an object, cut to the object.

    The curve is a Catmull-Rom spline through random pixels of the object, drawn as a round pen would. Ferret's paper
    says that its free-form regions are random strokes inside the object but not how they were drawn (section 5.1), so
    the recipe is our own.

    Args:
        mask: [height, width] bool, the object.
        waypoints: pixels that the curve passes through, at least 1.
        thickness: the pen's diameter as a share of the square root of the object's area; at least 3 pixels are drawn.
    Returns:
        stroke: [height, width] bool, non-empty, a subset of `mask`.
    Raises:
        InputError: the mask is empty.
    """
    rows, columns = np.nonzero(mask)
    if not len(rows):
        raise InputError(f"object mask of shape {mask.shape} is empty: mark at least one pixel of it")
    chosen = generator.integers(len(rows), size=waypoints)
    path = _spline(np.stack([columns[chosen], rows[chosen]], axis=1).astype(np.float64) + 0.5)
    radius = max(1.5, thickness * math.sqrt(len(rows)) / 2)
    return _pen(path, radius, mask.shape) & mask


def _spline(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """A uniform Catmull-Rom curve through the points: [n, 2] -> [(n - 1) * SAMPLES + 1, 2], the points included."""
    ends = np.concatenate([points[:1], points, points[-1:]])
    before, start, end, after = (ends[offset : offset + len(points) - 1, None] for offset in range(4))
    t = np.arange(SAMPLES)[None, :, None] / SAMPLES
    curve = (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    ) / 2
    return np.concatenate([curve.reshape(-1, 2), points[-1:]])


def _pen(path: NDArray[np.float64], radius: float, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The pixels within `radius` of the path's line: path [n, 2] of (x, y) -> [height, width] bool."""
    from PIL import Image as pil
    from PIL import ImageDraw

    canvas = pil.new("1", (shape[1], shape[0]))
    pen = ImageDraw.Draw(canvas)
    pen.line([(x, y) for x, y in path], fill=1, width=max(1, round(2 * radius)))
    for x, y in path:  # round joints and ends, without which a bend shows gaps
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
    return np.asarray(canvas).astype(bool)
