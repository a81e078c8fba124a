"""The picture of a scene and its ground truth: colour, instance masks, boxes, depth and normals from one ray cast.

MuJoCo's CPU ray caster finds what each pixel sees; the shading is ours (light with a soft shadow, contact shade,
highlights, grain). No OpenGL and no system package are involved. Supersampling is adaptive: pixels on an edge are
cast 2x2 times and averaged, the others once, which gives the same picture as 2x2 rays everywhere at a third of
the cost (`antialias="full"` casts all of them).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import mujoco
import numpy as np

from koine.errors import InputError
from koine.world.physics import FIRST_THING_BODY, TABLE_BODY, TABLE_CENTRE_Y, TABLE_HALF, build_model, surface_points
from koine.world.scene import Camera, Scene
from koine.world.surfaces import table_albedo, wood_grain
from koine.world.things import COLOURS

Array = np.ndarray
Antialias = Literal["adaptive", "full", "none"]

BACKGROUND = -1
_SKY_TOP, _SKY_HORIZON = np.float32([0.42, 0.50, 0.58]), np.float32([0.80, 0.82, 0.82])
_FLOOR = np.float32([0.33, 0.31, 0.30])
_SHADOW_RAYS = 72
_SHADOW_SPREAD = 0.30
"""Half width of the shadow map at the table, metres."""


@dataclass(frozen=True)
class Light:
    """A small lamp: place in metres, colour of the lamp and of the ambient light (linear RGB)."""

    position: tuple[float, float, float]
    colour: tuple[float, float, float]
    ambient: tuple[float, float, float]


LIGHTS = {
    "daylight": Light((-0.55, -0.45, 1.10), (0.80, 0.78, 0.74), (0.34, 0.36, 0.39)),
    "evening": Light((0.80, -0.25, 0.75), (0.92, 0.70, 0.48), (0.30, 0.30, 0.36)),
    "lamp": Light((0.10, -0.10, 0.95), (0.82, 0.77, 0.66), (0.27, 0.27, 0.29)),
}


@dataclass(frozen=True)
class Observation:
    """What the camera sees. H x W pixels; boxes are (left, top, right, bottom) in pixels, right and bottom exclusive.

    Attributes:
        image: uint8 [H, W, 3] RGB.
        instance: int8 [H, W], index of the thing at the pixel's centre, -1 where there is none.
        boxes: float32 [n, 4], the box of each thing's visible pixels; zeros for a thing that is wholly hidden.
        amodal_boxes: float32 [n, 4], the box of the whole thing, hidden parts and parts outside the picture included.
        visible: int32 [n], number of visible pixels.
    """

    image: Array
    instance: Array
    boxes: Array
    amodal_boxes: Array
    visible: Array

    def mask(self, index: int) -> Array:
        """Visible pixels of thing `index`, bool [H, W]."""
        return self.instance == index


@dataclass(frozen=True)
class View(Observation):
    """An observation with its geometry.

    Attributes:
        depth: float32 [H, W], metres along the camera's axis (inf where a ray leaves the room).
        normals: float32 [H, W, 3], unit, world frame, zero where nothing was hit.
    """

    depth: Array
    normals: Array


def render(
    scene: Scene, size: int | tuple[int, int] = 64, *, antialias: Antialias = "adaptive", shadows: bool = True
) -> View:
    """Render a scene at `size` = pixels of a square or (width, height).

    Raises:
        InputError: a side below 8 pixels or above 4096.
    """
    width, height = (size, size) if isinstance(size, int) else size
    if not (8 <= width <= 4096 and 8 <= height <= 4096):
        raise InputError(f"picture size {width}x{height} is out of range: give sides of 8 to 4096 pixels")
    model = build_model(scene)
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    caster = _RayCaster(model, data)
    origin, axes = camera_pose(scene.camera)
    amodal_boxes = _amodal_boxes(scene, data, width, height)
    local = _pixel_rays(width, height, scene.camera.fovy, 1)
    hits = caster.cast(origin, local @ axes.T, maybe_thing=_inside_any(amodal_boxes, width, height))
    light = LIGHTS[scene.light]
    shadow = _ShadowMap(caster, scene) if shadows else None

    colour = _colour(scene, caster, hits, light, shadow, width, height, antialias)
    image = (_tone(colour) * 255.0 + 0.5).astype(np.uint8).reshape(height, width, 3)

    instance = np.where(hits.body >= FIRST_THING_BODY, hits.body - FIRST_THING_BODY, BACKGROUND).astype(np.int8)
    instance = instance.reshape(height, width)
    depth = np.where(hits.missed, np.inf, hits.distance * -local[:, 2]).astype(np.float32).reshape(height, width)
    boxes, visible = _visible_boxes(instance, len(scene.things))
    return View(
        image=image,
        instance=instance,
        depth=depth,
        normals=hits.normal.reshape(height, width, 3),
        boxes=boxes,
        amodal_boxes=amodal_boxes,
        visible=visible,
    )


def _colour(
    scene: Scene,
    caster: _RayCaster,
    hits: _Hits,
    light: Light,
    shadow: _ShadowMap | None,
    width: int,
    height: int,
    antialias: Antialias,
) -> Array:
    """Linear RGB float32 [H*W, 3]: one ray where the picture is smooth, 2x2 where it is not; shaded in one pass."""
    count = width * height
    fine_pixels = np.zeros(count, bool)
    if antialias == "adaptive":
        fine_pixels = _edges(hits, width, height)
    elif antialias == "full":
        fine_pixels[:] = True
    fine_at, coarse_at = np.flatnonzero(fine_pixels), np.flatnonzero(~fine_pixels)
    if not fine_at.size:
        return _shade(scene, caster, hits, light, shadow)
    origin, axes = camera_pose(scene.camera)
    rays = _pixel_rays(width, height, scene.camera.fovy, 2).reshape(count, 12)[fine_at].reshape(-1, 3)
    fine = caster.cast(origin, rays @ axes.T)
    shaded = _shade(scene, caster, hits.at(coarse_at).joined(fine), light, shadow)
    colour = np.empty((count, 3), np.float32)
    colour[coarse_at] = shaded[: coarse_at.size]
    colour[fine_at] = shaded[coarse_at.size :].reshape(-1, 4, 3).mean(axis=1)
    return colour


def camera_pose(camera: Camera) -> tuple[Array, Array]:
    """Origin [3] in metres and axes [3, 3] (columns: right, up, backward) of a camera, world frame."""
    ca, sa = math.cos(camera.azimuth), math.sin(camera.azimuth)
    ce, se = math.cos(camera.elevation), math.sin(camera.elevation)
    backward = np.array([-sa * ce, -ca * ce, se])
    right = np.array([ca, -sa, 0.0])
    up = np.array([sa * se, ca * se, ce])
    return np.array(camera.target) + camera.distance * backward, np.stack([right, up, backward], axis=1)


def project(points: Array, camera: Camera, width: int, height: int) -> Array:
    """World points [..., 3] in metres -> pixels [..., 2] (x right, y down)."""
    origin, axes = camera_pose(camera)
    local = (points - origin) @ axes
    focal = height / (2 * math.tan(camera.fovy / 2))
    x = width / 2 + focal * local[..., 0] / -local[..., 2]
    y = height / 2 - focal * local[..., 1] / -local[..., 2]
    return np.stack([x, y], axis=-1)


@lru_cache(maxsize=32)
def _pixel_rays(width: int, height: int, fovy: float, samples: int) -> Array:
    """Unit rays [H*W*samples^2, 3] in the camera frame, grouped by pixel, row-major."""
    focal = height / (2 * math.tan(fovy / 2))
    sub = (np.arange(samples) + 0.5) / samples
    x = (np.arange(width)[:, None] + sub - width / 2) / focal  # [W, s]
    y = -(np.arange(height)[:, None] + sub - height / 2) / focal  # [H, s]
    shape = (height, width, samples, samples)
    rays = np.stack(
        [np.broadcast_to(x[None, :, None, :], shape), np.broadcast_to(y[:, None, :, None], shape), np.full(shape, -1.0)],
        axis=-1,
    ).reshape(-1, 3)
    rays = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    rays.setflags(write=False)
    return rays


@dataclass(frozen=True)
class _Hits:
    """One row per ray: body id (-1 missed), distance in metres, unit normal, point in the world frame."""

    body: Array
    distance: Array
    normal: Array
    point: Array
    direction: Array

    @property
    def missed(self) -> Array:
        return self.body < 0

    def at(self, rows: Array) -> _Hits:
        return _Hits(self.body[rows], self.distance[rows], self.normal[rows], self.point[rows], self.direction[rows])

    def joined(self, other: _Hits) -> _Hits:
        return _Hits(
            np.concatenate([self.body, other.body]),
            np.concatenate([self.distance, other.distance]),
            np.concatenate([self.normal, other.normal]),
            np.concatenate([self.point, other.point]),
            np.concatenate([self.direction, other.direction]),
        )


class _RayCaster:
    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self.model, self.data = model, data
        self.body_of_geom = np.append(model.geom_bodyid, -1).astype(np.int32)  # index -1: missed

    def distances(self, origin: Array, directions: Array) -> tuple[Array, Array, Array]:
        n = len(directions)
        geom, distance = np.empty((n, 1), np.int32), np.empty((n, 1))
        normal = np.zeros((3 * n, 1))
        rays = np.ascontiguousarray(directions, dtype=np.float64).reshape(-1, 1)
        mujoco.mj_multiRay(
            self.model, self.data, origin.reshape(3, 1), rays, None, True, -1, geom, distance, normal, n, 1e10
        )
        return geom[:, 0], distance[:, 0], normal.reshape(n, 3)

    def cast(self, origin: Array, directions: Array, *, maybe_thing: Array | None = None) -> _Hits:
        """Cast rays from one origin; where `maybe_thing` is False only the empty table can be hit."""
        if maybe_thing is None:
            geom, distance, normal = self.distances(origin, directions)
            body = self.body_of_geom[geom]
        else:
            # the table top is a rectangle at z = 0: no need to ask the ray caster where no thing can be
            with np.errstate(divide="ignore"):
                distance = -origin[2] / directions[:, 2]
            x, y = origin[0] + distance * directions[:, 0], origin[1] + distance * directions[:, 1] - TABLE_CENTRE_Y
            on_table = (distance > 0) & (np.abs(x) < TABLE_HALF[0]) & (np.abs(y) < TABLE_HALF[1])
            asked = np.flatnonzero(maybe_thing | ~on_table)
            geom, distance[asked], asked_normal = self.distances(origin, directions[asked])
            body = np.full(len(directions), TABLE_BODY, np.int32)
            body[asked] = self.body_of_geom[geom]
            normal = np.zeros((len(directions), 3), np.float32)
            normal[:, 2] = 1
            normal[asked] = asked_normal
        return _Hits(
            body=body,
            distance=distance,
            normal=normal.astype(np.float32, copy=False),
            point=(origin + distance[:, None] * directions).astype(np.float32),
            direction=directions.astype(np.float32),
        )


@dataclass(frozen=True)
class _Lamp:
    """The fixed geometry of a lamp's view of the table: origin, axes (right, up, towards), scale and unit rays."""

    origin: Array
    axes: Array
    scale: float
    rays: Array

    def texels(self, points: Array) -> tuple[Array, Array, Array]:
        """World points [n, 3] -> column, row (fractions of texels, centres at whole numbers) and distance."""
        local = (points - self.origin.astype(points.dtype)) @ self.axes.astype(points.dtype)
        half = points.dtype.type(_SHADOW_RAYS / 2)
        spread = points.dtype.type(self.scale) * half / local[:, 2:3]
        grid = local[:, :2] * spread + (half - points.dtype.type(0.5))
        return grid[:, 0], grid[:, 1], np.sqrt(np.einsum("ij,ij->i", local, local))


