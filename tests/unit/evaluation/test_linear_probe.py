"""A linear probe reads what lies in features linearly, and nothing that doesn't."""

import numpy as np
import pytest

from koine.errors import InputError
from koine.evaluation.linear_probe import linear_probe


def drawn(count, seed):
    """Four classes, three of the columns that tell them on very different scales, one constant column."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 4, count)
    telling = np.eye(4)[classes][:, :3] * (1e-3, 1.0, 1e3)
    noise = rng.standard_normal((count, 3)) * (1e-4, 0.1, 1e2)
    return np.column_stack([telling + noise, rng.standard_normal((count, 5)), np.full(count, 7.0)]), classes


def test_classes_that_lie_apart_are_read_whatever_the_scale():
    assert linear_probe(*drawn(400, 0), *drawn(200, 1)) == 1.0


def test_features_that_tell_nothing_are_read_by_chance():
    (train, known), (test, wanted) = drawn(2000, 0), drawn(1000, 1)
    assert linear_probe(train[:, 3:], known, test[:, 3:], wanted) == pytest.approx(0.25, abs=0.06)


def test_the_weights_are_those_of_ridge_regression():
    """By hand: one column of -1, -1, 1, 1 and classes 0, 0, 0, 1. The weights are -+ 1 / (4 + 4 / 2) around the shares
    3/4 and 1/4, so class 1 is answered from 1.5 on."""
    features, classes = np.array([[-1.0], [-1.0], [1.0], [1.0]]), [0, 0, 0, 1]
    assert linear_probe(features, classes, [[1.49], [1.51]], [0, 1], ridge=0.5) == 1.0
    assert linear_probe(features, classes, [[1.49], [1.51]], [1, 0], ridge=0.5) == 0.0


def test_a_class_that_only_the_test_has_is_never_right():
    assert linear_probe([[0.0], [1.0]], [0, 1], [[0.0], [1.0], [2.0]], [0, 1, 2]) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("shapes", "said"),
    (
        (((4, 2), (4,), (3, 3), (3,)), "can't be probed"),
        (((4,), (4,), (3,), (3,)), "can't be probed"),
        (((4, 2), (4,), (0, 2), (0,)), "can't be probed"),
        (((4, 2), (5,), (3, 2), (3,)), "5 and 3 classes for 4 and 3 features"),
    ),
)
def test_what_does_not_fit_is_refused(shapes, said):
    features, classes, test, wanted = (np.zeros(shape, int) for shape in shapes)
    with pytest.raises(InputError, match=said):
        linear_probe(features, classes, test, wanted)
