"""Rays are cast cheaply, but hit what MuJoCo says they hit when it is asked about every one of them."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from koine.world.bodies import bodies_of
from koine.world.camera import camera_pose, pixel_rays
from koine.world.physics import FIRST_THING_BODY, build_model
from koine.world.rays import RayCaster
from koine.world.scene import KINDS, SPLITS, Camera, Scene, sample_scene
from koine.world.things import SHAPES, SIZES, Thing, full_height

FAR = 1e10


def asked_everywhere(
    model: mujoco.MjModel, data: mujoco.MjData, origin: np.ndarray, directions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Body [n] (-1: none), distance [n] and normal [n, 3] by one call of MuJoCo for all rays."""
    n = len(directions)
    geom, distance, normal = np.empty((n, 1), np.int32), np.empty((n, 1)), np.empty((3 * n, 1))
    flat = np.ascontiguousarray(directions).reshape(-1, 1)
    mujoco.mj_multiRay(model, data, origin.reshape(3, 1), flat, None, True, -1, geom, distance, normal, n, FAR)
    body = np.append(model.geom_bodyid, -1)[geom[:, 0]]
    return body, distance[:, 0], normal.reshape(-1, 3)


def placed(scene: Scene) -> tuple[mujoco.MjModel, mujoco.MjData, RayCaster]:
    model = build_model(scene)
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    return model, data, RayCaster(model, data, bodies_of(scene, data))


def agree(scene: Scene, origin: np.ndarray, directions: np.ndarray) -> int:
    """Compares both ways of casting; returns how many rays hit a thing."""
    model, data, caster = placed(scene)
    body, distance, normal = asked_everywhere(model, data, origin, directions)
    hits = caster.cast(origin, directions)
    things = (hits.body >= FIRST_THING_BODY) | (body >= FIRST_THING_BODY)
    # Where a thing's underside, seen from within, lies in the table's top, either may be named.
    other = (hits.body != body) & ~np.isclose(hits.distance, distance, rtol=1e-9)
    assert not (other & things).any()
    assert other.mean() < 1e-3  # on an edge of the table the last digits decide
    same, hit = hits.body == body, (hits.body == body) & (body >= 0)
    np.testing.assert_allclose(hits.distance[hit], distance[hit], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(hits.normal[same & things], normal[same & things], atol=1e-6)
    np.testing.assert_allclose(hits.normal[hit & ~things], normal[hit & ~things], atol=1e-6)

    reach = caster.reach(origin, directions)
    expected = np.where(body >= FIRST_THING_BODY, distance, np.inf)
    np.testing.assert_allclose(reach, expected, rtol=1e-6)
    return int(things.sum())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("split", SPLITS)
def test_the_camera_s_rays_hit_what_mujoco_says(split, kind):
    pixels = pixel_rays(56, 56, Camera().fovy, 1)[:, 0]
    hit = 0
    for seed in range(12):
        scene = sample_scene(seed, split=split, kind=kind)
        origin, axes = camera_pose(scene.camera)
        hit += agree(scene, origin, pixels @ axes.T)
    assert hit > 1000


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_thing_is_hit_from_every_side(shape, size):
    """From above, from the table, from right beside it and from within; at the thing, past it and away from it."""
    rng = np.random.default_rng(SHAPES.index(shape))
    half = full_height(shape, size) / 2
    hit = 0
    for yaw in (0.0, 0.4, 2.5):
        thing = Thing(shape, "red", size, "metal", (0.03, -0.02, half), yaw)
        for _ in range(12):
            away = rng.normal(size=3)
            away[2] = abs(away[2]) * rng.choice([0.02, 1.0])
            origin = np.array(thing.position) + rng.choice([0.03, 0.06, 0.1, 0.9]) * away / np.linalg.norm(away)
            aims = np.array(thing.position) + rng.normal(scale=1.3 * SIZES[size], size=(400, 3))
            directions = aims - origin
            hit += agree(Scene((thing,)), origin, directions / np.linalg.norm(directions, axis=1, keepdims=True))
    assert hit > 1500


@pytest.mark.parametrize(
    "place", [(0.0, 0.0, -0.2), (0.9, 0.1, -0.1), (2.0, 2.0, 1.0), (0.0, -0.9, 0.0), (7.0, 0.0, 0.3)]
)
def test_rays_from_unusual_places_in_every_direction(place):
    """Under the table, beside it, at the height of its top, outside the room."""
    scene = sample_scene(1, kind="stacked", n=5)
    rng = np.random.default_rng(0)
    directions = np.concatenate([rng.normal(size=(3000, 3)), rng.normal(scale=0.1, size=(3000, 3)) - np.array(place)])
    agree(scene, np.array(place), directions / np.linalg.norm(directions, axis=1, keepdims=True))


def test_shadow_rays_start_at_lamps_and_reach_the_things():
    scene = sample_scene(3, kind="scatter", n=5)
    origin = np.array([0.4, -0.5, 0.9])
    rng = np.random.default_rng(0)
    aims = np.column_stack([rng.uniform(-0.15, 0.15, size=(4000, 2)), np.zeros(4000)]) - origin
    assert agree(scene, origin, aims / np.linalg.norm(aims, axis=1, keepdims=True)) > 300
