"""The world's text without pictures: what the nano tokenizer and the nano language model are trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from koine.data.world_regions import Mixture, conversation
from koine.sentence import Image, Region, Sentence
from koine.world import german
from koine.world.language import caption, pick
from koine.world.purposes import purpose_questions
from koine.world.questions import questions
from koine.world.render import Observation
from koine.world.scene import Scene

COORDINATE_BINS = 100
"""Coordinates of the nano models are whole numbers from 0 to this (Ferret: 1000)."""
_TALK = Mixture(refer=0, purpose=0, ask=0)


def documents(scenes: Iterable[tuple[Scene, Observation]], *, seed: int) -> Iterator[str]:
    """One document a scene: captions, then questions that they answer and talk about boxes; now and then German.

    Turns are written `USER: question ASSISTANT: answer</s>`, as the systems' prompts are.
    """
    rng = np.random.default_rng((seed, 29))
    for scene, view in scenes:
        parts = [caption(scene, view, rng, "scene"), caption(scene, view, rng, "full")]
        if rng.random() < 0.2:
            parts.append(german.caption(scene, view, rng))
        text = ". ".join(part.rstrip(".") for part in parts) + "."
        asked = [*questions(scene, view, rng), *purpose_questions(scene, view, rng)]
        for _ in range(min(3, len(asked))):
            question = pick(rng, asked)
            text += f" USER: {question.text} ASSISTANT: {question.answer}</s>"
        talk = conversation(scene, view, rng, mixture=_TALK, turns=2)
        if talk is not None:
            for prompt, target in (*talk.history, (talk.prompt, talk.target)):
                text += f" USER: {_plain(prompt)} ASSISTANT: {_plain(target)}</s>"
        yield text


def _plain(sentence: Sentence) -> str:
    """The sentence with boxes as coordinates and without the picture."""
    return "".join(
        part if isinstance(part, str) else _box(part) for part in sentence if not isinstance(part, Image)
    ).strip()


def _box(part: object) -> str:
    if not isinstance(part, Region):
        return ""
    x0, y0, x1, y1 = part.bounds
    sides = (part.image.width, part.image.height) * 2
    bins = [int(edge * COORDINATE_BINS / side) for edge, side in zip((x0, y0, x1, y1), sides, strict=True)]
    return "[" + ", ".join(map(str, bins)) + "]"
