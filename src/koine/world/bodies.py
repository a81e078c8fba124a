"""The things of a scene as columns of numbers, one row per thing: what compiled code reads of them."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import mujoco
import numpy as np

from koine.world.physics import FIRST_THING_BODY, surface_points
from koine.world.scene import Scene
from koine.world.things import COLOURS, HOLLOW, MATERIALS, Thing

Array = np.ndarray

_MARGIN = 1e-4
"""Metres by which the hulls are larger than the things: the model's lengths are rounded to 10 micrometres."""


class Bodies(NamedTuple):
    """n things; lengths in metres, float64 where nothing else is said.

    The hulls are for asking cheaply whether a ray can hit a thing at all. All three hold the whole thing.

    Attributes:
        centre: [n, 3], world frame.
        turn: [n, 3, 3], world from body frame (columns: the body's axes).
        hull: [n, 6], half extents (x, y, z) of a box in the body frame; of a cone about the body's z axis the radius at
            the centre and how much it grows per metre upwards; the radius of a ball.
        radius: [n], nominal radius.
        colour: [n, 3], albedo, linear RGB in [0, 1].
        material: int64 [n], index in `MATERIALS`.
        contact: [m, 6], the rims of the m things that stand on the table: centre (x, y), radius, length over which
            they take the light, 1 where the inside is open and 0 where it is not, the square of the distance from the
            centre at which no light is missing.
    """

    centre: Array
    turn: Array
    hull: Array
    radius: Array
    colour: Array
    material: Array
    contact: Array


def bodies_of(scene: Scene, data: mujoco.MjData) -> Bodies:
    """The columns of a scene whose model stands as `data` says (after `mj_kinematics`)."""
    things = scene.things
    return Bodies(
        centre=data.xpos[FIRST_THING_BODY:].copy(),
        turn=data.xmat[FIRST_THING_BODY:].reshape(-1, 3, 3).copy(),
        hull=np.array([_hull(thing.shape, thing.size) for thing in things]),
        radius=np.array([thing.radius for thing in things]),
        colour=np.array([COLOURS[thing.colour] for thing in things]),
        material=np.array([MATERIALS.index(thing.material) for thing in things], np.int64),
        contact=np.array([_rim(thing) for thing in things if thing.on is None]).reshape(-1, 6),
    )


def _rim(thing: Thing) -> tuple[float, ...]:
    x, y, _ = thing.position
    radius, length = 0.8 * thing.footprint, 0.55 * thing.radius
    far = radius + 3.5 * length  # where less than a hundred-thousandth is missing
    return x, y, radius, length, float(thing.shape in HOLLOW), far * far


@cache
def _hull(shape: str, size: str) -> tuple[float, ...]:
    points = surface_points(shape, size)
    box = np.abs(points).max(axis=0) + _MARGIN
    # Upright walls, a cone that does not taper, hold everything but a cone tightly.
    taper = -0.5 * box[0] / box[2] if shape == "cone" else 0.0
    girth = (np.linalg.norm(points[:, :2], axis=1) - taper * points[:, 2]).max() + _MARGIN
    reach = np.linalg.norm(points, axis=1).max() + _MARGIN
    return (*box.tolist(), float(girth), float(taper), float(reach))
