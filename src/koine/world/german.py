"""German for things and scenes: names with gender and case, captions, referring expressions, instructions."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Literal

import numpy as np

from koine.errors import InputError
from koine.world.facts import (
    ATTRIBUTES,
    CONTACTS,
    DIRECTIONS,
    Facts,
    members,
    observe,
    value,
)
from koine.world.language import STYLES, Style, pick, shuffled
from koine.world.referring import Description, choose, descriptions
from koine.world.render import Observation
from koine.world.scene import Scene
from koine.world.things import SHAPES, Thing

Case = Literal["nominative", "accusative", "dative"]
CASES: tuple[Case, ...] = ("nominative", "accusative", "dative")

_NOUNS = MappingProxyType(
    {
        "cube": ("Würfel", "m"),
        "ball": ("Kugel", "f"),
        "cylinder": ("Zylinder", "m"),
        "cone": ("Kegel", "m"),
        "ring": ("Ring", "m"),
        "arch": ("Bogen", "m"),
        "": ("Ding", "n"),
    }
)
_STEMS = MappingProxyType(
    {
        "small": "klein",
        "large": "groß",
        "red": "rot",
        "orange": "orangefarben",
        "yellow": "gelb",
        "green": "grün",
        "cyan": "türkisfarben",
        "blue": "blau",
        "purple": "violett",
        "white": "weiß",
    }
)
_MATERIALS = MappingProxyType({"rubber": "Gummi", "metal": "Metall", "wood": "Holz"})
_SURFACES = MappingProxyType(
    {
        "wood": "auf einem Holztisch",
        "marble": "auf einer Marmorplatte",
        "cloth": "auf einem Tischtuch",
        "slate": "auf einer Schieferplatte",
    }
)
_LIGHTS = MappingProxyType({"daylight": "bei Tageslicht", "evening": "im Abendlicht", "lamp": "im Schein einer Lampe"})

_DEFINITE = {
    "nominative": {"m": "der", "f": "die", "n": "das"},
    "accusative": {"m": "den", "f": "die", "n": "das"},
    "dative": {"m": "dem", "f": "der", "n": "dem"},
}
_INDEFINITE = {
    "nominative": {"m": "ein", "f": "eine", "n": "ein"},
    "accusative": {"m": "einen", "f": "eine", "n": "ein"},
    "dative": {"m": "einem", "f": "einer", "n": "einem"},
}
# Endings of an adjective after the definite and after the indefinite article.
_WEAK = {
    "nominative": {"m": "e", "f": "e", "n": "e"},
    "accusative": {"m": "en", "f": "e", "n": "e"},
    "dative": {"m": "en", "f": "en", "n": "en"},
}
_MIXED = {
    "nominative": {"m": "er", "f": "e", "n": "es"},
    "accusative": {"m": "en", "f": "e", "n": "es"},
    "dative": {"m": "en", "f": "en", "n": "en"},
}
_PREPOSITIONS: dict[str, tuple[str, Case]] = {
    "left of": ("links von", "dative"),
    "right of": ("rechts von", "dative"),
    "in front of": ("vor", "dative"),
    "behind": ("hinter", "dative"),
    "inside": ("in", "dative"),
    "around": ("um", "accusative"),
    "under": ("unter", "dative"),
    "over": ("über", "dative"),
    "on": ("auf", "dative"),
    "below": ("unter", "dative"),
}
_SUPERLATIVE_ADJECTIVES = {"largest": "größt", "smallest": "kleinst"}
_SUPERLATIVE_CLAUSES = {
    "leftmost": "am weitesten links",
    "rightmost": "am weitesten rechts",
    "nearest": "am nächsten bei der Kamera",
    "farthest": "am weitesten weg von der Kamera",
}
_DETAILS: tuple[tuple[str, ...], ...] = (
    ("colour", "shape"),
    ("size", "colour", "shape"),
    ("colour", "material", "shape"),
    ATTRIBUTES,
)


def name(thing: Thing, detail: Sequence[str] = ATTRIBUTES, *, case: Case = "nominative", definite: bool = True) -> str:
    """A noun phrase with article: "der große rote Würfel aus Metall", dative "einem großen roten Würfel".

    Args:
        thing: what is named.
        detail: the attributes to say, of `facts.ATTRIBUTES`; without "shape" the noun is "Ding".
        case: nominative, accusative or dative.
        definite: der/die/das rather than ein/eine.
    Raises:
        InputError: an attribute or a case that there isn't.
    """
    for attribute in detail:
        if attribute not in ATTRIBUTES:
            raise InputError.unknown("attribute", attribute, ATTRIBUTES)
    return phrase([value(thing, attribute) for attribute in ATTRIBUTES if attribute in detail], case, definite=definite)


def phrase(
    words: Sequence[str], case: Case = "nominative", *, definite: bool = True, superlative: str | None = None
) -> str:
    """A noun phrase with article from attribute values in the order size, colour, material, shape.

    The material follows the noun ("aus Holz"), and so do the superlatives of place ("am weitesten links").

    Raises:
        InputError: a case that there isn't.
    """
    if case not in CASES:
        raise InputError.unknown("case", case, CASES)
    shape = words[-1] if words and words[-1] in SHAPES else ""
    noun, gender = _NOUNS[shape]
    articles, endings = (_DEFINITE, _WEAK) if definite else (_INDEFINITE, _MIXED)
    stems = [_STEMS[word] for word in words if word in _STEMS]
    if superlative in _SUPERLATIVE_ADJECTIVES:
        stems.insert(0, _SUPERLATIVE_ADJECTIVES[superlative])
    said = [articles[case][gender], *(stem + endings[case][gender] for stem in stems), noun]
    said += [f"aus {_MATERIALS[word]}" for word in words if word in _MATERIALS]
    if superlative in _SUPERLATIVE_CLAUSES:
        said.append(_SUPERLATIVE_CLAUSES[superlative])
    return " ".join(said)


def referring(description: Description, case: Case = "nominative") -> str:
    """A referring expression from its program: "die Kugel in dem roten Ring", "den kleinsten Würfel"."""
    said = phrase(description.words, case, superlative=description.superlative)
    if description.anchor is None or description.relation is None:
        return said
    preposition, governed = _PREPOSITIONS[description.relation]
    return f"{said} {preposition} {referring(description.anchor, governed)}"


def expressions(scene: Scene, view: Observation, index: int, case: Case = "nominative") -> list[str]:
    """Noun phrases that pick out exactly thing `index`: the same as `koine.world.referring.expressions`, in German.

    "below" and one sense of "under" are the same word in German, so each expression is given once.

    Raises:
        InputError: there is no such thing in the scene.
    """
    return list(dict.fromkeys(referring(description, case) for description in descriptions(scene, view, index)))


def caption(scene: Scene, view: Observation, rng: np.random.Generator, style: Style = "full") -> str:
    """A German sentence that is true of the picture.

    Args:
        scene, view: the scene and how it is seen; only things that are visible well enough are spoken of.
        rng: draws the things, the detail and the wording.
        style: "short" names one thing, "full" all of them, "scene" the surface and the light too.
    Raises:
        InputError: a style that there isn't.
    """
    if style not in STYLES:
        raise InputError.unknown("caption style", style, STYLES)
    facts = observe(scene, view)
    if not facts.seen:
        return f"Ein leerer Tisch {_LIGHTS[scene.light]}."
    order = shuffled(rng, list(members(facts.seen)))
    detail = pick(rng, _DETAILS)
    plain = rng.random() < 0.5
    case: Case = "nominative" if plain else "accusative"
    clauses = _clauses(facts, order[:1] if style == "short" else order, detail, case)
    named = clauses[0] if len(clauses) == 1 else f"{', '.join(clauses[:-1])} und {clauses[-1]}"
    where = f"{_SURFACES[scene.surface]} {_LIGHTS[scene.light]}"
    if not plain:
        text = f"{pick(rng, ('das Bild zeigt', 'man sieht', 'wir sehen'))} {named}"
    elif style == "scene" and rng.random() < 0.5:
        verb = "steht" if len(clauses) == 1 else "stehen"
        return f"{_capital(where)} {verb} {named}."
    else:
        text = named
    return f"{_capital(text)} {where}." if style == "scene" else f"{_capital(text)}."


def instruction(scene: Scene, view: Observation, rng: np.random.Generator) -> tuple[str, int] | None:
    """A request to do something with a thing, and the thing's index: "Lege die Kugel links neben den roten Würfel.".

    The thing is described so that it is the only one meant. None if no thing can be described.
    """
    facts = observe(scene, view)
    for index in shuffled(rng, list(members(facts.seen))):
        description = choose(facts, rng, index)
        if description is None:
            continue
        others = [other for other in members(facts.seen) if other != index]
        anchor = choose(facts, rng, pick(rng, others)) if others else None
        meant = referring(description, "accusative")
        if anchor is None or anchor.anchor is not None or rng.random() < 0.5:
            return pick(rng, _REQUESTS).format(meant), index
        return pick(rng, _PLACEMENTS).format(meant, referring(anchor, "accusative")), index
    return None


def change_request(description: Description, attribute: str, new: str, model: Description | None) -> str:
    """A request to give a thing another colour, size or material, that of the model if there is one."""
    it = referring(description, "accusative")
    if model is not None:
        what = "aus demselben Material" if attribute == "material" else "in derselben Farbe"
        return f"Mache {it} {what} wie {referring(model)}."
    if attribute == "material":
        return f"Mache {it} zu einem Ding aus {_MATERIALS[new]}."
    return f"Mache {it} {'größer' if new == 'large' else 'kleiner' if new == 'small' else _STEMS[new]}."


def removal_request(description: Description | None) -> str:
    """A request to take a thing away: without a description the one that doesn't fit the others."""
    if description is None:
        return "Entferne das Ding, das nicht zu den anderen passt."
    return f"Entferne {referring(description, 'accusative')}."