@lru_cache(maxsize=len(LIGHTS))
def _lamp(name: str) -> _Lamp:
    origin = np.array(LIGHTS[name].position)
    towards = -origin / np.linalg.norm(origin)
    right = np.cross(towards, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(right, towards), towards], axis=1)
    scale = float(np.linalg.norm(origin)) / _SHADOW_SPREAD
    grid = (np.arange(_SHADOW_RAYS) + 0.5) / _SHADOW_RAYS * 2 - 1
    x, y = np.meshgrid(grid / scale, grid / scale)
    rays = np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3) @ axes.T
    return _Lamp(origin, axes, scale, rays / np.linalg.norm(rays, axis=1, keepdims=True))


class _ShadowMap:
    """Distances from the lamp to the things on the table (inf beside them); `lit` compares against them softly."""

    def __init__(self, caster: _RayCaster, scene: Scene) -> None:
        self.lamp = _lamp(scene.light)
        covered = np.zeros((_SHADOW_RAYS, _SHADOW_RAYS), bool)
        self.near = np.zeros((_SHADOW_RAYS, _SHADOW_RAYS), bool)
        centres = np.array([thing.position for thing in scene.things])
        columns, rows, _ = self.lamp.texels(centres)
        per_metre = _SHADOW_RAYS / (2 * _SHADOW_SPREAD)
        for thing, column, row in zip(scene.things, columns, rows, strict=True):
            reach = 1.15 * math.hypot(thing.footprint, thing.height / 2) * per_metre
            for mask, margin in ((covered, reach + 1), (self.near, reach + 4)):
                top, left = max(int(row - margin), 0), max(int(column - margin), 0)
                mask[top : max(int(row + margin) + 2, 0), left : max(int(column + margin) + 2, 0)] = True
        asked = np.flatnonzero(covered.ravel())
        geom, distance, _ = caster.distances(self.lamp.origin, self.lamp.rays[asked])
        self.distance = np.full(_SHADOW_RAYS * _SHADOW_RAYS, np.inf, np.float32)
        self.distance[asked] = np.where(caster.body_of_geom[geom] >= FIRST_THING_BODY, distance, np.inf)

    def lit(self, points: Array) -> Array:
        """Share of the lamp that reaches each point [n, 3], in [0, 1]: a box of 3x3 texels, moved continuously."""
        column, row, reach = self.lamp.texels(points)
        column, row = np.clip(column, 1, _SHADOW_RAYS - 3.001), np.clip(row, 1, _SHADOW_RAYS - 3.001)
        left, top = column.astype(np.int32), row.astype(np.int32)
        share = np.ones(len(points), np.float32)
        near = np.flatnonzero(self.near[top, left])
        left, top = left[near], top[near]
        across, down = _soft_weights(column[near] - left), _soft_weights(row[near] - top)
        base, bias = (top - 1) * _SHADOW_RAYS + left - 1, reach[near] - np.float32(0.010)
        total = np.zeros(len(near), np.float32)
        for i in range(4):
            for j in range(4):
                total += down[i] * across[j] * (self.distance[base + (i * _SHADOW_RAYS + j)] > bias)
        share[near] = total
        return share


