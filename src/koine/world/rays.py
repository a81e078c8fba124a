"""What rays hit: MuJoCo's ray caster, asked only where a thing can be. The room without things is two rectangles."""

from __future__ import annotations

from typing import NamedTuple

import mujoco
import numpy as np

from koine.world.bodies import Bodies
from koine.world.compiled import kernel, shader
from koine.world.physics import (
    FIRST_THING_BODY,
    FLOOR_BODY,
    FLOOR_HALF,
    FLOOR_Z,
    TABLE_BODY,
    TABLE_CENTRE_Y,
    TABLE_HALF,
)

Array = np.ndarray
Vector = tuple[float, float, float]

_FAR = 1e10


class Room(NamedTuple):
    """The room without things, metres: a table whose top is at z = 0, and a square floor."""

    x_min: float = -TABLE_HALF[0]
    x_max: float = TABLE_HALF[0]
    y_min: float = TABLE_CENTRE_Y - TABLE_HALF[1]
    y_max: float = TABLE_CENTRE_Y + TABLE_HALF[1]
    thickness: float = 2 * TABLE_HALF[2]
    floor: float = FLOOR_Z
    floor_half: float = float(FLOOR_HALF)


class Hits(NamedTuple):
    """What n rays hit first, one row per ray; world frame.

    Attributes:
        body: int32 [n], body id, -1 where the ray leaves the room.
        distance: float64 [n], metres along the ray.
        normal: float32 [n, 3], unit, zero where nothing was hit.
        direction: float64 [n, 3], unit, of the ray.
        origin: float64 [3], metres, of all rays.
    """

    body: Array
    distance: Array
    normal: Array
    direction: Array
    origin: Array


class RayCaster:
    """Casts rays into a scene: `model` and `data` after `mj_kinematics`, and the scene's things as columns."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, bodies: Bodies) -> None:
        self._model, self._data, self._bodies = model, data, bodies
        self._body_of_geom = np.append(model.geom_bodyid, -1).astype(np.int32)  # index -1: missed

    def cast(self, origin: Array, directions: Array) -> Hits:
        """What the rays from `origin` [3] along `directions` [n, 3] (unit, float64) hit."""
        body, distance, normal, unsure, asked, questions = _look_around(origin, directions, self._bodies, Room())
        _fill_in(body, distance, normal, asked, *self._ask(origin, questions), self._body_of_geom)
        if len(unsure):
            answers = self._ask(origin, directions[unsure], room=True)
            _fill_in(body, distance, normal, unsure, *answers, self._body_of_geom)
        return Hits(body, distance, normal, directions, origin)

    def reach(self, origin: Array, directions: Array) -> Array:
        """Distances float32 [n] in metres from `origin` to the things that the rays hit, inf where they hit none."""
        asked, questions = _towards_things(origin, directions, self._bodies)
        geom, found, _ = self._ask(origin, questions, room=True)
        distance = np.full(len(directions), np.inf, np.float32)
        distance[asked] = np.where(self._body_of_geom[geom] >= FIRST_THING_BODY, found, np.inf)
        return distance

    def _ask(self, origin: Array, directions: Array, *, room: bool = False) -> tuple[Array, Array, Array]:
        """MuJoCo's answers about things, or about the room too: geom id [n] (-1: none), distance [n], normal [n, 3]."""
        n = len(directions)
        geom, distance, normal = np.empty(n, np.int32), np.empty(n), np.empty((n, 3))
        if n:
            mujoco.mj_multiRay(
                self._model,
                self._data,
                origin.reshape(3, 1),
                directions.reshape(-1, 1),
                None,
                room,
                -1,
                geom.reshape(-1, 1),
                distance.reshape(-1, 1),
                normal.reshape(-1, 1),
                n,
                _FAR,
            )
        return geom, distance, normal


