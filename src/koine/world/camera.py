"""The camera: where it stands, along which ray each pixel looks, and where a point of the world is in the picture."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from koine.world.scene import Camera

Array = np.ndarray


def camera_pose(camera: Camera) -> tuple[Array, Array]:
    """Origin [3] in metres and axes [3, 3] (columns: right, up, backward) of a camera, world frame."""
    ca, sa = math.cos(camera.azimuth), math.sin(camera.azimuth)
    ce, se = math.cos(camera.elevation), math.sin(camera.elevation)
    backward = np.array([-sa * ce, -ca * ce, se])
    axes = np.array([[ca, sa * se, backward[0]], [-sa, ca * se, backward[1]], [0.0, ce, backward[2]]])
    return np.array(camera.target) + camera.distance * backward, axes


def project(points: Array, camera: Camera, width: int, height: int) -> Array:
    """World points [..., 3] in metres -> pixels [..., 2] (x right, y down)."""
    origin, axes = camera_pose(camera)
    local = (points - origin) @ axes
    focal = height / (2 * math.tan(camera.fovy / 2))
    x = width / 2 + focal * local[..., 0] / -local[..., 2]
    y = height / 2 - focal * local[..., 1] / -local[..., 2]
    return np.stack([x, y], axis=-1)


@lru_cache(maxsize=32)
def pixel_rays(width: int, height: int, fovy: float, samples: int) -> Array:
    """Unit rays float64 [H*W, samples^2, 3] in the camera frame: pixels and the samples within each are row-major."""
    focal = height / (2 * math.tan(fovy / 2))
    sub = (np.arange(samples) + 0.5) / samples
    x = (np.arange(width)[:, None] + sub - width / 2) / focal  # [W, s]
    y = -(np.arange(height)[:, None] + sub - height / 2) / focal  # [H, s]
    rays = np.full((height, width, samples, samples, 3), -1.0)
    rays[..., 0] = x[None, :, None, :]
    rays[..., 1] = y[:, None, :, None]
    rays = rays.reshape(height * width, samples * samples, 3)
    rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    rays.setflags(write=False)
    return rays
