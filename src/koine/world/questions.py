"""Questions about a picture with short answers, each with the program that computes its answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from koine.errors import InputError
from koine.world.facts import (
    ATTRIBUTES,
    CONTACTS,
    DIRECTIONS,
    OPPOSITES,
    VALUES,
    Facts,
    members,
    observe,
    value,
)
from koine.world.language import NUMBERS, article, name, phrase, pick, plural, related
from koine.world.referring import Description, choose, from_program, resolve_in
from koine.world.render import Observation
from koine.world.scene import Scene

Program = dict[str, Any]

KINDS = (
    *ATTRIBUTES,
    "count",
    "existence",
    "comparison",
    "relation",
    "support",
    "surface",
    "light",
    "name",
    "choice",
    "description",
)
_ATTRIBUTE_TEMPLATES = {
    "colour": ("What colour is {}?", "What is the colour of {}?", "Which colour does {} have?"),
    "shape": ("What shape is {}?", "What is the shape of {}?", "Which shape does {} have?"),
    "size": ("What size is {}?", "How big is {}?", "Is {} small or large?"),
    "material": ("What is {} made of?", "What material is {}?", "Which material is {} made of?"),
}
_REGIONS = ("the object {region}", "the thing {region}", "{region}")
_COUNT_TEMPLATES = ("How many {} are there?", "How many {} are on the table?", "What is the number of {}?")
_EXISTENCE_TEMPLATES = ("Is there {}?", "Is there {} in the picture?", "Can you see {}?", "Does the picture show {}?")
_WORD_SETS = (("shape",), ("colour",), ("colour", "shape"), ("material", "shape"), ("size", "colour", "shape"))
_SURFACE_TEMPLATES = ("What kind of surface is it?", "What do the things lie on?", "What is the table top like?")
_LIGHT_TEMPLATES = ("What kind of light is it?", "What lights the table?", "Which light is the picture taken in?")


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a picture.

    Attributes:
        text: the question, which describes in words what it is about.
        answer: a word or two, lower case, no full stop.
        kind: of `KINDS`, or a kind of `koine.world.purposes`.
        things: indices of the things that it is about.
        region_text: the same question with the slot "{region}" in place of the description of `things[0]`; None if
            it isn't about one thing.
        program: what `evaluate` computes the answer from, as JSON data.
    """

    text: str
    answer: str
    kind: str
    things: tuple[int, ...] = ()
    region_text: str | None = None
    program: Program = field(default_factory=dict)


def questions(scene: Scene, view: Observation, rng: np.random.Generator) -> list[Question]:
    """Questions of every kind that the picture gives rise to.

    Every attribute of every thing is asked for once if words can tell the thing without giving the answer away;
    of the other kinds there are one to four. Where the answer is yes or no, either is equally likely. A question
    is asked only if its answer is the same whether or not hardly visible things are counted.

    Args:
        scene, view: the scene and how it is seen.
        rng: draws the things asked about and the wording.
    """
    facts = observe(scene, view)
    return [
        *_attribute_questions(facts, rng),
        *_count_questions(facts, rng),
        *_existence_questions(facts, rng),
        *_comparison_questions(facts, rng),
        *_relation_questions(facts, rng),
        *_support_questions(facts, rng),
        Question(pick(rng, _SURFACE_TEMPLATES), scene.surface, "surface", program={"ask": "surface"}),
        Question(pick(rng, _LIGHT_TEMPLATES), scene.light, "light", program={"ask": "light"}),
    ]


def region_questions(scene: Scene, view: Observation, rng: np.random.Generator) -> list[Question]:
    """Questions about each thing that only a region can tell from the others: text and region_text hold "{region}".

    Kinds: the four attributes; "name" (answer "cube"); "choice" between the right shape and another, in random
    order; "description" (answer "a large red metal cube").
    """
    facts = observe(scene, view)
    asked: list[Question] = []
    for index in members(facts.seen):
        thing = facts.things[index]
        for attribute in ATTRIBUTES:
            text = pick(rng, _ATTRIBUTE_TEMPLATES[attribute]).format(pick(rng, _REGIONS))
            asked.append(_about(text, value(thing, attribute), attribute, index))
        asked.append(
            _about(pick(rng, ("What is {}?", "Name {}.")).format(pick(rng, _REGIONS)), thing.shape, "name", index)
        )
        other = pick(rng, [shape for shape in VALUES["shape"] if shape != thing.shape])
        first, second = (thing.shape, other) if rng.random() < 0.5 else (other, thing.shape)
        text = f"Is {pick(rng, _REGIONS)} of the picture {article(first)} or {article(second)}?"
        asked.append(_about(text, thing.shape, "choice", index))
        text = pick(rng, ("Describe {}.", "What can you say about {}?")).format(pick(rng, _REGIONS))
        asked.append(_about(text, article(name(thing)), "description", index))
    return asked


