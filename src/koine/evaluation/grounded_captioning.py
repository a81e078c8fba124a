"""Grounded captioning: is the caption good (CIDEr-D), and do its object words come with the right boxes (F1)?

F1_all and F1_loc are those of GVD (arXiv:1812.06587, section 5 and appendix), which Ferret reports on Flickr30k.
An object word of the answer is compared with each reference caption:

- named by the reference: right if its box overlaps that of the reference's first word of the class by more than one
  half, coordinates counted as pixels so that 1 is added to each side;
- among the reference's other words: left out, since the reference wasn't annotated there;
- neither: wrong for F1_all, left out for F1_loc, which asks only where named things are.

For recall an object word of the reference is compared with the answer's first box of its class. Precision and recall
are computed for each class, averaged over the classes of the references, and then combined.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from koine.data.grounded_captions import singular
from koine.evaluation.answers import Answer, Box
from koine.evaluation.boxes import box_iou
from koine.evaluation.cider import cider_d, words_of

if TYPE_CHECKING:
    from koine.data.grounded_captions import CaptionedPicture, ReferenceCaption

OVERLAP = 0.5
Objects = list[tuple[str, Box]]
"""(class, box) of each object word, in the order that they were said."""


def score(answers: Sequence[Answer], pictures: Sequence[CaptionedPicture]) -> dict[str, float]:
    """The three figures, and precision and recall behind the two F1.

    Returns:
        cider: 100 x mean CIDEr-D, as papers write it. f1_all, precision_all, recall_all, f1_loc, precision_loc,
        recall_loc: 0..1.
    """
    references = [[" ".join(caption.words) for caption in picture.captions] for picture in pictures]
    agreement = cider_d([answer.text for answer in answers], references)
    classes = {thing.name for picture in pictures for caption in picture.captions for thing in caption.objects}
    objects = [objects_of(answer, classes) for answer in answers]
    metrics = {"cider": 100.0 * sum(agreement) / len(agreement) if agreement else 0.0}
    for suffix, name_wrong_counts in (("all", True), ("loc", False)):
        precision = _precision(objects, pictures, name_wrong_counts)
        recall = _recall(objects, pictures, name_wrong_counts)
        ratios = [_class_mean(hits, classes) for hits in (precision, recall)]
        f1 = 2 * ratios[0] * ratios[1] / sum(ratios) if sum(ratios) else 0.0
        metrics |= {f"f1_{suffix}": f1, f"precision_{suffix}": ratios[0], f"recall_{suffix}": ratios[1]}
    return metrics


def objects_of(answer: Answer, classes: Collection[str]) -> Objects:
    """The answer's boxes by class: the last word before a box that names a class of the references, else its last word.

    GVD's models choose classes themselves; for answers in free text the way from a phrase to its class isn't published
    and is our own.
    """
    found: Objects = []
    said = ""
    for part in answer.parts:
        if isinstance(part, str):
            said += part
            continue
        words = [singular(word) for word in reversed(words_of(said))]
        said = ""
        if words:
            found.append((next((word for word in words if word in classes), words[0]), part))
    return found


def _precision(
    objects: Sequence[Objects], pictures: Sequence[CaptionedPicture], name_wrong_counts: bool
) -> dict[str, list[bool]]:
    """For each class that answers name, whether each naming was right, reference by reference."""
    hits: dict[str, list[bool]] = defaultdict(list)
    for said, caption in _pairs(objects, pictures):
        annotated = {thing.place for thing in caption.objects}
        others = {singular(word) for place, word in enumerate(caption.words) if place not in annotated}
        truth = _first((thing.name, thing.box) for thing in sorted(caption.objects, key=lambda thing: thing.place))
        for name, box in said:
            if name in truth:
                hits[name].append(_overlap(box, truth[name]))
            elif singular(name) not in others and name_wrong_counts:
                hits[name].append(False)
    return hits


def _recall(
    objects: Sequence[Objects], pictures: Sequence[CaptionedPicture], name_wrong_counts: bool
) -> dict[str, list[bool]]:
    """For each class of the references, whether each of its object words was found."""
    hits: dict[str, list[bool]] = defaultdict(list)
    for said, caption in _pairs(objects, pictures):
        first = _first(said)
        for thing in caption.objects:
            if thing.name in first:
                hits[thing.name].append(_overlap(first[thing.name], thing.box))
            elif name_wrong_counts:
                hits[thing.name].append(False)
    return hits


def _pairs(
    objects: Sequence[Objects], pictures: Sequence[CaptionedPicture]
) -> Iterator[tuple[Objects, ReferenceCaption]]:
    """Every answer with each of its picture's references."""
    for said, picture in zip(objects, pictures, strict=True):
        for caption in picture.captions:
            yield said, caption


def _first(objects: Iterable[tuple[str, Box]]) -> dict[str, Box]:
    """Class -> the first of its boxes."""
    found: dict[str, Box] = {}
    for name, box in objects:
        found.setdefault(name, box)
    return found


def _class_mean(hits: dict[str, list[bool]], classes: Collection[str]) -> float:
    """The mean over all classes of the references of each one's share of hits; classes without a case count as 0."""
    return sum(sum(found) / len(found) for found in hits.values()) / len(classes) if classes else 0.0


def _overlap(first: Box, second: Box) -> bool:
    return float(box_iou(first, second, border=1.0)) > OVERLAP
