"""Intervals and verdicts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from koine.errors import InputError
from koine.evaluation.statistics import Interval, bootstrap, paired_difference, verdict, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "confidence"), [(8, 10, 0.95), (0, 3, 0.9), (3, 3, 0.99), (97, 99, 0.95)]
)
def test_wilson_agrees_with_scipy(successes: int, trials: int, confidence: float) -> None:
    interval = wilson(successes, trials, confidence=confidence)
    expected = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert interval.estimate == successes / trials


def test_wilson_at_the_ends() -> None:
    assert wilson(0, 5).low == pytest.approx(0)
    assert 0.5 < wilson(5, 5).low < wilson(5, 5).high == 1.0
    nothing = wilson(0, 0)
    assert math.isnan(nothing.estimate)
    assert (nothing.low, nothing.high) == (0, 1)


def test_wilson_covers_as_often_as_it_says() -> None:
    shares = np.random.default_rng(0).binomial(50, 0.9, size=300)
    covered = [wilson(int(found), 50).low <= 0.9 <= wilson(int(found), 50).high for found in shares]
    assert 0.91 <= np.mean(covered) <= 0.99


def test_bootstrap_of_a_mean_is_near_the_normal_interval() -> None:
    values = np.random.default_rng(1).normal(3, 2, size=400)
    interval = bootstrap(values, np.random.default_rng(2))
    reach = 1.96 * values.std(ddof=1) / 20
    assert (interval.low, interval.high) == pytest.approx((values.mean() - reach, values.mean() + reach), abs=0.04)
    assert interval == bootstrap(values, np.random.default_rng(2))
    median = bootstrap(values, np.random.default_rng(2), statistic=np.median)
    assert median.low < np.median(values) < median.high


def test_bootstrap_of_equal_values_is_a_point() -> None:
    assert bootstrap([2, 2, 2], np.random.default_rng(0)) == Interval(2, 2, 2, 0.95, 3)
    with pytest.raises(InputError, match="give a list of at least one number"):
        bootstrap([], np.random.default_rng(0))


def test_paired_difference_by_student() -> None:
    interval = paired_difference([0.9, 0.8, 0.85], [0.7, 0.7, 0.7])
    # Differences 0.2, 0.1, 0.15: mean 0.15, standard deviation 0.05; t(0.975, 2) = 4.302653.
    reach = 4.302653 * 0.05 / math.sqrt(3)
    assert (interval.estimate, interval.low, interval.high) == pytest.approx((0.15, 0.15 - reach, 0.15 + reach))
    assert interval.samples == 3


@pytest.mark.parametrize(("ours", "baseline"), [([1, 2], [1]), ([1], [1]), ([[1, 2]], [[1, 2]])])
def test_pairs_are_needed(ours: list[float], baseline: list[float]) -> None:
    with pytest.raises(InputError, match="can't be compared in pairs"):
        paired_difference(ours, baseline)


@pytest.mark.parametrize(
    ("low", "high", "at_least", "expected"),
    [
        (0.1, 0.3, 0.0, "holds"),
        (-0.1, 0.3, 0.0, "undecided"),
        (0.0, 0.3, 0.0, "undecided"),
        (-0.3, -0.1, 0.0, "does not hold"),
        (0.0, 0.0, 0.0, "does not hold"),
        (0.1, 0.3, 0.2, "undecided"),
        (0.1, 0.2, 0.2, "does not hold"),
    ],
)
def test_verdicts(low: float, high: float, at_least: float, expected: str) -> None:
    assert verdict(Interval((low + high) / 2, low, high, 0.95, 3), at_least=at_least) == expected


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="6 successes of 5 trials"):
        wilson(6, 5)
    with pytest.raises(InputError, match="confidence 95 is no probability"):
        wilson(1, 5, confidence=95)


def test_intervals_name_and_write_themselves() -> None:
    interval = Interval(0.5, 0.25, 0.75, 0.95, 10)
    assert interval.named("accuracy") == {"accuracy": 0.5, "accuracy_low": 0.25, "accuracy_high": 0.75}
    assert str(interval) == "0.5 [0.25, 0.75]"
