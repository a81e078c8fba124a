"""Flickr30k Entities: are the phrases of a caption found? Recall of phrase grounding at 1, 5, 10 and all boxes.

The definition is MDETR's (arXiv:2104.12763, section 4) as Ferret applies it to text (arXiv:2310.07704, table of
phrase grounding): a box counts for a phrase if it was given for the same words, and hits if its intersection over
union with the truth is at least 0.5. The truth of a phrase with several boxes is the box around them ("merged", which
both papers report) or any one of them ("any").
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from koine.evaluation.answers import Answer
from koine.evaluation.boxes import box_iou
from koine.evaluation.refcoco import NO_BOX, THRESHOLD
from koine.evaluation.statistics import wilson

if TYPE_CHECKING:
    from koine.data.flickr30k_entities import GroundedCaption, Phrase

RANKS: tuple[int | None, ...] = (1, 5, 10, None)
"""How many boxes of a phrase may try; None is all of them."""

_SEPARATING = re.compile(r"""['",.;!?|:]""")
_PUNCTUATION = re.compile(r"[^\w\s]")


def same_phrase(said: str, asked: str) -> bool:
    """Whether two phrases are the same words: case, punctuation and extra spaces don't matter.

    A quotation mark, comma, full stop and the like separate words (`man's` is two); other punctuation, such as a
    hyphen, is only removed (`well-known` is `wellknown`).
    """
    return _words(said) == _words(asked)


def score(
    answers: Sequence[Answer], captions: Sequence[GroundedCaption], *, truth: Literal["merged", "any"] = "merged"
) -> dict[str, float]:
    """Recall 0..1 at each rank, over all phrases and for each category.

    Args:
        answers: one per caption, to a question for all its phrases.
    Returns:
        `recall@1.all`, `recall@5.people`, `recall@all.other`, ...; `recall@1.all` also with `_low` and `_high` of a
        Wilson interval of 95 %.
    """
    hits: dict[tuple[int | None, str], list[bool]] = defaultdict(list)
    for answer, caption in zip(answers, captions, strict=True):
        grounded = answer.phrases
        for phrase in caption.phrases:
            boxes = [one.box for one in grounded if same_phrase(one.phrase, phrase.text)] or NO_BOX
            for rank, hit in zip(RANKS, hits_at_ranks(boxes, phrase, truth), strict=True):
                for category in ("all", *phrase.categories):
                    hits[rank, category].append(hit)
    metrics = {f"{_name(rank)}.{category}": sum(found) / len(found) for (rank, category), found in hits.items()}
    first = hits[1, "all"]
    return metrics | wilson(sum(first), len(first)).named("recall@1.all")


def hits_at_ranks(
    boxes: Sequence[tuple[float, float, float, float]], phrase: Phrase, truth: Literal["merged", "any"]
) -> list[bool]:
    """Whether any of the first k boxes hits, for each k of `RANKS`."""
    from koine.data.flickr30k_entities import enclosing

    true = [enclosing(phrase.boxes)] if truth == "merged" else list(phrase.boxes)
    best = [max(row) for row in box_iou([[box] for box in boxes], true).tolist()]
    return [max(best[:rank]) >= THRESHOLD for rank in RANKS]


def _words(phrase: str) -> list[str]:
    return _PUNCTUATION.sub("", _SEPARATING.sub(" ", phrase.lower())).split()


def _name(rank: int | None) -> str:
    return f"recall@{'all' if rank is None else rank}"
