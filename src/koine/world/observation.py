"""What the camera sees of a scene: the picture and the ground truth that belongs to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


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