def _about(text: str, answer: str, kind: str, index: int) -> Question:
    """A question about a region."""
    text = text[0].upper() + text[1:]
    return Question(text, answer, kind, (index,), text, {"ask": kind, "of": {"thing": index}})


def evaluate(program: Program, scene: Scene, view: Observation) -> str:
    """The answer that a question's program has for a scene as it is seen.

    Raises:
        InputError: a program that asks for something that there isn't, or a description in it that doesn't fit
            exactly one thing.
    """
    facts = observe(scene, view)
    ask = program.get("ask")
    if ask in ("surface", "light"):
        return scene.surface if ask == "surface" else scene.light
    if ask == "count":
        return NUMBERS[facts.having(program["words"]).bit_count()]
    if ask == "exists":
        return _yes(bool(facts.having(program["words"])))
    if ask == "more":
        return _yes(facts.having(program["words"]).bit_count() > facts.having(program["than"]).bit_count())
    if ask in ("which", "anything"):
        found = facts.relations[program["relation"]][only(program["to"], facts)]
        if ask == "anything":
            return _yes(bool(found))
        return _short_name(facts, _only_of(found, program))
    index = only(program.get("of", {}), facts)
    thing = facts.things[index]
    if ask in ATTRIBUTES:
        return value(thing, ask)
    if ask in ("name", "choice"):
        return thing.shape
    if ask == "description":
        return article(name(thing))
    if ask == "support":
        return "table" if thing.on is None else _short_name(facts, thing.on)
    if ask not in ("same", "larger", "holds", "nearer"):
        raise InputError.unknown("kind of question", ask, KINDS)
    other = only(program["to"], facts)
    if ask == "same":
        return _yes(value(thing, program["attribute"]) == value(facts.things[other], program["attribute"]))
    if ask == "larger":
        return _yes(thing.radius > facts.things[other].radius)
    if ask == "nearer":
        nearer = program["of"] if facts.depth[index] < facts.depth[other] else program["to"]
        return from_program(nearer).text.removeprefix("the ")
    return _yes(bool(facts.relations[program["relation"]][other] >> index & 1))


def _yes(true: bool) -> str:
    return "yes" if true else "no"


def _short_name(facts: Facts, index: int) -> str:
    return name(facts.things[index], ("colour", "shape"))


def only(program: Program, facts: Facts) -> int:
    """The thing that a description fits; a region's program names its thing."""
    if "thing" in program:
        return int(program["thing"])
    return _only_of(resolve_in(from_program(program), facts), program)


def _only_of(found: int, program: Program) -> int:
    if found.bit_count() != 1:
        raise InputError(f"description {program} fits {found.bit_count()} things: give one that fits exactly one")
    return found.bit_length() - 1


def _attribute_questions(facts: Facts, rng: np.random.Generator) -> Iterator[Question]:
    for index in members(facts.seen):
        thing = facts.things[index]
        for attribute in ATTRIBUTES:
            description = choose(facts, rng, index, without=attribute)
            if description is None:
                continue
            template = pick(rng, _ATTRIBUTE_TEMPLATES[attribute])
            yield _question(template, description, index, value(thing, attribute), attribute, {"ask": attribute}, rng)


def _question(
    template: str,
    description: Description,
    index: int,
    answer: str,
    kind: str,
    program: Program,
    rng: np.random.Generator,
    role: str = "of",
) -> Question:
    """A question about one described thing; `role` is the description's place in the program."""
    region = template.format(pick(rng, _REGIONS))
    return Question(
        text=template.format(description.text),
        answer=answer,
        kind=kind,
        things=(index,),
        region_text=region[0].upper() + region[1:],
        program={**program, role: description.program()},
    )