def _soft_weights(fraction: Array) -> tuple[Array, Array, Array, Array]:
    """Weights of four neighbouring texels for a box of three texels moved by `fraction` of one."""
    third = np.float32(1 / 3)
    whole = np.full_like(fraction, third)
    return (1 - fraction) * third, whole, whole, fraction * third


def _shade(scene: Scene, caster: _RayCaster, hits: _Hits, light: Light, shadow: _ShadowMap | None) -> Array:
    """Linear RGB float32 [n, 3] of each hit."""
    direction, normal = hits.direction, hits.normal
    facing = np.einsum("ij,ij->i", normal, direction)
    normal = np.where(facing[:, None] > 0, -normal, normal)
    to_light = np.float32(light.position) - hits.point
    to_light /= np.sqrt(np.einsum("ij,ij->i", to_light, to_light))[:, None]
    lambert = np.maximum(np.einsum("ij,ij->i", normal, to_light), 0)
    lit = np.ones(len(lambert), np.float32)
    inside = np.flatnonzero(hits.body >= TABLE_BODY)
    if shadow is not None:
        # moved off the surface by more than half a texel, so that no surface shades itself
        lit[inside] = shadow.lit(hits.point[inside] + np.float32(0.006) * normal[inside])
    albedo = np.zeros((len(lambert), 3), np.float32)

    missed = np.flatnonzero(hits.missed)
    sky = 0.5 + 0.5 * np.clip(direction[missed, 2] * 2.2, -1, 1)
    albedo[missed] = _SKY_HORIZON + (_SKY_TOP - _SKY_HORIZON) * sky[:, None]
    table = np.flatnonzero(hits.body == TABLE_BODY)
    albedo[table] = table_albedo(scene.surface, hits.point[table, :2], scene.seed)
    floor = np.flatnonzero(hits.body == TABLE_BODY + 1)
    fade = np.exp(-0.25 * np.maximum(hits.distance[floor] - 0.8, 0)).astype(np.float32)[:, None]
    albedo[floor] = _FLOOR * fade + _SKY_HORIZON * np.float32(0.55) * (1 - fade)

    ambient = np.float32(light.ambient) * (0.75 + 0.25 * normal[:, 2:3])
    lamp = np.float32(light.colour) * (lambert * lit)[:, None]
    occlusion = np.ones(len(lambert), np.float32)
    occlusion[table] = _contact_shade(scene, hits.point[table])
    colour = albedo * (ambient * occlusion[:, None] + lamp)

    halfway = to_light - direction
    halfway /= np.sqrt(np.einsum("ij,ij->i", halfway, halfway))[:, None]
    glint = np.maximum(np.einsum("ij,ij->i", normal, halfway), 0)
    for index, thing in enumerate(scene.things):
        at = np.flatnonzero(hits.body == FIRST_THING_BODY + index)
        if not at.size:
            continue
        base = np.float32(COLOURS[thing.colour])
        n, low = normal[at], 0.62 + 0.38 * np.clip(hits.point[at, 2:3] / 0.035, 0, 1)
        if thing.material == "wood":
            turn = caster.data.xmat[FIRST_THING_BODY + index].reshape(3, 3)
            body = (hits.point[at] - caster.data.xpos[FIRST_THING_BODY + index]) @ turn
            base = base * wood_grain(body / thing.radius, scene.seed + index)[:, None]
        diffuse = base * (ambient[at] * low + lamp[at])
        if thing.material == "metal":
            view = direction[at]
            mirrored = view - 2 * np.einsum("ij,ij->i", n, view)[:, None] * n
            height = mirrored[:, 2:3]
            room = 0.10 + 1.05 * _smoothstep(height, -0.15, 0.25) - 0.45 * _smoothstep(height, 0.45, 0.95)
            fresnel = 0.75 + 0.25 * (1 - np.abs(np.einsum("ij,ij->i", n, view)))[:, None] ** 3
            tint = base * 0.62 + 0.38
            colour[at] = 0.24 * diffuse + tint * room * fresnel * 0.72
            colour[at] += (np.float32(light.colour) * (lit[at] * glint[at] ** 60)[:, None]) * 1.1
        elif thing.material == "rubber":
            colour[at] = diffuse + np.float32(light.colour) * (lit[at] * glint[at] ** 12)[:, None] * 0.06
        else:
            colour[at] = diffuse
    colour[missed] = albedo[missed]
    return colour


