"""What a tour asks a vision-language model: questions, captions, statements about two pictures, and a search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koine.data.world_exhibits import FIRST_SEED
from koine.sentence import Image
from koine.world.language import caption
from koine.world.observation import Observation
from koine.world.questions import Question, questions
from koine.world.render import render
from koine.world.scene import Scene, sample_scene
from koine.world.statements import Statement, pair_statements

SCENES, GALLERY = 6, 24
"""Scenes that are asked about, and scenes that are searched."""
_ASKED = ("colour", "material", "count", "existence", "relation", "comparison")


@dataclass(frozen=True)
class Shown:
    """A scene, what the camera sees of it, and the picture."""

    scene: Scene
    view: Observation
    image: Image


@dataclass(frozen=True)
class Gallery:
    """Scenes that no training saw, and what is asked about them.

    Attributes:
        scenes: that are described and asked about.
        questions: one about each scene.
        statements: (left, right, statement).
        pictures: to search.
        wanted: (description, place in `pictures` of the scene that it describes).
    """

    scenes: tuple[Shown, ...]
    questions: tuple[tuple[Shown, Question], ...]
    statements: tuple[tuple[Shown, Shown, Statement], ...]
    pictures: tuple[Shown, ...]
    wanted: tuple[tuple[str, int], ...]


def gallery(seed: int, *, size: int = 64) -> Gallery:
    """Scenes of the test split, drawn by `seed`; `size`: pixels along the sides of the pictures."""
    rng = np.random.default_rng((seed, 71))
    first = FIRST_SEED + 1_000 * seed
    shown = [_shown(first + number, size) for number in range(GALLERY)]
    asked = shown[:SCENES]
    of_kinds = [(here, _question(here, kind, rng)) for here, kind in zip(asked, _ASKED, strict=True)]
    statements = [
        (left, right, statement)
        for left, right in zip(asked[::2], asked[1::2], strict=True)
        for statement in pair_statements((left.scene, left.view), (right.scene, right.view), rng)[:2]
    ]
    wanted = [
        (caption(here.scene, here.view, rng, "scene"), place) for place, here in enumerate(shown) if place % 6 == 5
    ]
    return Gallery(tuple(asked), tuple(of_kinds), tuple(statements), tuple(shown), tuple(wanted))


def side_by_side(left: Image, right: Image) -> Image:
    """Two pictures of one height as one, with a white gap."""
    gap = np.full((left.height, max(2, left.width // 16), 3), 255, np.uint8)
    return Image(np.concatenate([left.pixels, gap, right.pixels], axis=1))


def _shown(seed: int, size: int) -> Shown:
    scene = sample_scene(seed, split="test", n=2 + seed % 3)
    view = render(scene, size)
    return Shown(scene, view, Image(view.image))


def _question(here: Shown, kind: str, rng: np.random.Generator) -> Question:
    """A question of that kind, or of another if the scene gives rise to none."""
    asked = questions(here.scene, here.view, rng)
    fitting = [question for question in asked if question.kind == kind] or asked
    return fitting[int(rng.integers(len(fitting)))]