def _count_questions(facts: Facts, rng: np.random.Generator) -> Iterator[Question]:
    """How many there are: of a shape, a colour, a material, and of anything."""
    for attribute in ("shape", "colour", "material", None):
        if attribute is None:
            words: tuple[str, ...] = ()
        else:  # half of the words are of a thing that is there, or most answers would be "zero"
            present = [value(facts.things[index], attribute) for index in members(facts.seen)]
            words = (pick(rng, present if present and rng.random() < 0.6 else VALUES[attribute]),)
        found = facts.having(words)
        if facts.certain(found):
            text = pick(rng, _COUNT_TEMPLATES).format(plural(phrase(words)))
            program = {"ask": "count", "words": list(words)}
            yield Question(text, NUMBERS[found.bit_count()], "count", tuple(members(found)), program=program)


def _existence_questions(facts: Facts, rng: np.random.Generator) -> Iterator[Question]:
    """One thing that is there and one that isn't, described by the same kinds of words."""
    attributes = pick(rng, _WORD_SETS)
    present = list(members(facts.seen))
    if not present:
        return
    absent = absent_words(facts, rng, attributes)
    if absent is None:
        return
    shown = facts.things[pick(rng, present)]
    there = tuple(value(shown, attribute) for attribute in attributes)
    pair = [(there, "yes"), (absent, "no")]
    for words, answer in pair if rng.random() < 0.5 else reversed(pair):
        text = pick(rng, _EXISTENCE_TEMPLATES).format(article(phrase(words)))
        things = tuple(members(facts.having(words)))
        yield Question(text, answer, "existence", things, program={"ask": "exists", "words": list(words)})


def absent_words(
    facts: Facts, rng: np.random.Generator, attributes: tuple[str, ...], tries: int = 12
) -> tuple[str, ...] | None:
    """Values of the attributes that no visible thing has together; None if none were found.

    Half of the draws recombine words that are true of different things, which is harder to deny than words that
    are true of none. Words that the scene's split holds out are never drawn together.
    """
    shown = list(members(facts.glimpsed))
    for attempt in range(tries):
        if attempt % 2 == 0 and len(attributes) > 1:
            words = tuple(value(facts.things[pick(rng, shown)], attribute) for attribute in attributes)
        else:
            words = tuple(pick(rng, VALUES[attribute]) for attribute in attributes)
        if not facts.having(words) and facts.may_mention(words):
            return words
    return None


def _pair(facts: Facts, rng: np.random.Generator) -> tuple[int, int] | None:
    shown = list(members(facts.seen))
    if len(shown) < 2:
        return None
    first = int(rng.random() * len(shown))
    second = int(rng.random() * (len(shown) - 1))
    return shown[first], shown[second + (second >= first)]


def _comparison_questions(facts: Facts, rng: np.random.Generator) -> Iterator[Question]:
    yield from _sameness(facts, rng)
    yield from _more_of(facts, rng)
    pair = _pair(facts, rng)
    if pair is None:
        return
    i, j = pair
    one, other = choose(facts, rng, i, without="size"), choose(facts, rng, j, without="size")
    if one and other and facts.things[i].size != facts.things[j].size:
        answer = _yes(facts.things[i].radius > facts.things[j].radius)
        text = f"Is {one.text} {pick(rng, ('larger', 'bigger'))} than {other.text}?"
        program = {"ask": "larger", "of": one.program(), "to": other.program()}
        yield Question(text, answer, "comparison", (i, j), program=program)
    in_front = facts.relations["in front of"]
    if one and other and (in_front[j] >> i & 1 or in_front[i] >> j & 1):
        nearer = one if in_front[j] >> i & 1 else other
        text = f"Which is closer to the camera, {one.text} or {other.text}?"
        program = {"ask": "nearer", "of": one.program(), "to": other.program()}
        yield Question(text, nearer.text.removeprefix("the "), "comparison", (i, j), program=program)


