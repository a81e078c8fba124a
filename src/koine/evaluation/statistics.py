"""How sure a measured number is: intervals for shares, means and differences over seeds, and verdicts on claims."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

import numpy as np

from koine.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Verdict = Literal["holds", "does not hold", "undecided"]


@dataclass(frozen=True)
class Interval:
    """An estimate and the confidence interval around it.

    Attributes:
        confidence: of the interval, such as 0.95.
        samples: how many values it was computed from.
    """

    estimate: float
    low: float
    high: float
    confidence: float
    samples: int

    def named(self, name: str) -> dict[str, float]:
        """The three numbers as metrics: name, name_low, name_high."""
        return {name: self.estimate, f"{name}_low": self.low, f"{name}_high": self.high}

    def __str__(self) -> str:
        return f"{self.estimate:.4g} [{self.low:.4g}, {self.high:.4g}]"


def wilson(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """Wilson's score interval for a share: it stays within 0..1 and is sound for few trials and shares near 0 or 1.

    No trials give NaN with the interval 0..1: nothing is known.

    Raises:
        InputError: successes outside 0..trials, or a confidence outside 0..1.
    """
    _check_confidence(confidence)
    if not 0 <= successes <= trials:
        raise InputError(f"{successes} successes of {trials} trials: give 0 <= successes <= trials")
    if trials == 0:
        return Interval(float("nan"), 0.0, 1.0, confidence, 0)
    # Written out, since scipy's takes seconds to import and every benchmark needs this one.
    z, share = NormalDist().inv_cdf((1 + confidence) / 2), successes / trials
    middle = share + z**2 / (2 * trials)
    reach = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    low, high = ((middle - reach) / (1 + z**2 / trials), (middle + reach) / (1 + z**2 / trials))
    return Interval(share, max(0.0, low), min(1.0, high), confidence, trials)


def bootstrap(
    values: ArrayLike,
    generator: np.random.Generator,
    *,
    statistic: Callable[..., NDArray[np.float64]] = np.mean,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Bootstrap interval (bias-corrected and accelerated) of a statistic over samples.

    Args:
        values: [n], one per sample.
        statistic: takes [..., n] and `axis=-1` and returns [...], such as `np.mean` or `np.median`.
    Raises:
        InputError: no values, or a confidence outside 0..1.
    """
    _check_confidence(confidence)
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or not data.size:
        raise InputError(f"values of shape {data.shape} can't be bootstrapped: give a list of at least one number")
    estimate = float(statistic(data, axis=-1))
    if (data == data[0]).all():
        # Resamples of equal values are all alike; scipy would answer NaN.
        return Interval(estimate, estimate, estimate, confidence, data.size)
    from scipy.stats import bootstrap as resample

    interval = resample(
        (data,), statistic, n_resamples=resamples, confidence_level=confidence, rng=generator, vectorized=True
    ).confidence_interval
    return Interval(estimate, float(interval.low), float(interval.high), confidence, data.size)


def paired_difference(ours: ArrayLike, baseline: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Mean of ours - baseline over pairs (the same seed, data and budget), with Student's t interval.

    Args:
        ours, baseline: [n] each, n >= 2: the same metric of both, seed by seed.
    Raises:
        InputError: unequal lengths, fewer than two pairs, or a confidence outside 0..1.
    """
    _check_confidence(confidence)
    first, second = np.asarray(ours, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1 or first.size < 2:
        raise InputError(
            f"{first.size} and {second.size} values can't be compared in pairs: give one of each for at least two seeds"
        )
    from scipy.special import stdtrit

    differences = first - second
    mean = float(differences.mean())
    error = float(differences.std(ddof=1)) / np.sqrt(differences.size)
    reach = float(stdtrit(differences.size - 1, (1 + confidence) / 2)) * error
    return Interval(mean, mean - reach, mean + reach, confidence, differences.size)


def verdict(effect: Interval, *, at_least: float = 0.0) -> Verdict:
    """Whether "the effect is greater than `at_least`" holds.

    It holds if the whole interval lies above, doesn't hold if none of it does, and is undecided otherwise.
    """
    if effect.low > at_least:
        return "holds"
    return "does not hold" if effect.high <= at_least else "undecided"


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise InputError(f"confidence {confidence} is no probability: give one between 0 and 1, such as 0.95")