def addition_request(thing: Thing, detail: Sequence[str], where: str | None) -> str:
    """A request to add a thing at a place that `place` gave, or anywhere."""
    new = name(thing, detail, case="accusative", definite=False)
    return f"Stelle {new} {where}." if where else f"Füge {new} hinzu."


def move_request(description: Description, where: str) -> str:
    """A request to put a thing to a place that `place` gave."""
    return f"Stelle {referring(description, 'accusative')} {where}."


def shift_request(description: Description, direction: str) -> str:
    """A request to move a thing "left", "right", "forward" or "back"."""
    aim = {"left": "nach links", "right": "nach rechts", "forward": "nach vorn", "back": "nach hinten"}
    return f"Schiebe {referring(description, 'accusative')} {aim[direction]}."


def place(relation: str, anchor: Description) -> str:
    """Where to put something: "auf den Würfel", "links neben die Kugel" (the accusative of aims)."""
    aims = {"left of": "links neben", "right of": "rechts neben", "inside": "in", "under": "unter", "on": "auf"}
    aim = aims.get(relation) or _PREPOSITIONS[relation][0]
    return f"{aim} {referring(anchor, 'accusative')}"


def surface_request(new: str) -> str:
    """A request for another table top."""
    tops = {
        "wood": "einen Holztisch",
        "marble": "eine Marmorplatte",
        "cloth": "ein Tischtuch",
        "slate": "eine Schieferplatte",
    }
    return f"Stelle alles auf {tops[new]}."