def _smoothstep(value: Array, low: float, high: float) -> Array:
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _contact_shade(scene: Scene, points: Array) -> Array:
    """Ambient light that is left on the table near things, in [0, 1]; points [n, 3]."""
    standing = [thing for thing in scene.things if thing.on is None]
    if not standing or not len(points):
        return np.ones(len(points), np.float32)
    shade = np.ones(len(points), np.float32)
    for thing in standing:
        dx = points[:, 0] - np.float32(thing.position[0])
        dy = points[:, 1] - np.float32(thing.position[1])
        away = np.sqrt(dx * dx + dy * dy)
        reach = np.float32(0.55 * thing.radius)
        rim = away - np.float32(thing.footprint * 0.8)
        if thing.shape in ("ring", "arch"):
            rim = np.abs(rim)
        shade *= 1 - 0.45 * np.exp(-np.square(np.maximum(rim, 0) / reach))
    return shade


def _tone(colour: Array) -> Array:
    """Linear light to display values in [0, 1]: soft shoulder, then gamma."""
    colour = np.maximum(colour, 0)
    return np.power(np.minimum(colour * (1 + colour * 0.12) / (1 + colour * 0.28), 1), np.float32(1 / 1.9))


def _edges(hits: _Hits, width: int, height: int) -> Array:
    """Pixels beside which another body or a crease begins, bool [H*W]."""
    body = hits.body.reshape(height, width)
    normal = hits.normal.reshape(height, width, 3)
    edge = np.zeros((height, width), bool)
    across = (body[:, 1:] != body[:, :-1]) | (np.einsum("ijk,ijk->ij", normal[:, 1:], normal[:, :-1]) < 0.85)
    down = (body[1:] != body[:-1]) | (np.einsum("ijk,ijk->ij", normal[1:], normal[:-1]) < 0.85)
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge.ravel()


