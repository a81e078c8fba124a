"""The picture of a scene and its ground truth: colour, instance masks, boxes, depth and normals from one ray cast.

MuJoCo's CPU ray caster finds what each pixel sees; the shading is ours (light with a soft shadow, contact shade,
highlights, grain). No OpenGL and no system package are involved. Supersampling is adaptive: pixels on an edge are
cast 2x2 times and averaged, the others once, which gives the same picture as 2x2 rays everywhere at a third of
the cost (`antialias="full"` casts all of them).
"""

from __future__ import annotations

from typing import Literal

import mujoco
import numpy as np

from koine.errors import InputError
from koine.world.bodies import bodies_of
from koine.world.camera import camera_pose, pixel_rays, project
from koine.world.lamps import LIGHTS, shadow_map
from koine.world.observation import Observation, View
from koine.world.physics import build_model
from koine.world.pixels import BACKGROUND, amodal_boxes, edge_pixels, ground_truth
from koine.world.rays import Hits, RayCaster
from koine.world.scene import Scene
from koine.world.shading import develop, radiance
from koine.world.surfaces import albedo

__all__ = ["BACKGROUND", "Antialias", "Observation", "View", "camera_pose", "project", "render"]

Array = np.ndarray
Antialias = Literal["adaptive", "full", "none"]


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
    bodies = bodies_of(scene, data)
    caster = RayCaster(model, data, bodies)

    origin, axes = camera_pose(scene.camera)
    rays = pixel_rays(width, height, scene.camera.fovy, 1)[:, 0]
    hits = caster.cast(origin, rays @ axes.T)
    fine_at = _pixels_to_refine(hits, width, antialias)
    fine_rays = pixel_rays(width, height, scene.camera.fovy, 2)[fine_at].reshape(-1, 3)
    fine = caster.cast(origin, fine_rays @ axes.T)

    shadow = shadow_map(scene.light, caster if shadows else None)
    light = LIGHTS[scene.light]
    coarse_light = radiance(light, shadow, bodies, hits, albedo(scene, bodies, hits))
    fine_light = radiance(light, shadow, bodies, fine, albedo(scene, bodies, fine))
    image = develop(coarse_light, fine_light, fine_at)
    instance, depth, boxes, visible = ground_truth(hits.body, hits.distance, rays, width, len(scene.things))
    return View(
        image=image.reshape(height, width, 3),
        instance=instance,
        depth=depth,
        normals=hits.normal.reshape(height, width, 3),
        boxes=boxes,
        amodal_boxes=amodal_boxes(scene, bodies, width, height),
        visible=visible,
    )


def _pixels_to_refine(hits: Hits, width: int, antialias: Antialias) -> Array:
    """Rows of the pixels that are cast 2x2 times, ascending."""
    if antialias == "adaptive":
        rows: Array = edge_pixels(hits.body, hits.normal, width)
        return rows
    return np.arange(len(hits.body) if antialias == "full" else 0)
