"""Captions against what people wrote: BLEU-1 to 4 and CIDEr-D, as COCO's evaluation code computes them.

METEOR and SPICE of that code are Java programs that no maintained package serves; they are left out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from koine.errors import InputError
from koine.evaluation.answers import Answer
from koine.evaluation.cider import cider_d, words_of

if TYPE_CHECKING:
    from koine.data.karpathy import DescribedPicture

LONGEST = 4
_TINY, _SMALL = 1e-15, 1e-9
"""COCO's code adds these to the counts above and below the bar, so that nothing found is nearly, not exactly, zero."""


def score(answers: Sequence[Answer], pictures: Sequence[DescribedPicture]) -> dict[str, float]:
    """CIDEr-D x 100 as papers write it, and BLEU-1 to 4, 0..1."""
    said, written = [answer.text for answer in answers], [picture.captions for picture in pictures]
    agreement = cider_d(said, written)
    found = bleu(said, written)
    return {"cider": 100 * sum(agreement) / len(agreement)} | {f"bleu{n + 1}": found[n] for n in range(LONGEST)}


def bleu(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, ...]:
    """Corpus BLEU with n-grams up to 1, 2, 3 and 4 words (Papineni et al. 2002).

    The brevity penalty takes for each caption the reference nearest in length, the shorter of two as near.

    Raises:
        InputError: unequal numbers of both, or a picture without references.
    """
    if len(candidates) != len(references) or not candidates or not all(references):
        raise InputError(
            f"{len(candidates)} captions for {len(references)} pictures: give one caption and at least one reference "
            "for each picture"
        )
    found, possible = [0] * LONGEST, [0] * LONGEST
    length = wanted = 0
    for candidate, group in zip(candidates, references, strict=True):
        words, written = words_of(candidate), [words_of(reference) for reference in group]
        length += len(words)
        wanted += min((len(other) for other in written), key=lambda size: (abs(size - len(words)), size))
        for n in range(1, LONGEST + 1):
            most: Counter[tuple[str, ...]] = Counter()
            for other in written:
                most |= _grams(other, n)
            said = _grams(words, n)
            found[n - 1] += (said & most).total()
            possible[n - 1] += max(0, len(words) - n + 1)
    ratio = (length + _TINY) / (wanted + _SMALL)
    penalty = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    precisions = [(have + _TINY) / (could + _SMALL) for have, could in zip(found, possible, strict=True)]
    return tuple(penalty * math.prod(precisions[:n]) ** (1 / n) for n in range(1, LONGEST + 1))


def _grams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[start : start + n]) for start in range(len(words) - n + 1))
