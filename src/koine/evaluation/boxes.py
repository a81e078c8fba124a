"""Overlap of boxes: intersection over union, and the accuracy that grounding is judged by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def box_areas(boxes: ArrayLike, *, border: float = 0.0) -> NDArray[np.float64]:
    """Areas of boxes [..., 4] -> [...]; a box whose sides are swapped has none.

    Args:
        boxes: (left, top, right, bottom).
        border: added to each side; 1 where coordinates are numbers of pixels, the last one included.
    """
    corners = np.asarray(boxes, dtype=np.float64)
    sides = np.clip(corners[..., 2:] - corners[..., :2] + border, 0.0, None)
    return np.asarray(sides[..., 0] * sides[..., 1])


def box_iou(boxes: ArrayLike, others: ArrayLike, *, border: float = 0.0) -> NDArray[np.float64]:
    """Intersection over union of boxes [..., 4] with others [..., 4], broadcast; 0 where both are empty.

    `box_iou(a[:, None], b)` compares all boxes of `a` [n, 4] with all of `b` [m, 4] and returns [n, m].

    Args:
        border: see `box_areas`. RefCOCO and Flickr30k Entities as scored by MDETR and Ferret add none; scorers that
            descend from Fast R-CNN add 1.
    """
    first, second = np.asarray(boxes, dtype=np.float64), np.asarray(others, dtype=np.float64)
    corners = np.maximum(first[..., :2], second[..., :2]), np.minimum(first[..., 2:], second[..., 2:])
    shared = box_areas(np.concatenate(corners, axis=-1), border=border)
    union = box_areas(first, border=border) + box_areas(second, border=border) - shared
    return np.divide(shared, union, out=np.zeros_like(union), where=union > 0)


def accuracy_at(ious: ArrayLike, threshold: float = 0.5) -> float:
    """The share of `ious` [n] that reach the threshold: Acc@0.5 of the referring data sets. NaN for none."""
    values = np.asarray(ious, dtype=np.float64)
    return float((values >= threshold).mean()) if values.size else float("nan")