def _visible_boxes(instance: Array, count: int) -> tuple[Array, Array]:
    boxes, visible = np.zeros((count, 4), np.float32), np.zeros(count, np.int32)
    for index in range(count):
        mask = instance == index
        rows, columns = mask.any(axis=1), mask.any(axis=0)
        visible[index] = np.count_nonzero(mask)
        if visible[index]:
            top, left = rows.argmax(), columns.argmax()
            bottom, right = len(rows) - rows[::-1].argmax(), len(columns) - columns[::-1].argmax()
            boxes[index] = (left, top, right, bottom)
    return boxes, visible


def _amodal_boxes(scene: Scene, data: mujoco.MjData, width: int, height: int) -> Array:
    clouds = [surface_points(thing.shape, thing.size) for thing in scene.things]
    starts = np.cumsum([0, *(len(cloud) for cloud in clouds)])[:-1]
    turns, places = data.xmat.reshape(-1, 3, 3), data.xpos
    points = [
        cloud @ turns[FIRST_THING_BODY + index].T + places[FIRST_THING_BODY + index]
        for index, cloud in enumerate(clouds)
    ]
    pixels = project(np.concatenate(points), scene.camera, width, height)
    low, high = np.minimum.reduceat(pixels, starts), np.maximum.reduceat(pixels, starts)
    return np.concatenate([low, high], axis=1).astype(np.float32)


def _inside_any(boxes: Array, width: int, height: int) -> Array:
    """Pixels [H*W] within one pixel of any box."""
    inside = np.zeros((height, width), bool)
    for left, top, right, bottom in np.clip(boxes, -1, max(width, height) + 1):
        inside[max(int(top) - 1, 0) : int(bottom) + 2, max(int(left) - 1, 0) : int(right) + 2] = True
    return inside.ravel()