@kernel
def _look_around(
    origin: Array, directions: Array, bodies: Bodies, room: Room
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """What the rays hit in the room without things, and what is to be asked.

    Returns:
        body, distance and normal of the hits; the rows of the rays of which these are not certain; the rows and the
        directions of the other rays that may hit a thing.
    """
    n = len(directions)
    body, distance = np.empty(n, np.int32), np.empty(n)
    normal = np.zeros((n, 3), np.float32)
    unsure, asked, questions = np.empty(n, np.int64), np.empty(n, np.int64), np.empty((n, 3))
    views = _views_from(origin, bodies)
    start = (origin[0], origin[1], origin[2])
    unsures = count = 0
    for ray in range(n):
        direction = (directions[ray, 0], directions[ray, 1], directions[ray, 2])
        body[ray], distance[ray] = _in_empty_room(start, direction, room)
        normal[ray, 2] = 1
        if body[ray] < 0:
            unsure[unsures] = ray
            unsures += 1
        elif _may_hit_any(views, bodies, direction):
            asked[count] = ray
            questions[count, 0], questions[count, 1], questions[count, 2] = direction
            count += 1
    return body, distance, normal, unsure[:unsures], asked[:count], questions[:count]


@kernel
def _towards_things(origin: Array, directions: Array, bodies: Bodies) -> tuple[Array, Array]:
    """The rays (rows, directions) that may hit a thing."""
    n = len(directions)
    asked, questions = np.empty(n, np.int64), np.empty((n, 3))
    views = _views_from(origin, bodies)
    count = 0
    for ray in range(n):
        direction = (directions[ray, 0], directions[ray, 1], directions[ray, 2])
        if _may_hit_any(views, bodies, direction):
            asked[count] = ray
            questions[count, 0], questions[count, 1], questions[count, 2] = direction
            count += 1
    return asked[:count], questions[:count]


@kernel
def _fill_in(
    body: Array,
    distance: Array,
    normal: Array,
    asked: Array,
    geom: Array,
    found: Array,
    found_normal: Array,
    body_of_geom: Array,
) -> None:
    """Writes those of the answers to the rays `asked` that are nearer than what is known to be hit."""
    for answer in range(len(asked)):
        ray, hit = asked[answer], geom[answer] >= 0
        if body[ray] < 0 or (hit and found[answer] <= distance[ray]):
            body[ray], distance[ray] = body_of_geom[geom[answer]], found[answer]
            for axis in range(3):
                normal[ray, axis] = found_normal[answer, axis] if hit else 0.0


@shader
def _in_empty_room(start: Vector, direction: Vector, room: Room) -> tuple[int, float]:
    """Body and distance of the table's top or the floor; -1 where neither is certain and MuJoCo must be asked."""
    if start[2] <= 0 or direction[2] >= 0:  # from below, or into the sky
        return -1, 0.0
    to_top, to_bottom = -start[2] / direction[2], (-room.thickness - start[2]) / direction[2]
    x, y = start[0] + to_top * direction[0], start[1] + to_top * direction[1]
    if room.x_min < x < room.x_max and room.y_min < y < room.y_max:
        return TABLE_BODY, to_top
    to_floor = (room.floor - start[2]) / direction[2]
    far_x, far_y = start[0] + to_bottom * direction[0], start[1] + to_bottom * direction[1]
    beside_x = max(x, far_x) < room.x_min or min(x, far_x) > room.x_max
    beside_y = max(y, far_y) < room.y_min or min(y, far_y) > room.y_max
    floor_x, floor_y = start[0] + to_floor * direction[0], start[1] + to_floor * direction[1]
    if (beside_x or beside_y) and max(abs(floor_x), abs(floor_y)) < room.floor_half:
        return FLOOR_BODY, to_floor
    return -1, 0.0


@shader
def _views_from(origin: Array, bodies: Bodies) -> Array:
    """Each thing as seen from a point, [n, 7].

    The way to its centre (world axes), the point in its body frame, and the square of the length of the tangents from
    the point to its ball (negative inside).
    """
    views = np.empty((len(bodies.centre), 7))
    for thing in range(len(views)):
        for axis in range(3):
            views[thing, axis] = bodies.centre[thing, axis] - origin[axis]
        for axis in range(3):
            views[thing, 3 + axis] = -(
                views[thing, 0] * bodies.turn[thing, 0, axis]
                + views[thing, 1] * bodies.turn[thing, 1, axis]
                + views[thing, 2] * bodies.turn[thing, 2, axis]
            )
        apart = views[thing, 0] ** 2 + views[thing, 1] ** 2 + views[thing, 2] ** 2
        views[thing, 6] = apart - bodies.hull[thing, 5] ** 2
    return views


@shader
def _may_hit_any(views: Array, bodies: Bodies, direction: Vector) -> bool:
    """Whether a ray's line passes through the ball, the box and the cone round any of the things."""
    dx, dy, dz = direction
    turn, hull = bodies.turn, bodies.hull
    for thing in range(len(views)):
        along = views[thing, 0] * dx + views[thing, 1] * dy + views[thing, 2] * dz
        if along * along < views[thing, 6] or along < 0 < views[thing, 6]:
            continue
        start = (views[thing, 3], views[thing, 4], views[thing, 5])
        step = (
            dx * turn[thing, 0, 0] + dy * turn[thing, 1, 0] + dz * turn[thing, 2, 0],
            dx * turn[thing, 0, 1] + dy * turn[thing, 1, 1] + dz * turn[thing, 2, 1],
            dx * turn[thing, 0, 2] + dy * turn[thing, 1, 2] + dz * turn[thing, 2, 2],
        )
        if _meets_box(start, step, hull[thing, 0], hull[thing, 1], hull[thing, 2]) and _meets_cone(
            start, step, hull[thing, 3], hull[thing, 4]
        ):
            return True
    return False


@shader
def _meets_box(start: Vector, step: Vector, half_x: float, half_y: float, half_z: float) -> bool:
    """Whether a line passes through a box about the origin: it does unless, seen along an axis, it passes beside it."""
    (x, y, z), (dx, dy, dz) = start, step
    return (
        abs(x * dy - y * dx) <= half_x * abs(dy) + half_y * abs(dx)
        and abs(y * dz - z * dy) <= half_y * abs(dz) + half_z * abs(dy)
        and abs(z * dx - x * dz) <= half_z * abs(dx) + half_x * abs(dz)
    )


@shader
def _meets_cone(start: Vector, step: Vector, radius: float, growth: float) -> bool:
    """Whether a line passes through an endless cone of this radius at z = 0, growing upwards; true if in doubt."""
    (x, y, z), (dx, dy, dz) = start, step
    wide, grows = radius + growth * z, growth * dz
    # Along the line, (distance from the axis)^2 - (cone's radius)^2 = a t^2 + 2 b t + c.
    a = dx * dx + dy * dy - grows * grows
    b = x * dx + y * dy - wide * grows
    c = x * x + y * y - wide * wide
    if a <= 0:  # the line is steeper than the cone's wall
        return True
    return b * b >= a * c and wide - grows * b / a >= 0  # the lowest value, and on this side of the apex
