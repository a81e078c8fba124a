"""A scene as one MuJoCo model: the same object gives physics and picture."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import Any

import mujoco
import numpy as np

from koine.world.scene import Scene
from koine.world.things import MATERIALS, SIZES

TABLE_HALF = (0.42, 0.30, 0.02)
"""Half extents of the table in metres; its top is z = 0."""
TABLE_CENTRE_Y = -0.06
FLOOR_Z = -0.45
FLOOR_HALF = 6
"""The floor is a square at this height, of this half side, metres."""
TABLE_BODY, FLOOR_BODY = 1, 2
FIRST_THING_BODY = 3
"""Body ids of the compiled model: table, floor, then the things in the order of the scene."""
_RING_SEGMENTS = 20
_CONE_SEGMENTS = 28
_DENSITY = {"rubber": 1100.0, "metal": 4500.0, "wood": 700.0}
_FRICTION = {"rubber": 1.0, "metal": 0.4, "wood": 0.6}


def build_model(scene: Scene) -> mujoco.MjModel:
    """Compile the scene: table, floor and one free body per thing.

    Bodies: `FIRST_THING_BODY + i` is thing i. Several geoms may make one body (ring, arch), so an instance is a
    body, not a geom.
    """
    return _spec(scene).compile()


def scene_xml(scene: Scene) -> str:
    """The scene as MuJoCo XML (MJCF), for other programs."""
    spec = _spec(scene)
    spec.compile()
    xml: str = spec.to_xml()
    return xml


def _spec(scene: Scene) -> mujoco.MjSpec:
    # Things are added to a parsed room: parsing the whole scene anew would take a quarter of the time of compiling it.
    spec = _room().copy()
    for size in sorted({thing.size for thing in scene.things if thing.shape == "cone"}):
        spec.add_mesh(name=f"cone_{size}", uservert=_cone_vertices(size))
    for thing in scene.things:
        # Rounded, so that a scene that was written down and read again gives the same model.
        place = [round(length, 6) for length in thing.position]
        turn = [round(math.cos(thing.yaw / 2), 6), 0.0, 0.0, round(math.sin(thing.yaw / 2), 6)]
        body = spec.worldbody.add_body(pos=place, quat=turn)
        body.add_freejoint()
        material = spec.find_default(thing.material)
        for geom in _geoms(thing.shape, thing.size):
            body.add_geom(material, **geom)
    return spec


@cache
def _room() -> mujoco.MjSpec:
    """Table and floor, and what the materials of things are like."""
    geoms = {
        name: f'<geom density="{_DENSITY[name]}" friction="{_FRICTION[name]} 0.005 0.0001"/>' for name in MATERIALS
    }
    materials = "".join(f'<default class="{name}">{geom}</default>' for name, geom in geoms.items())
    width, depth, thickness = TABLE_HALF
    return mujoco.MjSpec.from_string(
        '<mujoco><compiler angle="radian" inertiafromgeom="true" usethread="false"/><size memory="256K"/>'
        '<option timestep="0.005" integrator="implicitfast"/>'
        f"<default>{materials}</default><worldbody>"
        f'<body pos="0 {TABLE_CENTRE_Y} {-thickness}"><geom type="box" size="{width} {depth} {thickness}"/></body>'
        f'<body pos="0 0 {FLOOR_Z}"><geom type="plane" size="{FLOOR_HALF} {FLOOR_HALF} 0.1"/></body>'
        "</worldbody></mujoco>"
    )


@cache
def _geoms(shape: str, size: str) -> list[dict[str, Any]]:
    """The geoms of a shape in its body frame (origin at half the height, z up), as arguments of `add_geom`."""
    r = SIZES[size]
    if shape == "cube":
        return [{"type": mujoco.mjtGeom.mjGEOM_BOX, "size": [0.8 * r, 0.8 * r, 0.8 * r]}]
    if shape == "ball":
        return [{"type": mujoco.mjtGeom.mjGEOM_SPHERE, "size": [r, 0, 0]}]
    if shape == "cylinder":
        return [{"type": mujoco.mjtGeom.mjGEOM_CYLINDER, "size": [0.8 * r, 0.9 * r, 0]}]
    if shape == "cone":
        return [{"type": mujoco.mjtGeom.mjGEOM_MESH, "meshname": f"cone_{size}"}]
    if shape == "ring":
        major, tube = ring_radii(size)
        angles = np.linspace(0.0, 2 * np.pi, _RING_SEGMENTS + 1)
        ends = [[round(major * math.cos(a), 5), round(major * math.sin(a), 5), 0.0] for a in angles]
        capsule = {"type": mujoco.mjtGeom.mjGEOM_CAPSULE, "size": [tube, 0, 0]}
        return [{**capsule, "fromto": start + end} for start, end in pairwise(ends)]
    # an arch: two pillars and a lintel
    pillar, lintel, depth, half_width, half_height = 0.26 * r, 0.26 * r, 0.50 * r, 1.20 * r, 0.95 * r
    leg = half_height - lintel
    box = {"type": mujoco.mjtGeom.mjGEOM_BOX}
    return [
        {**box, "size": [pillar, depth, leg], "pos": [pillar - half_width, 0, -lintel]},
        {**box, "size": [pillar, depth, leg], "pos": [half_width - pillar, 0, -lintel]},
        {**box, "size": [half_width, depth, lintel], "pos": [0, 0, leg]},
    ]


def ring_radii(size: str) -> tuple[float, float]:
    """Major and tube radius of a ring in metres."""
    return 1.05 * SIZES[size], 0.22 * SIZES[size]


@cache
def _cone_vertices(size: str) -> list[float]:
    r = SIZES[size]
    angles = np.linspace(0.0, 2 * np.pi, _CONE_SEGMENTS, endpoint=False)
    rim = [(r * math.cos(a), r * math.sin(a), -0.95 * r) for a in angles]
    return [round(float(length), 5) for vertex in [*rim, (0.0, 0.0, 0.95 * r)] for length in vertex]


@cache
def surface_points(shape: str, size: str) -> np.ndarray:
    """Points on the outline-giving surface of a shape, body frame, float64 [n, 3] metres (for amodal boxes)."""
    r = SIZES[size]
    turn = np.linspace(0.0, 2 * np.pi, 48, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn), np.zeros_like(turn)], axis=1)
    if shape == "cube":
        corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
        return corners * 0.8 * r
    if shape == "arch":
        corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
        return corners * np.array([1.20 * r, 0.50 * r, 0.95 * r])
    if shape == "cylinder":
        return np.concatenate([circle * 0.8 * r + [0, 0, s * 0.9 * r] for s in (-1, 1)])
    if shape == "cone":
        return np.concatenate([circle * r - [0, 0, 0.95 * r], [[0, 0, 0.95 * r]]])
    if shape == "ring":
        major, tube = ring_radii(size)
        around = np.linspace(0.0, 2 * np.pi, 8, endpoint=False)
        return np.concatenate([circle * (major + tube * np.cos(a)) + [0, 0, tube * np.sin(a)] for a in around])
    latitudes = np.linspace(-np.pi / 2, np.pi / 2, 13)
    return np.concatenate([circle * r * np.cos(a) + [0, 0, r * np.sin(a)] for a in latitudes])
