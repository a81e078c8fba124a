"""The ground truth: what pixels show and where things are in the picture; and which pixels lie on an edge."""

from __future__ import annotations

import math

import numpy as np

from koine.world.bodies import Bodies
from koine.world.camera import camera_pose
from koine.world.compiled import kernel, shader
from koine.world.physics import FIRST_THING_BODY, surface_points
from koine.world.scene import Scene

Array = np.ndarray

BACKGROUND = -1
_CREASE = 0.85
"""Cosine of the angle between the normals of two neighbouring pixels below which there is a crease between them."""


@kernel
def edge_pixels(body: Array, normal: Array, width: int) -> Array:
    """Rows, ascending, of the pixels beside which another body or a crease begins; body [H*W], normal [H*W, 3]."""
    edge = np.zeros(len(body), np.bool_)
    for pixel in range(len(body)):
        if (pixel + 1) % width and _differ(body, normal, pixel, pixel + 1):
            edge[pixel] = edge[pixel + 1] = True
        if pixel + width < len(body) and _differ(body, normal, pixel, pixel + width):
            edge[pixel] = edge[pixel + width] = True
    return np.flatnonzero(edge)


@shader
def _differ(body: Array, normal: Array, one: int, other: int) -> bool:
    cosine = normal[one, 0] * normal[other, 0] + normal[one, 1] * normal[other, 1] + normal[one, 2] * normal[other, 2]
    return body[one] != body[other] or cosine < _CREASE


@kernel
def ground_truth(
    body: Array, distance: Array, rays: Array, width: int, things: int
) -> tuple[Array, Array, Array, Array]:
    """What `View` says of each pixel and thing.

    Args:
        body, distance: of what each pixel's ray hits, [H*W].
        rays: the pixels' rays in the camera frame, [H*W, 3].
        width: pixels in a row.
        things: number of things.

    Returns:
        instance int8 [H, W], depth float32 [H, W], boxes float32 [things, 4], visible int32 [things].
    """
    height = len(body) // width
    instance = np.empty((height, width), np.int8)
    depth = np.empty((height, width), np.float32)
    boxes, visible = np.zeros((things, 4), np.float32), np.zeros(things, np.int32)
    for row in range(height):
        for column in range(width):
            pixel = row * width + column
            hit = body[pixel]
            depth[row, column] = distance[pixel] * -rays[pixel, 2] if hit >= 0 else np.inf
            instance[row, column] = BACKGROUND
            if hit < FIRST_THING_BODY:
                continue
            thing = hit - FIRST_THING_BODY
            instance[row, column] = thing
            if not visible[thing]:
                boxes[thing, 0], boxes[thing, 1] = column, row
            visible[thing] += 1
            boxes[thing, 0] = min(boxes[thing, 0], column)
            boxes[thing, 2] = max(boxes[thing, 2], column + 1)
            boxes[thing, 3] = row + 1
    return instance, depth, boxes, visible


def amodal_boxes(scene: Scene, bodies: Bodies, width: int, height: int) -> Array:
    """Boxes (left, top, right, bottom) in pixels of whole things, hidden parts included, float32 [n, 4]."""
    outlines = [surface_points(thing.shape, thing.size) for thing in scene.things]
    ends = np.cumsum([len(outline) for outline in outlines])
    origin, axes = camera_pose(scene.camera)
    spans = _spans(np.concatenate(outlines), ends, (bodies.centre - origin) @ axes, axes.T @ bodies.turn)
    focal = height / (2 * math.tan(scene.camera.fovy / 2))
    boxes: Array = (np.array([width, height, width, height]) / 2 + focal * spans).astype(np.float32)
    return boxes


@kernel
def _spans(points: Array, ends: Array, centre: Array, turn: Array) -> Array:
    """Smallest and largest slopes (right, down, right, down) of the rays to each thing's points, [n, 4].

    Thing i owns the points [m, 3] of its body frame up to `ends[i]`; centre [n, 3] and turn [n, 3, 3] take them to the
    camera frame.
    """
    spans = np.empty((len(ends), 4))
    begin = 0
    for thing in range(len(ends)):
        spans[thing, :2], spans[thing, 2:] = np.inf, -np.inf
        for point in range(begin, ends[thing]):
            px, py, pz = points[point, 0], points[point, 1], points[point, 2]
            x = centre[thing, 0] + px * turn[thing, 0, 0] + py * turn[thing, 0, 1] + pz * turn[thing, 0, 2]
            y = centre[thing, 1] + px * turn[thing, 1, 0] + py * turn[thing, 1, 1] + pz * turn[thing, 1, 2]
            z = centre[thing, 2] + px * turn[thing, 2, 0] + py * turn[thing, 2, 1] + pz * turn[thing, 2, 2]
            right, down = x / -z, y / z
            spans[thing, 0], spans[thing, 1] = min(spans[thing, 0], right), min(spans[thing, 1], down)
            spans[thing, 2], spans[thing, 3] = max(spans[thing, 2], right), max(spans[thing, 3], down)
        begin = ends[thing]
    return spans
