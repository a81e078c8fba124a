"""Every phrase that can name a thing of the world by some of its attributes, as a table."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np

from koine.world.cache import RenderedScenes
from koine.world.facts import ATTRIBUTES, MIN_VISIBLE_PIXELS, VALUES
from koine.world.language import article, phrase
from koine.world.scene import Scene

UNSAID = tuple(len(VALUES[attribute]) for attribute in ATTRIBUTES)
"""The code of an attribute that a phrase leaves out; codes below it are the attribute's words."""
_PLACES = {attribute: {word: place for place, word in enumerate(VALUES[attribute])} for attribute in ATTRIBUTES}
_STRIDES = np.cumprod([1, *(count + 1 for count in UNSAID[:-1])])


@cache
def phrases() -> tuple[str, ...]:
    """All phrases, "a thing" to "a large red metal cube"; `phrase_index` says where each stands."""
    table = [""] * int(np.prod([count + 1 for count in UNSAID]))
    for codes in product(*(range(count + 1) for count in UNSAID)):
        words = [
            VALUES[attribute][code]
            for attribute, code, unsaid in zip(ATTRIBUTES, codes, UNSAID, strict=True)
            if code < unsaid
        ]
        table[int(np.dot(codes, _STRIDES))] = article(phrase(words))
    return tuple(table)


def phrase_index(codes: np.ndarray) -> np.ndarray:
    """Codes [..., 4] in the order of `ATTRIBUTES` -> places [...] in `phrases()`."""
    return codes @ _STRIDES


def scene_codes(scene: Scene) -> np.ndarray:
    """Codes of each thing's attributes, int64 [things, 4]."""
    return np.array(
        [[_PLACES[attribute][getattr(thing, attribute)] for attribute in ATTRIBUTES] for thing in scene.things]
    )


def attribute_codes(scenes: RenderedScenes) -> np.ndarray:
    """Codes of each thing's attributes, int64 [n, 5, 4]; -1 where there is no thing that is visible well enough."""
    codes = np.full((len(scenes), scenes.visible.shape[1], len(ATTRIBUTES)), -1)
    for index in range(len(scenes)):
        of_scene = scene_codes(scenes.scene(index))
        seen = scenes.visible[index, : len(of_scene)] >= MIN_VISIBLE_PIXELS
        codes[index, : len(of_scene)][seen] = of_scene[seen]
    return codes
