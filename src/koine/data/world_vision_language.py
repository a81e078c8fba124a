"""Scenes with everything that is said about them in vision-language benchmarks: questions, captions, statements."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from koine.world.facts import VALUES, members, observe
from koine.world.language import caption
from koine.world.observation import Observation
from koine.world.questions import KINDS, Question, questions
from koine.world.scene import Scene
from koine.world.statements import pair_statements, statements

_COLOURS = re.compile(rf"\b({'|'.join(VALUES['colour'])})\b")
_ADDED = re.compile(rf"\b({'|'.join((*VALUES['size'], 'rubber', 'metal', 'wooden'))})\b")
_DRAWS = 6
"""Captions drawn, of which the plainest complete one is taken."""


Scenes = Iterable[tuple[Scene, Observation]]


@dataclass(frozen=True)
class SceneTexts:
    """What is said about one scene.

    Attributes:
        captions: of one sort, each naming everything that is visible, with colour and shape and little else.
        descriptions: captions that say the surface and the light, too.
        questions: (question, answer).
        statements: (statement about this picture alone, whether it is true).
    """

    captions: tuple[str, ...]
    descriptions: tuple[str, ...]
    questions: tuple[tuple[str, str], ...]
    statements: tuple[tuple[str, bool], ...]


def scene_texts(
    scenes: Scenes, *, captions: int, descriptions: int, seed: int, block: int = 0, kinds: Sequence[str] = KINDS
) -> Iterator[SceneTexts]:
    """The texts of each scene in order, the same for the same seed.

    Args:
        block: which part of a larger set these scenes are; each draws by itself.
        kinds: of questions; of one that is named twice twice as many are drawn.
    """
    rng = np.random.default_rng((seed, 41, block))
    for scene, view in scenes:
        yield SceneTexts(
            captions=tuple(plain_caption(scene, view, rng) for _ in range(captions)),
            descriptions=tuple(caption(scene, view, rng, "scene") for _ in range(descriptions)),
            questions=tuple((one.text, one.answer) for one in _questions_of(kinds, scene, view, rng)),
            statements=tuple((one.text, one.label) for one in statements(scene, view, rng)),
        )


def _questions_of(
    kinds: Sequence[str], scene: Scene, view: Observation, rng: np.random.Generator
) -> Iterator[Question]:
    draws = Counter(kinds)
    for draw in range(max(draws.values(), default=0)):
        yield from (one for one in questions(scene, view, rng) if draws[one.kind] > draw)


def pair_texts(scenes: Scenes, *, rounds: int, seed: int, block: int = 0) -> Iterator[tuple[tuple[str, bool], ...]]:
    """Statements, and whether they are true, about scenes 0 and 1, 2 and 3 and so on, the left one first.

    Args:
        rounds: draws of every kind.
        block: as of `scene_texts`.
    """
    rng = np.random.default_rng((seed, 43, block))
    walk = iter(scenes)
    for left, right in zip(walk, walk, strict=False):
        yield tuple((one.text, one.label) for _ in range(rounds) for one in pair_statements(left, right, rng))


def plain_caption(scene: Scene, view: Observation, rng: np.random.Generator) -> str:
    """A caption that names everything visible by colour and shape, with sizes and materials only as needed.

    Captions of the world vary in detail; a writer that is to be right in all it says does well to say what it sees
    best.
    """
    seen = sum(1 for _ in members(observe(scene, view).seen))
    drawn = [caption(scene, view, rng, "full") for _ in range(_DRAWS)]
    return min(drawn, key=lambda text: (abs(len(_COLOURS.findall(text)) - seen), len(_ADDED.findall(text))))
