"""Questions for a tour: a few scenes that no training saw, what may be asked about them, and who judges the reply."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from koine.data.world_probes import (
    existence_probes,
    fits,
    grounding_probes,
    referring_probes,
    shared_box_probes,
)
from koine.data.world_regions import DESCRIBE_QUESTION, REGION_KINDS
from koine.evaluation.boxes import box_iou
from koine.evaluation.pope import says_yes
from koine.evaluation.world_regions import overlap, same_answer
from koine.sentence import Example, Image, Part, Region, Reply, Sentence
from koine.world.language import grounded_caption
from koine.world.render import Observation, render
from koine.world.scene import Kind, Scene, sample_scene

FIRST_SEED = 5_000_000
"""Scenes of a tour come from the test split, far from the seeds that figures are measured on."""
_SCENES: tuple[Kind, ...] = ("scatter", "nested", "stacked", "nested")


@dataclass(frozen=True)
class Verdict:
    """Whether a reply is right, and why it was judged so, in a few words."""

    correct: bool
    note: str = ""


@dataclass(frozen=True)
class Exhibit:
    """A question, the true answer (regions included) and the judge of a reply."""

    task: str
    example: Example
    judge: Callable[[Reply], Verdict]


def region_exhibits(seed: int, *, size: int = 64) -> list[Exhibit]:
    """Refer and ground on four scenes, drawn by `seed`, and one scene of a held-out combination.

    `size`: pixels along the sides of the pictures.
    """
    first = FIRST_SEED + 100 * seed
    shown = [
        (scene, render(scene, size))
        for scene in (
            *(sample_scene(first + i, split="test", kind=kind, n=4) for i, kind in enumerate(_SCENES)),
            sample_scene(first, split="heldout", kind="scatter", n=3),
        )
    ]
    exhibits: list[Exhibit] = []
    for scene, view in shown:
        exhibits += _referring(scene, view, seed)
    for scene, view in shown:
        pair = [(scene, view)]
        exhibits += [_answered(f"scribble in a shared box: {_asked(e)}", e) for e in shared_box_probes(pair, seed=seed)]
        exhibits += [_located(e) for e in grounding_probes(pair, seed=seed)]
        exhibits.append(_described(scene, view, seed))
        exhibits += [_existing(e) for e in existence_probes(pair, seed=seed)]
    return exhibits


def _referring(scene: Scene, view: Observation, seed: int) -> Iterable[Exhibit]:
    """For each kind of region one attribute and the description."""
    words = {"point": "point", "box": "box", "mask": "scribble"}
    for number, kind in enumerate(REGION_KINDS):
        examples = list(referring_probes([(scene, view)], kind, seed=seed + number))
        wanted = (("shape", "colour", "material")[(number + scene.seed) % 3], "description")
        held_out = "held-out " if scene.split == "heldout" else ""
        yield from (
            _answered(f"{held_out}{words[kind]}: {_asked(example)}", example)
            for example in examples
            if _asked(example) in wanted
        )


def _asked(example: Example) -> str:
    return example.task.partition("/")[2]


def _answered(task: str, example: Example) -> Exhibit:
    return Exhibit(task, example, lambda reply: Verdict(same_answer(reply.text, example.target.text)))


def _located(example: Example) -> Exhibit:
    def judge(reply: Reply) -> Verdict:
        shared = overlap(reply, example)
        return Verdict(shared >= 0.5, f"overlap {shared:.2f}")

    return Exhibit("where is it?", example, judge)


def _existing(example: Example) -> Exhibit:
    right = example.target.text.startswith("yes")
    return Exhibit("is there ...?", example, lambda reply: Verdict(says_yes(reply.text) == right))


def _described(scene: Scene, view: Observation, seed: int) -> Exhibit:
    image = Image(view.image)
    parts: list[Part] = []
    for text, index in grounded_caption(scene, view, np.random.default_rng(seed)):
        parts.append(text if index is None else f"{text} ")
        if index is not None:
            parts.append(Region.box(image, *map(float, view.boxes[index])))
    truth = Sentence(*parts)

    def judge(reply: Reply) -> Verdict:
        """Right if every phrase with a box is true of what is there, and nothing clearly visible is left out."""
        pairs = reply.details.get("phrases", ())
        true = sum(fits(phrase, box, scene, view) for phrase, box in pairs)
        named = [region.bounds for region in truth.regions]
        found = sum(any(box_iou(box, region.bounds) >= 0.5 for region in reply.regions) for box in named)
        return Verdict(
            bool(pairs) and true == len(pairs) and found == len(named),
            f"{true} of {len(pairs)} boxes true, {found} of {len(named)} things found",
        )

    return Exhibit("describe with boxes", Example(Sentence(image, DESCRIBE_QUESTION), truth, task="describe"), judge)
