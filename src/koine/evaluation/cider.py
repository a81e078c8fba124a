"""CIDEr-D: how much does a caption agree with what several people wrote? (arXiv:1411.5726, section 4)"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from koine.errors import InputError

Gram: TypeAlias = tuple[str, ...]

LONGEST = 4
"""n-grams of 1 to 4 words, weighted alike."""

SIGMA = 6.0
"""Width, in words, of the penalty for a caption's length."""

_CLITIC = re.compile(r"(n't|'(?:s|re|ve|ll|d|m))\b")
_WORD = re.compile(r"n't|'(?:s|re|ve|ll|d|m)\b|[^\W_]+(?:[-./,][^\W_]+)*")


@dataclass(frozen=True)
class _Vector:
    """One caption: weights of its n-grams for each n, their norms, and its length in words."""

    weights: tuple[Mapping[Gram, float], ...]
    norms: tuple[float, ...]
    length: int


def words_of(caption: str) -> list[str]:
    """Lower-case words without punctuation, split as the Penn treebank does: `the dog's` is `the`, `dog`, `'s`.

    Figures in papers come from a Java tokenizer; this is its rule for ordinary captions, not for every oddity.
    """
    return _WORD.findall(_CLITIC.sub(r" \1", caption.lower()))


def cider_d(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """The score of each candidate, 0 to 10 (papers multiply the mean by 100 and thus write 76.1 for 0.761).

    n-grams are weighted by their count times log(pictures / pictures whose references have them). For each n the
    weights of candidate and reference are compared by a cosine in which a candidate's weight is clipped to the
    reference's, so that repeating words doesn't pay, and multiplied by a penalty for the difference in length; n and
    references are averaged. Counts are not divided by the caption's length, unlike in the paper's equation 1: clipping
    makes this matter, and the reference implementation, with which all published figures were computed, counts.

    Args:
        candidates: one caption per picture.
        references: the people's captions of each picture, at least one.
    Raises:
        InputError: unequal numbers of both, or a picture without references.
    """
    if len(candidates) != len(references) or not all(references):
        raise InputError(
            f"{len(candidates)} captions for {len(references)} pictures, {sum(not group for group in references)} of "
            "them without references: give one caption and at least one reference for each picture"
        )
    counted = [[_count(reference) for reference in group] for group in references]
    pictures_with = Counter(gram for group in counted for gram in set().union(*group))
    log_pictures = math.log(len(references)) if references else 0.0
    scores = []
    for candidate, group in zip(candidates, counted, strict=True):
        said = _vector(_count(candidate), pictures_with, log_pictures)
        against = [_vector(reference, pictures_with, log_pictures) for reference in group]
        similar = [_similarity(said, reference) for reference in against]
        scores.append(10.0 * sum(similar) / len(similar))
    return scores


def _count(caption: str) -> Counter[Gram]:
    """How often each n-gram of 1 to `LONGEST` words occurs."""
    words = words_of(caption)
    return Counter(
        tuple(words[start : start + n]) for n in range(1, LONGEST + 1) for start in range(len(words) - n + 1)
    )


def _vector(counts: Counter[Gram], pictures_with: Mapping[Gram, int], log_pictures: float) -> _Vector:
    weights: tuple[dict[Gram, float], ...] = tuple({} for _ in range(LONGEST))
    for gram, count in counts.items():
        weights[len(gram) - 1][gram] = count * (log_pictures - math.log(max(1, pictures_with.get(gram, 0))))
    norms = tuple(math.sqrt(sum(weight * weight for weight in of_n.values())) for of_n in weights)
    return _Vector(weights, norms, sum(count for gram, count in counts.items() if len(gram) == 1))


def _similarity(said: _Vector, reference: _Vector) -> float:
    """Mean over n of the clipped cosine, times the penalty for length: 0..1."""
    penalty = math.exp(-((said.length - reference.length) ** 2) / (2 * SIGMA**2))
    total = 0.0
    for mine, theirs, my_norm, their_norm in zip(
        said.weights, reference.weights, said.norms, reference.norms, strict=True
    ):
        if my_norm and their_norm:
            clipped = sum(min(weight, theirs.get(gram, 0.0)) * theirs.get(gram, 0.0) for gram, weight in mine.items())
            total += clipped / (my_norm * their_norm)
    return penalty * total / LONGEST
