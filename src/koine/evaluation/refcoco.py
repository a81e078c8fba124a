"""RefCOCO, RefCOCO+, RefCOCOg: is the box that an expression was answered with the right one?

Acc@0.5 as MDETR and Ferret report it (arXiv:2310.07704, table of referring expression comprehension): the share of
expressions whose predicted box overlaps the true one with an intersection over union of at least 0.5, boxes without
added pixels. Boxes count whatever phrase they were given for; an answer without a box is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from koine.evaluation.answers import Answer
from koine.evaluation.boxes import box_iou
from koine.evaluation.statistics import wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from koine.data.refcoco import ReferringExpression

THRESHOLD = 0.5
NO_BOX = ((0.0, 0.0, 0.0, 0.0),)


def score(answers: Sequence[Answer], references: Sequence[ReferringExpression]) -> dict[str, float]:
    """Accuracies 0..1, for each data set among the references.

    Returns:
        For `refcoco` (and likewise the others): `refcoco.top1`, the first box, with `_low` and `_high` of a Wilson
        interval of 95 %; `refcoco.mean`, the average of an answer's boxes; `refcoco.upper_bound`, the best of them.
    """
    boxes = [answer.boxes or NO_BOX for answer in answers]
    ious = overlaps(boxes, [reference.box for reference in references])
    of_set = np.array([reference.data_set for reference in references], dtype=object)
    metrics: dict[str, float] = {}
    for name in dict.fromkeys(of_set):
        right = ious[of_set == name] >= THRESHOLD
        metrics |= wilson(int(right[:, 0].sum()), len(right)).named(f"{name}.top1")
        metrics |= {f"{name}.mean": float(right[:, 1].mean()), f"{name}.upper_bound": float(right[:, 2].mean())}
    return metrics


def overlaps(
    predicted: Sequence[Sequence[tuple[float, float, float, float]]],
    true: Sequence[tuple[float, float, float, float]],
) -> NDArray[np.float64]:
    """Intersection over union of each answer's first, average and best box with the true one: [n, 3].

    Args:
        predicted: n non-empty lists of (left, top, right, bottom) in pixels.
        true: n boxes.
    """
    if not true:
        return np.empty((0, 3))
    counts = np.array([len(boxes) for boxes in predicted])
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    flat = np.concatenate([np.asarray(boxes, dtype=np.float64) for boxes in predicted])
    targets = np.asarray(true, dtype=np.float64)
    each = box_iou(flat, np.repeat(targets, counts, axis=0))
    average = np.add.reduceat(flat, starts) / counts[:, None]
    return np.stack([each[starts], box_iou(average, targets), np.maximum.reduceat(each, starts)], axis=1)
