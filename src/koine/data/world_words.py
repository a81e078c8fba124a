"""Single words about a scene: which are true of it, and how often texts of the world use which."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from koine.world.facts import members, observe
from koine.world.language import LIGHT_PHRASES, NUMBERS, SURFACE_PHRASES, plural
from koine.world.render import Observation
from koine.world.scene import Scene
from koine.world.things import COLOURS, MATERIALS, SHAPES, SIZES

_WORD = re.compile(r"[^\W\d_]+")
_OTHER_FORMS = {"wood": ("wooden",)}
_EMPTY = frozenset({"a", "an", "the", "on", "of", "in", "by", "with", "under"})


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without digits and marks."""
    return _WORD.findall(text.lower())


def word_counts(texts: Iterable[str]) -> Counter[str]:
    """How often each word occurs."""
    return Counter(word for text in texts for word in words_of(text))


def content_words() -> frozenset[str]:
    """All words that can be true or false of a scene: attributes, surfaces, light and numbers of things."""
    attributes = {*COLOURS, *SIZES, *MATERIALS, *SHAPES, *map(plural, SHAPES), "wooden"}
    phrases = (phrase for group in (SURFACE_PHRASES, LIGHT_PHRASES) for said in group.values() for phrase in said)
    return frozenset(attributes | {word for phrase in phrases for word in words_of(phrase)} | {*NUMBERS[1:6]}) - _EMPTY


def true_words(scene: Scene, view: Observation) -> frozenset[str]:
    """The content words that are true of a scene: of a thing that is seen, of the table, or of the light.

    A plural counts if there is one such thing at least, since a word says what there is, not how often.
    """
    found: set[str] = set()
    seen = [scene.things[index] for index in members(observe(scene, view).seen)]
    for thing in seen:
        for value in (thing.colour, thing.size, thing.material, thing.shape):
            found |= {value, *_OTHER_FORMS.get(value, ())}
        found.add(plural(thing.shape))
    for phrase in (*SURFACE_PHRASES[scene.surface], *LIGHT_PHRASES[scene.light]):
        found |= {word for word in words_of(phrase) if word not in _EMPTY}
    if seen:
        found.add(NUMBERS[len(seen)])
    return frozenset(found)