def _sameness(facts: Facts, rng: np.random.Generator) -> Iterator[Question]:
    """Whether two things share an attribute, where there are both things that do and things that don't."""
    shown = list(members(facts.seen))
    attribute = pick(rng, ("colour", "shape", "material", "size"))
    pairs = [(i, j) for i in shown for j in shown if i != j]
    alike = [(i, j) for i, j in pairs if value(facts.things[i], attribute) == value(facts.things[j], attribute)]
    if not alike or len(alike) == len(pairs):
        return
    same = rng.random() < 0.5
    i, j = pick(rng, alike if same else [pair for pair in pairs if pair not in alike])
    one, other = choose(facts, rng, i, without=attribute), choose(facts, rng, j, without=attribute)
    if one is None or other is None:
        return
    shared = "made of the same material" if attribute == "material" else f"the same {attribute}"
    text = f"Are {one.text} and {other.text} {shared}?"
    program = {"ask": "same", "attribute": attribute, "of": one.program(), "to": other.program()}
    yield Question(text, _yes(same), "comparison", (i, j), program=program)


def _more_of(facts: Facts, rng: np.random.Generator) -> Iterator[Question]:
    """Whether there are more of one kind than of another; two kinds of which there are as many aren't compared."""
    attribute = pick(rng, ("shape", "colour", "material"))
    present = sorted({value(facts.things[index], attribute) for index in members(facts.seen)})
    if not present:
        return
    first, second = pick(rng, present), pick(rng, VALUES[attribute])
    if rng.random() < 0.5:
        first, second = second, first
    found, others = facts.having((first,)), facts.having((second,))
    if found.bit_count() == others.bit_count() or not (facts.certain(found) and facts.certain(others)):
        return
    text = f"Are there more {plural(phrase((first,)))} than {plural(phrase((second,)))}?"
    program = {"ask": "more", "words": [first], "than": [second]}
    yield Question(text, _yes(found.bit_count() > others.bit_count()), "comparison", program=program)


def _relation_questions(facts: Facts, rng: np.random.Generator) -> Iterator[Question]:
    """Whether a thing is left of another (or right of it), and what it is that is left of it."""
    pair = _pair(facts, rng)
    if pair is None:
        return
    i, j = pair
    true = [relation for relation in DIRECTIONS if facts.relations[relation][j] >> i & 1]
    one, other = choose(facts, rng, i), choose(facts, rng, j)
    if true and one and other:
        relation, answer = pick(rng, true), "yes"
        if rng.random() < 0.5:
            relation, answer = OPPOSITES[relation], "no"
        text = f"Is {one.text} {related(rng, relation)} {other.text}?"
        program = {"ask": "holds", "relation": relation, "of": one.program(), "to": other.program()}
        yield Question(text, answer, "relation", (i, j), program=program)
    for relation in DIRECTIONS:
        found = facts.relations[relation][j]
        if other and found.bit_count() == 1 and facts.certain(found):
            template = f"What is {related(rng, relation)} {{}}?"
            answer = _short_name(facts, found.bit_length() - 1)
            yield _question(template, other, j, answer, "relation", {"ask": "which", "relation": relation}, rng, "to")


def _support_questions(facts: Facts, rng: np.random.Generator) -> Iterator[Question]:
    """What stands on what and what is inside what; in a scene where something is, also where nothing is."""
    shown = list(members(facts.seen))
    touching = [
        (c, j) for c in CONTACTS for j in shown if facts.relations[c][j] and facts.certain(facts.relations[c][j])
    ]
    if shown:
        index = pick(rng, shown)
        description = choose(facts, rng, index)
        base = facts.things[index].on
        if description and (base is None or facts.seen >> base & 1):
            answer = "table" if base is None else _short_name(facts, base)
            template = pick(rng, ("What is {} standing on?", "What does {} stand on?"))
            yield _question(template, description, index, answer, "support", {"ask": "support"}, rng)
    if not touching:
        return
    relation, j = pick(rng, touching)
    description = choose(facts, rng, j)
    if description and facts.relations[relation][j].bit_count() == 1:
        answer = _short_name(facts, facts.relations[relation][j].bit_length() - 1)
        template = f"What is {related(rng, relation)} {{}}?"
        yield _question(template, description, j, answer, "support", {"ask": "which", "relation": relation}, rng, "to")
    answer = "yes"
    if rng.random() < 0.5:
        empty = [(c, k) for c in ("on", "inside", "under") for k in shown if not facts.relations[c][k]]
        (relation, j), answer = pick(rng, empty), "no"
        description = choose(facts, rng, j)
    if description:
        template = f"Is anything {related(rng, relation)} {{}}?"
        yield _question(
            template, description, j, answer, "support", {"ask": "anything", "relation": relation}, rng, "to"
        )
