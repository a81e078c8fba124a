"""A scene as one MuJoCo model: the same object gives physics and picture."""

from __future__ import annotations

import math
from functools import cache

import mujoco
import numpy as np

from koine.world.scene import Scene
from koine.world.things import SIZES, Thing

TABLE_HALF = (0.42, 0.30, 0.02)
"""Half extents of the table in metres; its top is z = 0."""
TABLE_CENTRE_Y = -0.06
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
    return mujoco.MjModel.from_xml_string(scene_xml(scene))


def scene_xml(scene: Scene) -> str:
    """The scene as MuJoCo XML (MJCF)."""
    cone_sizes = sorted({thing.size for thing in scene.things if thing.shape == "cone"})
    meshes = "".join(f'<mesh name="cone_{size}" vertex="{_cone_vertices(size)}"/>' for size in cone_sizes)
    bodies = "".join(_body(thing) for thing in scene.things)
    width, depth, thickness = TABLE_HALF
    return (
        '<mujoco><compiler angle="radian" inertiafromgeom="true"/><size memory="256K"/>'
        '<option timestep="0.005" integrator="implicitfast"/>'
        f"<asset>{meshes}</asset><worldbody>"
        f'<body pos="0 {TABLE_CENTRE_Y} {-thickness}"><geom type="box" size="{width} {depth} {thickness}"/></body>'
        '<body pos="0 0 -0.45"><geom type="plane" size="6 6 0.1"/></body>'
        f"{bodies}</worldbody></mujoco>"
    )


def _body(thing: Thing) -> str:
    x, y, z = thing.position
    quaternion = f"{math.cos(thing.yaw / 2):.6f} 0 0 {math.sin(thing.yaw / 2):.6f}"
    material = f'density="{_DENSITY[thing.material]}" friction="{_FRICTION[thing.material]} 0.005 0.0001"'
    geoms = _geoms(thing.shape, thing.size).replace("<geom", f"<geom {material}")
    return f'<body pos="{x:.6f} {y:.6f} {z:.6f}" quat="{quaternion}"><freejoint/>{geoms}</body>'


@cache
def _geoms(shape: str, size: str) -> str:
    """The geoms of a shape in its body frame (origin at half the height, z up)."""
    r = SIZES[size]
    if shape == "cube":
        return f'<geom type="box" size="{0.8 * r} {0.8 * r} {0.8 * r}"/>'
    if shape == "ball":
        return f'<geom type="sphere" size="{r}"/>'
    if shape == "cylinder":
        return f'<geom type="cylinder" size="{0.8 * r} {0.9 * r}"/>'
    if shape == "cone":
        return f'<geom type="mesh" mesh="cone_{size}"/>'
    if shape == "ring":
        major, tube = ring_radii(size)
        angles = np.linspace(0.0, 2 * np.pi, _RING_SEGMENTS + 1)
        ends = [f"{major * math.cos(a):.5f} {major * math.sin(a):.5f} 0" for a in angles]
        return "".join(
            f'<geom type="capsule" fromto="{start} {end}" size="{tube}"/>'
            for start, end in zip(ends[:-1], ends[1:], strict=True)
        )
    # an arch: two pillars and a lintel
    pillar, lintel, depth, half_width, half_height = 0.26 * r, 0.26 * r, 0.50 * r, 1.20 * r, 0.95 * r
    leg = half_height - lintel
    return (
        f'<geom type="box" size="{pillar} {depth} {leg}" pos="{pillar - half_width} 0 {-lintel}"/>'
        f'<geom type="box" size="{pillar} {depth} {leg}" pos="{half_width - pillar} 0 {-lintel}"/>'
        f'<geom type="box" size="{half_width} {depth} {lintel}" pos="0 0 {leg}"/>'
    )


def ring_radii(size: str) -> tuple[float, float]:
    """Major and tube radius of a ring in metres."""
    return 1.05 * SIZES[size], 0.22 * SIZES[size]


@cache
def _cone_vertices(size: str) -> str:
    r = SIZES[size]
    angles = np.linspace(0.0, 2 * np.pi, _CONE_SEGMENTS, endpoint=False)
    rim = [f"{r * math.cos(a):.5f} {r * math.sin(a):.5f} {-0.95 * r:.5f}" for a in angles]
    return " ".join([*rim, f"0 0 {0.95 * r:.5f}"])


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
