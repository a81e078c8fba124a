"""Is a caption true of a scene? Everything that it says is looked up in the scene itself.

A caption is read as the world writes them: perhaps an opening ("a photo of"), things by article or number and
attributes, some of them related to one another, then perhaps the surface and the light. What can't be read counts as
false. Two phrases never mean the same thing, so "a ball and a ball" needs two balls.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from koine.world.facts import ATTRIBUTE_OF, Facts, members, observe
from koine.world.language import LIGHT_PHRASES, NUMBERS, SURFACE_PHRASES
from koine.world.observation import Observation
from koine.world.scene import Scene
from koine.world.things import SHAPES

_OPENING = re.compile(r"^(an? (?:picture|photo|image) of|there (?:is|are)|we see|the picture shows)\s+")
_RELATIONS = {
    "to the left of": "left of",
    "left of": "left of",
    "to the right of": "right of",
    "right of": "right of",
    "in front of": "in front of",
    "behind": "behind",
    "inside": "inside",
    "around": "around",
    "under": "under",
    "over": "over",
    "on top of": "on",
    "below": "below",
    "in": "inside",
    "on": "on",
}
_COUNTS: Mapping[str, int] = {"a": 1, "an": 1, "another": 1} | {word: n for n, word in enumerate(NUMBERS) if n}
_NOUNS = {f"{shape}{ending}": shape for shape in (*SHAPES, "thing") for ending in ("", "s", "es")}
_ADJECTIVES = {word: word for word in ATTRIBUTE_OF if word not in SHAPES} | {"wooden": "wood"}
_PHRASE = re.compile(
    rf"(?P<count>{'|'.join(_COUNTS)})\s+"
    rf"(?P<words>(?:(?:{'|'.join(_ADJECTIVES)})\s+)*)"
    rf"(?P<noun>{'|'.join(sorted(_NOUNS, key=len, reverse=True))})\b"
)
_JOINT = re.compile(rf"\s*(?P<list>,\s+and\s|,|and\s)|\s*(?P<relation>{'|'.join(_RELATIONS)})\s")


@dataclass(frozen=True)
class Verdict:
    """What became of a caption.

    Attributes:
        true: everything that it says holds.
        complete: it is true and names all things that are visible well enough.
        reason: why it isn't true, in a few words.
    """

    true: bool
    complete: bool
    reason: str = ""


@dataclass(frozen=True)
class _Named:
    """A phrase: `count` things of which the words are true."""

    count: int
    words: tuple[str, ...]


@dataclass(frozen=True)
class _Read:
    """A caption as claims: things, and (one, relation, other) by place of the phrases."""

    things: tuple[_Named, ...]
    relations: tuple[tuple[int, str, int], ...]


def judge(caption: str, scene: Scene, view: Observation) -> Verdict:
    """The verdict on one caption."""
    facts = observe(scene, view)
    text = " ".join(caption.lower().split()).rstrip(".")
    for phrases, true in ((LIGHT_PHRASES, scene.light), (SURFACE_PHRASES, scene.surface)):
        said, text = _setting(text, phrases)
        if said is not None and said != true:
            return Verdict(False, False, f"{true}, not {said}")
    if text == "an empty table":
        return Verdict(not facts.seen, not facts.seen, "" if not facts.seen else "the table isn't empty")
    read = _read(_OPENING.sub("", text))
    if read is None:
        return Verdict(False, False, "can't be read")
    for named in read.things:
        if facts.having(named.words).bit_count() < named.count:
            return Verdict(False, False, f"no {' '.join(named.words) or 'thing'}" if named.count == 1 else "too many")
    if not _fits(read, facts):
        return Verdict(False, False, "the relations don't hold" if read.relations else "too many things")
    return Verdict(True, sum(named.count for named in read.things) >= facts.seen.bit_count())


def _setting(text: str, phrases: Mapping[str, Sequence[str]]) -> tuple[str | None, str]:
    """The surface or light that a caption ends with, and the caption without it."""
    for value, said in phrases.items():
        for phrase in said:
            if text.endswith(f" {phrase}"):
                return value, text.removesuffix(f" {phrase}")
    return None, text


def _read(text: str) -> _Read | None:
    """The claims of a caption, None if it isn't written as captions are."""
    things: list[_Named] = []
    relations: list[tuple[int, str, int]] = []
    place, related = 0, None
    while True:
        phrase = _PHRASE.match(text, place)
        if phrase is None:
            return None
        words = [_ADJECTIVES[word] for word in phrase["words"].split()]
        noun = _NOUNS[phrase["noun"]]
        things.append(_Named(_COUNTS[phrase["count"]], (*words, *([] if noun == "thing" else [noun]))))
        if related is not None:
            relations.append((len(things) - 2, related, len(things) - 1))
        place = phrase.end()
        if not text[place:].strip():
            return _Read(tuple(things), tuple(relations))
        joint = _JOINT.match(text, place)
        if joint is None:
            return None
        related = _RELATIONS[joint["relation"]] if joint["relation"] else None
        place = joint.end() + len(text[joint.end() :]) - len(text[joint.end() :].lstrip())


def _fits(read: _Read, facts: Facts) -> bool:
    """Whether different things can be given to all phrases so that every relation holds (tried one by one)."""
    slots = [place for place, named in enumerate(read.things) for _ in range(named.count)]

    def assign(number: int, chosen: dict[int, int], used: int) -> bool:
        if number == len(slots):
            return True
        place = slots[number]
        for thing in members(facts.having(read.things[place].words) & ~used):
            trial = chosen | {place: thing}
            holds = all(
                facts.relations[relation][trial[other]] >> trial[one] & 1
                for one, relation, other in read.relations
                if one in trial and other in trial
            )
            if holds and assign(number + 1, trial, used | 1 << thing):
                return True
        return False

    return assign(0, {}, 0)
