"""The lamps above the table, and the maps of what they do not reach."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from koine.world.compiled import kernel
from koine.world.rays import RayCaster

Array = np.ndarray

_TEXELS = 72
"""Side of the shadow map."""
_SPREAD = 0.30
"""Half width of the shadow map at the table, metres."""


class Light(NamedTuple):
    """A small lamp: place in metres, colour of the lamp and of the ambient light (linear RGB)."""

    position: tuple[float, float, float]
    colour: tuple[float, float, float]
    ambient: tuple[float, float, float]


LIGHTS = {
    "daylight": Light((-0.55, -0.45, 1.10), (0.80, 0.78, 0.74), (0.34, 0.36, 0.39)),
    "evening": Light((0.80, -0.25, 0.75), (0.92, 0.70, 0.48), (0.30, 0.30, 0.36)),
    "lamp": Light((0.10, -0.10, 0.95), (0.82, 0.77, 0.66), (0.27, 0.27, 0.29)),
}


class ShadowMap(NamedTuple):
    """Distances from a lamp to the things, seen through a square window on the table.

    Attributes:
        origin: float32 [3], the lamp, metres.
        axes: float32 [3, 3], columns: right, up, towards the table.
        scale: texels per unit of (right / towards).
        distance: float32 [72, 72], metres to the first thing, inf beside the things.
        nearest: float32 [72, 72], the smallest of the 4x4 distances that begin one above and left of each texel.
    """

    origin: Array
    axes: Array
    scale: np.float32
    distance: Array
    nearest: Array


def shadow_map(name: str, caster: RayCaster | None) -> ShadowMap:
    """What the lamp of this name sees of the things; without a caster it sees none, and nothing has a shadow."""
    lamp = _lamp(name)
    if caster is None:
        distance = np.full((_TEXELS, _TEXELS), np.inf, np.float32)
    else:
        distance = caster.reach(lamp.origin, lamp.rays).reshape(_TEXELS, _TEXELS)
    origin, axes = lamp.origin.astype(np.float32), lamp.axes.astype(np.float32)
    return ShadowMap(origin, axes, lamp.scale, distance, _nearest_around(distance))


@dataclass(frozen=True)
class _Lamp:
    """The fixed geometry of a lamp's view of the table: origin, axes (right, up, towards), scale and unit rays."""

    origin: Array
    axes: Array
    scale: np.float32
    rays: Array


@cache
def _lamp(name: str) -> _Lamp:
    origin = np.array(LIGHTS[name].position)
    towards = -origin / np.linalg.norm(origin)
    right = np.cross(towards, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(right, towards), towards], axis=1)
    focal = float(np.linalg.norm(origin)) / _SPREAD
    grid = (np.arange(_TEXELS) + 0.5) / _TEXELS * 2 - 1
    x, y = np.meshgrid(grid / focal, grid / focal)
    rays = np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3) @ axes.T
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    return _Lamp(origin, axes, np.float32(focal) * np.float32(_TEXELS / 2), rays)


@kernel
def _nearest_around(distance: Array) -> Array:
    """See `ShadowMap.nearest`. Most texels see no thing: each that does tells its neighbours."""
    rows, columns = distance.shape
    nearest = np.full((rows, columns), np.inf, np.float32)
    for row in range(rows):
        for column in range(columns):
            if distance[row, column] < np.inf:
                for near_row in range(max(row - 2, 0), min(row + 2, rows)):
                    for near_column in range(max(column - 2, 0), min(column + 2, columns)):
                        nearest[near_row, near_column] = min(nearest[near_row, near_column], distance[row, column])
    return nearest
