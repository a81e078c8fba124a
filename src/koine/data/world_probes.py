"""Questions with one right answer about scenes never trained on: what a referring and grounding model is judged by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from koine.data.world_regions import (
    EXISTENCE_QUESTIONS,
    LOCATION_QUESTION,
    absent_pair,
    nested_with,
    region_of,
    with_region,
)
from koine.evaluation.boxes import box_iou
from koine.sentence import Example, Image, Region, RegionKind, Sentence
from koine.world.facts import ATTRIBUTE_OF, ATTRIBUTES, Facts, members, observe, value
from koine.world.language import article, name, phrase, pick
from koine.world.questions import region_questions
from koine.world.referring import choose
from koine.world.render import Observation
from koine.world.scene import Scene

Scenes = Iterable[tuple[Scene, Observation]]

ASKED = (*ATTRIBUTES, "name", "description")
"""Kinds of questions that `referring_probes` asks."""


def referring_probes(scenes: Scenes, kind: RegionKind, *, seed: int) -> Iterator[Example]:
    """One thing a scene, referred to by a region of `kind`, and every question of `ASKED` about it.

    The thing is drawn among those visible well enough; in scenes of the split `heldout` among those of a held-out
    colour-shape pair. `task` is "kind/question".
    """
    rng = np.random.default_rng((seed, 31))
    for scene, view in scenes:
        facts = observe(scene, view)
        things = list(members(facts.seen))
        if scene.split == "heldout":
            things = [index for index in things if scene.things[index].held_out]
        if not things:
            continue
        index, image = pick(rng, things), Image(view.image)
        region = region_of(facts, view, image, index, kind, rng)
        for question in region_questions(scene, view, rng):
            if question.things == (index,) and question.kind in ASKED:
                prompt = Sentence(image, with_region(str(question.region_text), region))
                yield Example(prompt, Sentence(question.answer), _id(scene), f"{kind}/{question.kind}")


def shared_box_probes(scenes: Scenes, *, seed: int) -> Iterator[Example]:
    """Two things, one inside or under the other, each scribbled over, with one and the same box round both.

    The coordinates in the two prompts are equal; colour and shape of both things are asked, where they differ.
    """
    rng = np.random.default_rng((seed, 37))
    for scene, view in scenes:
        facts = observe(scene, view)
        pair = _nested_pair(facts)
        if pair is None:
            continue
        image = Image(view.image)
        for attribute in ("colour", "shape"):
            answers = [value(facts.things[index], attribute) for index in pair]
            if answers[0] == answers[1]:
                continue
            question = {"colour": "What colour is the object {region}?", "shape": "What shape is the object {region}?"}
            for index, answer in zip(pair, answers, strict=True):
                region = region_of(facts, view, image, index, "mask", rng, shared_box=True)
                prompt = Sentence(image, with_region(question[attribute], region))
                yield Example(prompt, Sentence(answer), _id(scene), f"shared-box/{attribute}")


def grounding_probes(scenes: Scenes, *, seed: int) -> Iterator[Example]:
    """One referring expression a scene; the answer is the box of the visible part of the thing."""
    rng = np.random.default_rng((seed, 41))
    for scene, view in scenes:
        facts = observe(scene, view)
        things = list(members(facts.seen))
        chosen = choose(facts, rng, index) if things and (index := pick(rng, things)) is not None else None
        if chosen is None:
            continue
        image = Image(view.image)
        box = Region.box(image, *map(float, view.boxes[index]))
        prompt = Sentence(image, LOCATION_QUESTION.format(phrase=chosen.text))
        yield Example(prompt, Sentence(f"{chosen.text} ", box), _id(scene), "ground/expression")


def existence_probes(scenes: Scenes, *, seed: int) -> Iterator[Example]:
    """For each scene a colour and shape that is there and one that is not, as POPE asks; targets start yes or no.

    `task` tells how near the absent thing is: "absent/near" shares its colour or its shape with something there.
    """
    rng = np.random.default_rng((seed, 43))
    for scene, view in scenes:
        facts = observe(scene, view)
        absent = absent_pair(facts, rng) if facts.seen else None
        if absent is None:
            continue
        image = Image(view.image)
        index = pick(rng, list(members(facts.seen)))
        near = bool(facts.having(absent[:1]) or facts.having(absent[1:]))
        for text, answer, task in (
            (name(facts.things[index], ("colour", "shape")), "yes", "exists"),
            (phrase(absent), "no", "absent/near" if near else "absent/far"),
        ):
            question = pick(rng, EXISTENCE_QUESTIONS).format(phrase=article(text))
            yield Example(Sentence(image, question), Sentence(answer), _id(scene), task)


def fits(text: str, box: tuple[float, float, float, float], scene: Scene, view: Observation) -> bool:
    """Whether some thing that the words of a phrase are true of has its visible box where `box` is (IoU >= 0.5)."""
    words = [("wood" if word == "wooden" else word) for word in text.lower().replace(",", " ").split()]
    said = [word for word in words if word in ATTRIBUTE_OF]
    facts = observe(scene, view)
    meant = list(members(facts.having(said))) if said else []
    return bool(meant) and bool((box_iou([box], view.boxes[meant]) >= 0.5).any())


def _nested_pair(facts: Facts) -> tuple[int, int] | None:
    for index in members(facts.seen):
        partner = nested_with(facts, index)
        if facts.things[index].inside is not None and partner is not None:
            return index, partner
    return None


def _id(scene: Scene) -> str:
    return f"{scene.split}/{scene.seed}"
