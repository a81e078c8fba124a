"""What a nano BEiT-3 achieves on scenes that no training saw, judged by the scenes themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

import numpy as np
import torch

from koine.evaluation.retrieval import recall
from koine.evaluation.statistics import Interval, wilson
from koine.evaluation.world_captions import judge
from koine.evaluation.world_regions import same_answer
from koine.sentence import Image
from koine.systems.beit3.system import Beit3
from koine.world.cache import RenderedScenes, rendered_scenes
from koine.world.language import caption
from koine.world.questions import questions
from koine.world.scene import Kind, Split
from koine.world.statements import pair_statements

TASKS = ("questions", "captions", "statements", "retrieval")
QUESTIONS_PER_SCENE = 4


def intervals(
    beit3: Beit3,
    *,
    scenes: int = 1000,
    split: Split = "test",
    kind: Kind = "any",
    tasks: Collection[str] = TASKS,
    size: int = 64,
) -> dict[str, Interval]:
    """Shares of right answers with Wilson intervals of 95 %.

    Args:
        kind: of the scenes.
        size: pixels of the pictures' sides.
    Returns:
        "questions" and "questions/<kind>"; "captions", those that are true in all they say, and "complete captions",
        those that also leave nothing out; "statements" about two pictures and "statements/<kind>"; "text to image
        R@1" and "image to text R@1" among as many pictures as there are scenes.
    """
    shown = rendered_scenes(split, scenes + scenes // 10, kind=kind, size=size)
    measured = {
        "questions": _questions,
        "captions": _captions,
        "statements": _statements,
        "retrieval": _retrieval,
    }
    found: dict[str, Interval] = {}
    for task in tasks:
        found |= measured[task](beit3, shown, scenes)
    return found


def _questions(beit3: Beit3, shown: RenderedScenes, scenes: int) -> dict[str, Interval]:
    """Some of each scene's questions, in the proportions in which the world asks them."""
    rng = np.random.default_rng(51)
    asked, kinds, right = [], [], []
    for scene, view in _first(shown, scenes):
        image, all_questions = Image(view.image), questions(scene, view, rng)
        for place in rng.permutation(len(all_questions))[:QUESTIONS_PER_SCENE]:
            question = all_questions[place]
            asked.append((image, question.text))
            kinds.append(question.kind)
            right.append(question.answer)
    answers = beit3.answers(asked)
    marks = [same_answer(said, truth) for said, truth in zip(answers, right, strict=True)]
    return _by_kind("questions", marks, kinds)


def _captions(beit3: Beit3, shown: RenderedScenes, scenes: int) -> dict[str, Interval]:
    pairs = _first(shown, scenes)
    written = beit3.captions([Image(view.image) for _, view in pairs])
    verdicts = [judge(text, *pair) for text, pair in zip(written, pairs, strict=True)]
    return {
        "captions": wilson(sum(verdict.true for verdict in verdicts), scenes),
        "complete captions": wilson(sum(verdict.complete for verdict in verdicts), scenes),
    }


def _statements(beit3: Beit3, shown: RenderedScenes, scenes: int) -> dict[str, Interval]:
    rng = np.random.default_rng(53)
    pairs = _first(shown, scenes)
    asked, kinds, truths = [], [], []
    for left, right in zip(pairs[::2], pairs[1::2], strict=False):
        for statement in pair_statements(left, right, rng):
            asked.append((Image(left[1].image), Image(right[1].image), statement.text))
            kinds.append(statement.kind)
            truths.append(statement.label)
    marks = [(chance >= 0.5) == truth for chance, truth in zip(beit3.judgements(asked), truths, strict=True)]
    return _by_kind("statements", marks, kinds)


def _retrieval(beit3: Beit3, shown: RenderedScenes, scenes: int) -> dict[str, Interval]:
    """Among scenes whose descriptions differ; a description names all things, the surface and the light."""
    rng = np.random.default_rng(57)
    different: dict[str, int] = {}
    for number, (scene, view) in enumerate(shown):
        different.setdefault(caption(scene, view, rng, "scene"), number)
    texts = list(different)[:scenes]
    images = [Image(shown.images[different[text]]) for text in texts]
    similarities = beit3.embed_images(images) @ beit3.embed_texts(texts).T
    found = recall(similarities, torch.arange(len(texts)))
    return {
        "text to image R@1": wilson(round(found.text_to_image[1] * len(texts)), len(texts)),
        "image to text R@1": wilson(round(found.image_to_text[1] * len(texts)), len(texts)),
    }


def _first(shown: RenderedScenes, count: int) -> list[tuple]:  # type: ignore[type-arg]
    return [pair for pair, _ in zip(shown, range(count), strict=False)]


def _by_kind(name: str, marks: Sequence[bool], kinds: Sequence[str]) -> dict[str, Interval]:
    groups: dict[str, list[bool]] = defaultdict(list)
    for mark, kind in zip(marks, kinds, strict=True):
        groups[kind].append(mark)
    return {name: wilson(sum(marks), len(marks))} | {
        f"{name}/{kind}": wilson(sum(group), len(group)) for kind, group in sorted(groups.items())
    }
