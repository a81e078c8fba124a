"""ImageNet's top-1 accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from koine.evaluation.answers import Answer
from koine.evaluation.statistics import wilson

if TYPE_CHECKING:
    from koine.data.imagenet import ClassOfPicture


def score(answers: Sequence[Answer], pictures: Sequence[ClassOfPicture]) -> dict[str, float]:
    """Share of pictures whose class was named: by its number, its folder or any of its names; case doesn't matter.

    Returns:
        top1 (with _low and _high of a Wilson interval of 95 %) and mean_per_class, 0..1.
    """
    right = np.array([_names(answer.text, picture) for answer, picture in zip(answers, pictures, strict=True)])
    labels = np.array([picture.label for picture in pictures])
    per_class = [float(right[labels == label].mean()) for label in np.unique(labels)]
    return wilson(int(right.sum()), len(right)).named("top1") | {"mean_per_class": float(np.mean(per_class))}


def _names(said: str, picture: ClassOfPicture) -> bool:
    known = (str(picture.label), picture.folder, *picture.names)
    return said.strip().lower() in {name.lower() for name in known}