def light_request(new: str) -> str:
    """A request for another light."""
    return f"Zeige das Bild {_LIGHTS[new]}."


_REQUESTS = (
    "Nimm {}.",
    "Zeige auf {}.",
    "Schiebe {} nach links.",
    "Schiebe {} nach rechts.",
    "Gib mir {}.",
    "Entferne {}.",
)
_PLACEMENTS = ("Stelle {} neben {}.", "Stelle {} vor {}.", "Stelle {} hinter {}.", "Schiebe {} links neben {}.")


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _clauses(facts: Facts, order: Sequence[int], detail: Sequence[str], case: Case) -> list[str]:
    """The things one after the other; a thing that touches another is said together with it."""
    said: set[int] = set()
    clauses: list[str] = []
    for index in order:
        if index in said:
            continue
        said.add(index)
        clause = name(facts.things[index], detail, case=case, definite=False)
        for relation in (*CONTACTS, *DIRECTIONS):
            beside = [j for j in order if j not in said and facts.relations[relation][j] >> index & 1]
            if beside and (relation in CONTACTS or len(order) == 2):
                said.add(beside[0])
                preposition, governed = _PREPOSITIONS[relation]
                clause += f" {preposition} {name(facts.things[beside[0]], detail, case=governed, definite=False)}"
                break
        clauses.append(clause)
    return clauses
