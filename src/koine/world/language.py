"""English for things and scenes: names, lists, captions, and captions whose phrases know their thing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeVar

import numpy as np

from koine.errors import InputError
from koine.world.facts import ATTRIBUTES, CONTACTS, DIRECTIONS, Facts, members, observe, value
from koine.world.render import Observation
from koine.world.scene import Scene
from koine.world.things import SHAPES, Thing

Style = Literal["short", "full", "scene"]
STYLES: tuple[Style, ...] = ("short", "full", "scene")
Segments = list[tuple[str, int | None]]
"""Pieces of a sentence in order; a piece with an index names that thing."""

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
SURFACE_PHRASES = {
    "wood": ("on a wooden table", "on wooden boards"),
    "marble": ("on a marble table", "on a slab of marble"),
    "cloth": ("on a tablecloth", "on a table covered with cloth"),
    "slate": ("on a slate table", "on a slab of slate"),
}
LIGHT_PHRASES = {
    "daylight": ("in daylight", "by day"),
    "evening": ("in the evening light", "in the evening"),
    "lamp": ("in the light of a lamp", "under a lamp"),
}
_OPENINGS = ("", "", "a picture of ", "a photo of ", "there is ", "we see ", "the picture shows ")
_ADJECTIVES = {"wood": "wooden"}
_DETAILS: tuple[tuple[str, ...], ...] = (
    ("colour", "shape"),
    ("colour", "shape"),
    ("shape",),
    ("size", "colour", "shape"),
    ("colour", "material", "shape"),
    ("size", "colour", "material", "shape"),
)
_RELATION_PHRASES = {
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
    "in front of": ("in front of",),
    "behind": ("behind",),
    "inside": ("inside", "in"),
    "around": ("around",),
    "under": ("under",),
    "over": ("over",),
    "on": ("on", "on top of"),
    "below": ("below",),
}

T = TypeVar("T")


def pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """One of the choices, each as likely as the others (several times faster than `Generator.choice`)."""
    return choices[int(rng.random() * len(choices))]


def shuffled(rng: np.random.Generator, choices: Sequence[T]) -> list[T]:
    """The choices in random order."""
    return [choices[i] for i in rng.permutation(len(choices))]


def phrase(words: Sequence[str]) -> str:
    """A noun phrase without article from attribute values in the order size, colour, material, shape.

    Without a shape among them the noun is "thing".
    """
    said = [_ADJECTIVES.get(word, word) for word in words]
    if not words or words[-1] not in SHAPES:
        said.append("thing")
    return " ".join(said)


def name(thing: Thing, detail: Sequence[str] = ATTRIBUTES) -> str:
    """A noun phrase without article, such as "large red metal cube".

    Args:
        thing: what is named.
        detail: the attributes to say, of `ATTRIBUTES`, in any order; without "shape" the noun is "thing".
    Raises:
        InputError: an attribute that there isn't.
    """
    for attribute in detail:
        if attribute not in ATTRIBUTES:
            raise InputError.unknown("attribute", attribute, ATTRIBUTES)
    return phrase([value(thing, attribute) for attribute in ATTRIBUTES if attribute in detail])


def article(noun_phrase: str) -> str:
    """The phrase with the indefinite article it takes: "an orange ball"."""
    return f"{'an' if noun_phrase[0] in 'aeio' else 'a'} {noun_phrase}"


def plural(noun_phrase: str) -> str:
    """The plural of a noun phrase of the world: "red arches"."""
    return f"{noun_phrase}es" if noun_phrase.endswith("arch") else f"{noun_phrase}s"


def counted(count: int, noun_phrase: str) -> str:
    """A number of things: "a red cube", "two red cubes"."""
    return article(noun_phrase) if count == 1 else f"{NUMBERS[count]} {plural(noun_phrase)}"


def listed(phrases: Sequence[str]) -> str:
    """Phrases as a list: "a, b and c"."""
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def related(rng: np.random.Generator, relation: str) -> str:
    """One of the wordings of a relation: "to the left of"."""
    return pick(rng, _RELATION_PHRASES[relation])


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    return f"{text[0].upper()}{text[1:]}."


def caption(scene: Scene, view: Observation, rng: np.random.Generator, style: Style = "full") -> str:
    """A caption that is true of the picture, without final full stop unless it has several sentences.

    Args:
        scene, view: the scene and how it is seen; only things that are visible well enough are spoken of.
        rng: draws the things, the detail and the wording.
        style: "short" names one or two things; "full" names all of them, with one relation if there is one;
            "scene" says the surface and the light too.
    Raises:
        InputError: a style that there isn't.
    """
    if style not in STYLES:
        raise InputError.unknown("caption style", style, STYLES)
    facts = observe(scene, view)
    if not facts.seen:
        return f"an empty table {pick(rng, LIGHT_PHRASES[scene.light])}"
    opening = pick(rng, _OPENINGS)
    if style == "short":
        return opening + _text(_short(facts, rng))
    text = opening + (_tally(facts, rng) if rng.random() < 0.2 else _text(_full(facts, rng)))
    if style == "scene":
        text += f" {pick(rng, SURFACE_PHRASES[scene.surface])} {pick(rng, LIGHT_PHRASES[scene.light])}"
    return text


def grounded_caption(scene: Scene, view: Observation, rng: np.random.Generator) -> Segments:
    """A sentence about the picture, cut into pieces; a piece that names a thing carries the thing's index.

    The pieces joined are the sentence, so that a consumer can put a box after each phrase. Every thing that is
    visible well enough is named exactly once. A picture in which nothing is gives one piece without index.
    """
    facts = observe(scene, view)
    if not facts.seen:
        return [(f"An empty table {pick(rng, LIGHT_PHRASES[scene.light])}.", None)]
    segments = _full(facts, rng)
    first, index = segments[0]
    opening = pick(rng, _OPENINGS)
    if opening:
        segments.insert(0, (opening[0].upper() + opening[1:], None))
    else:
        segments[0] = (first[0].upper() + first[1:], index)
    if rng.random() < 0.3:
        segments.append((f" {pick(rng, SURFACE_PHRASES[scene.surface])}", None))
    return [*segments, (".", None)]


def _text(segments: Segments) -> str:
    return "".join(piece for piece, _ in segments)


def _distinct(facts: Facts, indices: Sequence[int], detail: Sequence[str]) -> Sequence[str]:
    """The detail, or more of it if two things would have the same name."""
    for more in (detail, ("colour", "shape"), ("size", "colour", "shape"), ATTRIBUTES):
        if len({name(facts.things[index], more) for index in indices}) == len(indices):
            return more
    return ATTRIBUTES


def _named(facts: Facts, index: int, detail: Sequence[str]) -> tuple[str, int]:
    return article(name(facts.things[index], detail)), index


def _short(facts: Facts, rng: np.random.Generator) -> Segments:
    """One thing, or two that are related."""
    order = shuffled(rng, list(members(facts.seen)))
    first = order[0]
    detail = _distinct(facts, order[:2], pick(rng, _DETAILS))
    if len(order) == 1 or rng.random() < 0.4:
        return [_named(facts, first, detail)]
    relation = _relation_between(facts, rng, first, order[1])
    between = f" {related(rng, relation)} " if relation else " and "
    return [_named(facts, first, detail), (between, None), _named(facts, order[1], detail)]


def _tally(facts: Facts, rng: np.random.Generator) -> str:
    """All the things, those of the same name counted: "two cubes and a ball"."""
    detail = pick(rng, _DETAILS)
    tally: dict[str, int] = {}
    for index in shuffled(rng, list(members(facts.seen))):
        said = name(facts.things[index], detail)
        tally[said] = tally.get(said, 0) + 1
    return listed([counted(count, said) for said, count in tally.items()])


def _relation_between(facts: Facts, rng: np.random.Generator, i: int, j: int) -> str | None:
    """A relation in which thing i stands to thing j: contact before direction, the clearer direction before others."""
    for relation in CONTACTS:
        if facts.relations[relation][j] >> i & 1:
            return relation
    true = [relation for relation in DIRECTIONS if facts.relations[relation][j] >> i & 1]
    return pick(rng, true) if true else None


def _full(facts: Facts, rng: np.random.Generator) -> Segments:
    """All the things, each once; those in contact are said together: "a cone on a red cube, a ball and a ring"."""
    order = shuffled(rng, list(members(facts.seen)))
    detail = _distinct(facts, order, pick(rng, _DETAILS))
    clauses: list[Segments] = []
    said = 0
    for i in order:
        if said >> i & 1:
            continue
        partner = _partner(facts, rng, i, order, said)
        said |= 1 << i
        clause: Segments = [_named(facts, i, detail)]
        if partner is not None:
            j, relation = partner
            said |= 1 << j
            clause += [(f" {related(rng, relation)} ", None), _named(facts, j, detail)]
        clauses.append(clause)
    segments = clauses[0]
    for position, clause in enumerate(clauses[1:], start=1):
        segments = [*segments, (" and " if position == len(clauses) - 1 else ", ", None), *clause]
    return segments


def _partner(facts: Facts, rng: np.random.Generator, i: int, order: list[int], said: int) -> tuple[int, str] | None:
    """The thing that i is said together with: always one it touches, now and then one it is beside."""
    for relation in CONTACTS:
        for j in order:
            if facts.relations[relation][j] >> i & 1 and not said >> j & 1:
                return j, relation
    touched = any(facts.relations[relation][j] >> i & 1 for relation in CONTACTS for j in order)
    free = [j for j in order if j != i and not said >> j & 1]
    if touched or not free or rng.random() < 0.6:
        return None
    j = pick(rng, free)
    if any(facts.relations[relation][k] >> j & 1 for relation in CONTACTS for k in order):
        return None  # j will be said together with what it touches
    relation_to_j = _relation_between(facts, rng, i, j)
    return (j, relation_to_j) if relation_to_j else None
