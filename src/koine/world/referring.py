"""Referring expressions: noun phrases that pick out exactly one thing, as programs first and as text second."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np

from koine.errors import InputError
from koine.world.facts import ATTRIBUTE_OF, ATTRIBUTES, CONTACTS, DIRECTIONS, VALUES, Facts, members, observe, value
from koine.world.language import phrase, pick
from koine.world.render import Observation
from koine.world.scene import Scene

SUPERLATIVES = {
    "leftmost": "right of",
    "rightmost": "left of",
    "nearest": "behind",
    "farthest": "in front of",
    "largest": "",
    "smallest": "",
}
"""Superlatives, and the relation to the winner in which all the others must stand (sizes are compared otherwise)."""
_AFTER_NOUN = {"nearest": "nearest to the camera", "farthest": "farthest from the camera"}
_WORDS_OF = {attribute: frozenset(words) for attribute, words in VALUES.items()}
_SUBSETS = tuple(subset for size in range(1, 5) for subset in combinations(range(4), size))


@dataclass(frozen=True, slots=True)
class Description:
    """The program of a referring expression: take the things that have all the words, stand in the relation to the
    anchor if there is one, and are more than all the others of these if there is a superlative.

    Attributes:
        words: attribute values in the order size, colour, material, shape.
        superlative: of `SUPERLATIVES`; never together with a relation.
        relation: of `DIRECTIONS` or `CONTACTS`.
        anchor: the thing that the relation is to; described by words alone.
    """

    words: tuple[str, ...] = ()
    superlative: str | None = None
    relation: str | None = None
    anchor: Description | None = None

    @property
    def text(self) -> str:
        """The expression: "the leftmost ball", "the cone on the red cube"."""
        noun = phrase(self.words)
        if self.superlative in _AFTER_NOUN:
            return f"the {noun} {_AFTER_NOUN[self.superlative]}"
        if self.superlative:
            return f"the {self.superlative} {noun}"
        if self.anchor is not None:
            return f"the {noun} {self.relation} {self.anchor.text}"
        return f"the {noun}"

    def says(self, attribute: str) -> bool:
        """Whether the description gives away an attribute of the thing it describes."""
        if not _WORDS_OF[attribute].isdisjoint(self.words):
            return True
        if attribute == "size":
            return self.superlative in ("largest", "smallest")
        return attribute == "shape" and self.relation in ("around", "over")  # only rings and arches can

    def program(self) -> dict[str, Any]:
        """The description as JSON data; `from_program` reads it."""
        program: dict[str, Any] = {"words": list(self.words)}
        if self.superlative:
            program["superlative"] = self.superlative
        if self.anchor is not None:
            program |= {"relation": self.relation, "anchor": self.anchor.program()}
        return program


def from_program(program: dict[str, Any]) -> Description:
    """The description that `Description.program` wrote.

    Raises:
        InputError: a word, superlative or relation that there isn't.
    """
    words = tuple(program.get("words", ()))
    for word in words:
        if word not in ATTRIBUTE_OF:
            raise InputError.unknown("attribute value", word, ATTRIBUTE_OF)
    superlative, relation, anchor = (program.get(key) for key in ("superlative", "relation", "anchor"))
    if superlative is not None and superlative not in SUPERLATIVES:
        raise InputError.unknown("superlative", superlative, SUPERLATIVES)
    if relation is not None and relation not in (*DIRECTIONS, *CONTACTS):
        raise InputError.unknown("relation", relation, (*DIRECTIONS, *CONTACTS))
    if (relation is None) != (anchor is None):
        raise InputError(f"description {program} has only one of relation and anchor: give both or none")
    return Description(words, superlative, relation, from_program(anchor) if anchor is not None else None)


def resolve(description: Description, scene: Scene, view: Observation) -> set[int]:
    """Indices of the things that a description fits, of all of which any pixel is visible.

    A relation holds to an anchor only if the anchor's own description fits exactly one thing.
    """
    return set(members(resolve_in(description, observe(scene, view))))


def resolve_in(description: Description, facts: Facts) -> int:
    """As `resolve`, from facts to a set of things (see `koine.world.facts`)."""
    found = facts.having(description.words)
    if description.anchor is not None and description.relation is not None:
        anchor = resolve_in(description.anchor, facts)
        if not _single(anchor):
            return 0
        found &= facts.relations[description.relation][anchor.bit_length() - 1]
    if description.superlative is not None:
        found = _winner(facts, found, description.superlative)
    return found


def expressions(scene: Scene, view: Observation, index: int) -> list[str]:
    """Noun phrases with "the" that pick out exactly thing `index` among the visible ones, the plainest first.

    A thing that is not visible well enough has none.

    Raises:
        InputError: there is no such thing in the scene.
    """
    return [description.text for description in descriptions(scene, view, index)]


def descriptions(scene: Scene, view: Observation, index: int) -> tuple[Description, ...]:
    """The programs of `expressions`, in the same order.

    Raises:
        InputError: there is no such thing in the scene.
    """
    if not 0 <= index < len(scene.things):
        raise InputError(f"thing {index} is not in the scene: give 0 to {len(scene.things) - 1}")
    return describe(observe(scene, view))[index]


def choose(facts: Facts, rng: np.random.Generator, index: int, without: str | None = None) -> Description | None:
    """A description of thing `index`, plain ones more often than relations, that doesn't give away an attribute.

    Returns None if there is none.
    """
    described = describe(facts)[index]
    if not described:
        return None
    plain = [description for description in described if not description.anchor and not description.superlative]
    for _ in range(4):  # nearly always enough, and cheaper than asking each description what it gives away
        drawn = pick(rng, plain) if plain and rng.random() < 0.6 else pick(rng, described)
        if without is None or not drawn.says(without):
            return drawn
    possible = [description for description in described if not description.says(str(without))]
    return pick(rng, possible) if possible else None


@lru_cache(maxsize=4)
def describe(facts: Facts) -> tuple[tuple[Description, ...], ...]:
    """For each thing the descriptions that fit it alone: by words, by superlatives, by relations to other things."""
    found: list[list[Description]] = [[] for _ in facts.things]
    for index in members(facts.seen):
        found[index] = _by_words(facts, index)
    anchors = {index: described[0] for index, described in enumerate(found) if described}
    _add_superlatives(facts, found)
    _add_relations(facts, found, anchors)
    return tuple(map(tuple, found))


def _single(found: int) -> bool:
    return found != 0 and found & (found - 1) == 0


def _by_words(facts: Facts, index: int) -> list[Description]:
    """The smallest sets of words that fit one thing only, named with their shape too, and all the words."""
    thing, bit = facts.things[index], 1 << index
    words = [value(thing, attribute) for attribute in ATTRIBUTES]
    masks = [facts.words[word] for word in words]
    minimal: list[tuple[int, ...]] = []
    for subset in _SUBSETS:
        found = facts.glimpsed
        for position in subset:
            found &= masks[position]
        if found == bit and not any(set(smaller) <= set(subset) for smaller in minimal):
            minimal.append(subset)
    if not minimal:
        return []
    natural = [subset if 3 in subset else (*subset, 3) for subset in minimal]
    every = (0, 1, 2, 3)
    # a noun is the natural way to name a thing, so phrases with their shape come first
    ordered = dict.fromkeys([*sorted(natural, key=len), *minimal, every])
    return [Description(tuple(words[position] for position in subset)) for subset in ordered]


def _winner(facts: Facts, found: int, superlative: str) -> int:
    """The one that beats all the others of a set, as a set; empty if none does."""
    if superlative in ("largest", "smallest"):
        best = found & facts.words["large" if superlative == "largest" else "small"]
        return best if _single(best) else 0
    beaten = facts.relations[SUPERLATIVES[superlative]]
    for index in members(found):
        if not found & ~(1 << index) & ~beaten[index]:
            return 1 << index
    return 0


def _add_superlatives(facts: Facts, found: list[list[Description]]) -> None:
    """Adds "the leftmost ball", "the largest thing": among all the things and among those that share a word."""
    groups: dict[int, tuple[str, ...]] = {facts.glimpsed: ()}
    for word, having in facts.words.items():
        if having & (having - 1):
            groups[having] = (word,)  # of words that mean the same here the last counts: the noun, if there is one
    for group, words in groups.items():
        if not group & (group - 1):
            continue
        for superlative in SUPERLATIVES:
            if words and ATTRIBUTE_OF[words[0]] == "size" and superlative in ("largest", "smallest"):
                continue
            winner = _winner(facts, group, superlative)
            if winner & facts.seen:
                found[winner.bit_length() - 1].append(Description(words, superlative))


def _add_relations(facts: Facts, found: list[list[Description]], anchors: dict[int, Description]) -> None:
    """Adds "the ball inside the ring": the noun alone, or with the colour where that is needed."""
    for relation in (*CONTACTS, *DIRECTIONS):
        for j, anchor in anchors.items():
            related = facts.relations[relation][j]
            for i in members(related & facts.seen):
                thing, bit = facts.things[i], 1 << i
                for words in ((thing.shape,), (thing.colour, thing.shape), (thing.size, thing.shape)):
                    if facts.having(words) & related == bit:
                        found[i].append(Description(words, None, relation, anchor))
                        break
                if related == bit:
                    found[i].append(Description((), None, relation, anchor))
