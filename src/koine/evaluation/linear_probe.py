"""What can be read off vectors by a linear map: how much a network's features tell of what it saw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from koine.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def linear_probe(
    features: ArrayLike, classes: ArrayLike, test_features: ArrayLike, test_classes: ArrayLike, *, ridge: float = 1e-2
) -> float:
    """Accuracy, 0..1, of classes that are read linearly off features never seen before.

    Ridge regression on one-hot classes, whose largest answer counts: unlike logistic regression it has a closed form,
    so there is nothing to tune and nothing that may not have converged.

    Args:
        features, test_features: [n, width] and [m, width]; each column is standardised by the former.
        classes, test_classes: [n] and [m] integers from 0 on.
        ridge: the penalty on squared weights, as a share of a column's variance.
    Raises:
        InputError: shapes that don't fit, or nothing to learn from or to judge.
    """
    train, test = np.asarray(features, dtype=np.float64), np.asarray(test_features, dtype=np.float64)
    known, wanted = np.asarray(classes), np.asarray(test_classes)
    if train.ndim != 2 or test.ndim != 2 or train.shape[1] != test.shape[1] or not len(train) or not len(test):
        raise InputError(
            f"features of the shapes {list(train.shape)} and {list(test.shape)} can't be probed: give [n, width] and "
            "[m, width], at least one of each"
        )
    if known.shape != train.shape[:1] or wanted.shape != test.shape[:1]:
        raise InputError(
            f"{known.size} and {wanted.size} classes for {len(train)} and {len(test)} features: give one for each"
        )
    mean, deviation = train.mean(axis=0), train.std(axis=0) + 1e-6
    train, test = (train - mean) / deviation, (test - mean) / deviation
    targets = np.eye(int(known.max()) + 1)[known]
    prior = targets.mean(axis=0)
    gram = train.T @ train + ridge * len(train) * np.eye(train.shape[1])
    weights = np.linalg.solve(gram, train.T @ (targets - prior))
    return float(((test @ weights + prior).argmax(axis=1) == wanted).mean())
