"""What a nano CLIP knows about single things: zero-shot names, and names among pictures, on scenes no training saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from koine.evaluation.retrieval import recall
from koine.foundations.clip import pixel_values
from koine.systems.metaclip.model import image_features
from koine.systems.metaclip.system import MetaClip
from koine.systems.metaclip.world_web import Language, photographs
from koine.systems.metaclip.zero_shot import Metric, ZeroShotTask, score
from koine.world import german
from koine.world.alt_text import concept, concepts
from koine.world.cache import rendered_scenes
from koine.world.facts import VALUES
from koine.world.language import name
from koine.world.scene import Split
from koine.world.things import Thing

HEAD = 12
"""Concepts of colour and shape that count as head: the most mentioned ones."""
TEMPLATES = ("a {}", "photo of a {}", "a picture of a {}")
GERMAN_TEMPLATES = ("{}", "Bild: {}")


@dataclass(frozen=True)
class SingleThings:
    """Photographs of single things."""

    images: NDArray[np.uint8]
    """[n, side, side, 3]."""
    things: tuple[Thing, ...]


def single_things(split: Split, count: int, *, side: int, margin: float | None = 1.3) -> SingleThings:
    """Photographs of the first single-thing scenes of a split.

    Args:
        margin: the photograph's side in sides of the thing's box; None for the whole scene.
    """
    scenes = rendered_scenes(split, count, kind="single")
    every = np.arange(len(scenes))
    margins = np.full(len(scenes), np.inf if margin is None else margin)
    images = photographs(scenes.images, every, scenes.boxes[:, 0], margins, side=side)
    return SingleThings(images, tuple(scenes.scene(int(place)).things[0] for place in every))


def concept_accuracy(system: MetaClip, shown: SingleThings, language: Language = "en") -> dict[str, float]:
    """Zero-shot accuracy over the 48 pairs of colour and shape, each concept counting alike; head and tail apart."""
    words = concepts()
    labels = torch.tensor([words.index(concept(thing)) for thing in shown.things])
    if language == "en":
        similarities = _similarities(system, shown, words, TEMPLATES)
    else:
        similarities = _similarities(system, shown, [_german(word) for word in words], GERMAN_TEMPLATES)
    found = {"zero-shot concept": score(similarities, labels, Metric.MEAN_PER_CLASS)}
    for part, chosen in (("head", labels < HEAD), ("tail", labels >= HEAD)):
        if chosen.any() and not chosen.all():
            found[f"zero-shot concept, {part}"] = score(similarities[chosen], labels[chosen], Metric.MEAN_PER_CLASS)
    return found


def attributes(system: MetaClip, shown: SingleThings) -> dict[str, float]:
    """Zero-shot accuracy of colour alone and of shape alone."""
    found = {}
    for attribute, form in (("colour", "{} thing"), ("shape", "{}")):
        words = VALUES[attribute]
        labels = torch.tensor([words.index(getattr(thing, attribute)) for thing in shown.things])
        similarities = _similarities(system, shown, [form.format(word) for word in words], TEMPLATES)
        found[f"zero-shot {attribute}"] = score(similarities, labels, Metric.TOP1)
    return found


def recall_of_names(system: MetaClip, shown: SingleThings) -> dict[str, float]:
    """Recall at 1 and 5, both ways, among one picture of each different full name ("small red wooden cube")."""
    first = {name(thing): place for place, thing in reversed(list(enumerate(shown.things)))}
    places = np.fromiter(first.values(), np.int64)
    similarities = _embed(system, shown.images[places]) @ system.embed_texts([f"a {text}" for text in first]).T
    found = recall(similarities, torch.arange(len(places)), at=(1, 5))
    return {
        **{f"image to text R@{k} of {len(places)}": value for k, value in found.image_to_text.items()},
        **{f"text to image R@{k} of {len(places)}": value for k, value in found.text_to_image.items()},
    }


def _german(of: str) -> str:
    colour, shape = of.split()
    return german.phrase((colour, shape), definite=False)


def _similarities(system: MetaClip, shown: SingleThings, words: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Cosines [pictures, words]."""
    return _embed(system, shown.images) @ system.embed_classes(ZeroShotTask([[word] for word in words], templates)).T


@torch.inference_mode()
def _embed(system: MetaClip, images: NDArray[np.uint8]) -> Tensor:
    return torch.cat([image_features(system.model, part) for part in pixel_values(images).split(256)])
