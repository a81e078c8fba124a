"""What holds in a scene as its camera sees it: who is red, who is left of whom, who is hidden.

Sets of things are integers with bit i set for thing i. With five things, set operations on small integers are
some thirty times faster than arrays, and every text of the world is made of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from koine.world.render import Observation
from koine.world.scene import Scene
from koine.world.things import COLOURS, HELD_OUT, MATERIALS, SHAPES, SIZES, Thing

MIN_VISIBLE_PIXELS = 24
"""Texts speak of a thing only if at least this many of its pixels are visible at 64x64 (other sizes: same share)."""
SIDE_MARGIN = 0.08
"""Left and right are said only if the middles of two things are this share of the picture's width apart."""
DEPTH_MARGIN = 0.030
"""In front and behind are said only if two things are this many metres apart along the line of sight."""

ATTRIBUTES = ("size", "colour", "material", "shape")
"""In the order in which English puts them before a noun."""
VALUES: dict[str, tuple[str, ...]] = {
    "size": tuple(SIZES),
    "colour": tuple(COLOURS),
    "material": MATERIALS,
    "shape": SHAPES,
}
ATTRIBUTE_OF = {word: attribute for attribute, words in VALUES.items() for word in words}
"""Which attribute a word is a value of; no word is a value of two."""

DIRECTIONS = ("left of", "right of", "in front of", "behind")
CONTACTS = ("inside", "around", "under", "over", "on", "below")
OPPOSITES = {"left of": "right of", "right of": "left of", "in front of": "behind", "behind": "in front of"}


@dataclass(frozen=True, eq=False, slots=True)
class Facts:
    """A scene reduced to what can be said about it.

    Attributes:
        scene: the scene.
        seen: the things that are visible well enough to be spoken of (`MIN_VISIBLE_PIXELS`).
        glimpsed: the things of which any pixel is visible. What is said must also hold if somebody counts these.
        words: for each attribute value the glimpsed things that have it.
        relations: for each relation word and thing j, the glimpsed things that stand in that relation to j.
        side: how far to the right of the middle of the picture each thing's middle is, in picture widths.
        depth: how far each thing is along the horizontal line of sight, metres from the table's middle.
    """

    scene: Scene
    seen: int
    glimpsed: int
    words: dict[str, int]
    relations: dict[str, tuple[int, ...]]
    side: tuple[float, ...]
    depth: tuple[float, ...]

    @property
    def things(self) -> tuple[Thing, ...]:
        """The things of the scene."""
        return self.scene.things

    def having(self, words: Iterable[str]) -> int:
        """The glimpsed things that all the words are true of."""
        found = self.glimpsed
        for word in words:
            found &= self.words[word]
        return found

    def certain(self, found: int) -> bool:
        """Whether a set is the same for those who count barely visible things and those who don't."""
        return not found & ~self.seen

    def may_mention(self, words: Iterable[str]) -> bool:
        """Whether these words may be said together of one thing, present or not, in the scene's split."""
        said = tuple(words)
        return self.scene.split == "heldout" or not any(
            (colour, shape) in HELD_OUT for colour in said for shape in said
        )


_COLOUR_THEN_SHAPE = re.compile(
    rf"\b({'|'.join(COLOURS)})\W+(?:(?:rubber|metal|wood|wooden)\W+)?({'|'.join(SHAPES)})(?:e?s)?\b", re.IGNORECASE
)


def mentions_held_out(text: str) -> bool:
    """Whether an English text names a colour and a shape in one phrase that `HELD_OUT` pairs."""
    return any((colour.lower(), shape.lower()) in HELD_OUT for colour, shape in _COLOUR_THEN_SHAPE.findall(text))


def members(things: int) -> Iterator[int]:
    """Indices of the things of a set, ascending."""
    while things:
        lowest = things & -things
        yield lowest.bit_length() - 1
        things ^= lowest


def value(thing: Thing, attribute: str) -> str:
    """The word for an attribute of a thing."""
    return getattr(thing, attribute)


_latest: tuple[Scene, Observation, Facts] | None = None


def observe(scene: Scene, view: Observation) -> Facts:
    """The facts of a scene in a view of it.

    The latest answer is kept, since a caller who wants captions wants questions too; the tuple is replaced as one,
    so threads can't see half of it.
    """
    global _latest
    latest = _latest
    if latest is not None and latest[0] is scene and latest[1] is view:
        return latest[2]
    facts = _observe(scene, view)
    _latest = (scene, view, facts)
    return facts


def _observe(scene: Scene, view: Observation) -> Facts:
    height, width = view.instance.shape
    least = max(1.0, MIN_VISIBLE_PIXELS * height * width / 64**2)
    seen = glimpsed = 0
    for index, pixels in enumerate(view.visible.tolist()):
        seen |= (pixels >= least) << index
        glimpsed |= (pixels > 0) << index
    words = dict.fromkeys(ATTRIBUTE_OF, 0)
    for index in members(glimpsed):
        thing = scene.things[index]
        for word in (thing.size, thing.colour, thing.material, thing.shape):
            words[word] |= 1 << index
    side = tuple((left + right) / (2 * width) - 0.5 for left, _, right, _ in view.amodal_boxes.tolist())
    sine, cosine = math.sin(scene.camera.azimuth), math.cos(scene.camera.azimuth)
    depth = tuple(thing.position[0] * sine + thing.position[1] * cosine for thing in scene.things)
    relations = _relations(scene.things, glimpsed, side, depth)
    return Facts(scene, seen & glimpsed, glimpsed, words, relations, side, depth)


def _relations(
    things: tuple[Thing, ...], glimpsed: int, side: tuple[float, ...], depth: tuple[float, ...]
) -> dict[str, tuple[int, ...]]:
    found = {relation: [0] * len(things) for relation in (*DIRECTIONS, *CONTACTS)}
    for i in members(glimpsed):
        bit, thing = 1 << i, things[i]
        for j in members(glimpsed):
            aside, away = side[i] - side[j], depth[i] - depth[j]
            if aside <= -SIDE_MARGIN:
                found["left of"][j] |= bit
            elif aside >= SIDE_MARGIN:
                found["right of"][j] |= bit
            if away <= -DEPTH_MARGIN:
                found["in front of"][j] |= bit
            elif away >= DEPTH_MARGIN:
                found["behind"][j] |= bit
        for partner, standing in ((thing.inside, False), (thing.on, True)):
            if partner is None or not glimpsed >> partner & 1:
                continue
            near: tuple[str, ...]
            far: tuple[str, ...]
            if standing:
                near, far = ("on",), ("under", "below")
            elif things[partner].shape == "arch":
                near, far = ("under",), ("over",)
            else:
                near, far = ("inside",), ("around",)
            for relation in near:
                found[relation][partner] |= bit
            for relation in far:
                found[relation][i] |= 1 << partner
    return {relation: tuple(sets) for relation, sets in found.items()}
