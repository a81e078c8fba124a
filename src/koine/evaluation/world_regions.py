"""The world's own protocol for regions: exact answers about them, boxes of what is named, and what isn't there.

Pure functions on replies and the examples of `koine.data.world_probes`; shares come with Wilson intervals of 95 %.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from koine.evaluation.boxes import box_iou
from koine.evaluation.pope import says_yes
from koine.evaluation.statistics import Interval, wilson
from koine.sentence import Example, Reply


def same_answer(said: str, right: str) -> bool:
    """Whether two answers are the same words; case, outer spaces and a final full stop don't count."""
    return said.strip().rstrip(".").lower() == right.strip().rstrip(".").lower()


def answers_by_task(replies: Sequence[Reply], examples: Sequence[Example]) -> dict[str, Interval]:
    """Share of exactly right answers for each task, such as `box/colour`."""
    marks: dict[str, list[bool]] = defaultdict(list)
    for reply, example in zip(replies, examples, strict=True):
        marks[example.task].append(same_answer(reply.text, example.target.text))
    return {task: wilson(sum(right), len(right)) for task, right in marks.items()}


def overlap(reply: Reply, example: Example) -> float:
    """IoU of the first box of a reply with the target's box; 0 without a box."""
    if not reply.regions:
        return 0.0
    return float(box_iou(reply.regions[0].bounds, example.target.regions[0].bounds))


def grounding_accuracy(replies: Sequence[Reply], examples: Sequence[Example]) -> Interval:
    """Acc@0.5: the first box overlaps the target's box with an IoU of at least 0.5 (as RefCOCO is scored)."""
    hits = [overlap(reply, example) >= 0.5 for reply, example in zip(replies, examples, strict=True)]
    return wilson(sum(hits), len(hits))


def existence(replies: Sequence[Reply], examples: Sequence[Example]) -> dict[str, Interval]:
    """POPE's reading of yes and no: accuracy, share of yes, and accuracy for each task."""
    said = [says_yes(reply.text) for reply in replies]
    right = [yes == example.target.text.startswith("yes") for yes, example in zip(said, examples, strict=True)]
    found = {"accuracy": wilson(sum(right), len(right)), "yes ratio": wilson(sum(said), len(said))}
    marks: dict[str, list[bool]] = defaultdict(list)
    for mark, example in zip(right, examples, strict=True):
        marks[example.task].append(mark)
    return found | {task: wilson(sum(marked), len(marked)) for task, marked in marks.items()}
