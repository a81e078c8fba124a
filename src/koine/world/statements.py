"""Statements about one picture or two that are true or false, with the programs that decide which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from koine.errors import InputError
from koine.world.facts import ATTRIBUTES, DIRECTIONS, VALUES, Facts, members, observe, value
from koine.world.language import LIGHT_PHRASES, NUMBERS, SURFACE_PHRASES, article, counted, phrase, pick, plural
from koine.world.referring import SUPERLATIVES, Description, from_program, resolve_in
from koine.world.render import Observation
from koine.world.scene import MAX_THINGS, Scene

Program = dict[str, Any]
Candidate = tuple[str, Program]
Filler = Callable[[], Candidate | None]
"""Fills a form of statement with words; None where the words make no sense."""
Maker = Callable[[Sequence[Facts], np.random.Generator], Filler]
"""Draws a form of statement."""

STATEMENT_KINDS = ("existence", "count", "comparison", "relation", "attribute", "universal", "surface", "light")
PAIR_KINDS = ("existence", "count", "total", "comparison", "relation", "sameness")
_FORMS, _TRIES = 3, 8
_WORD_SETS = (("shape",), ("colour",), ("colour", "shape"), ("material", "shape"), ("size", "shape"))
_SIDES = ("left", "right")


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement about a picture, or about a left and a right picture.

    Attributes:
        text: one sentence with capital and full stop.
        label: whether it is true.
        kind: of `STATEMENT_KINDS` or, about two pictures, of `PAIR_KINDS`.
        program: what `holds` computes the label from, as JSON data.
    """

    text: str
    label: bool
    kind: str
    program: Program


def statements(scene: Scene, view: Observation, rng: np.random.Generator) -> list[Statement]:
    """At most one statement of each of `STATEMENT_KINDS` about a picture; each is as likely true as false.

    For each kind a form is drawn ("there are exactly two ..."), then words until a true and a false statement of
    this form are found; a coin decides which is said. So the form doesn't give the label away. A kind for which
    only one sort is found (in a scene of one thing, say) is left out.
    """
    return _balanced([observe(scene, view)], rng, _MAKERS)


def pair_statements(
    left: tuple[Scene, Observation], right: tuple[Scene, Observation], rng: np.random.Generator
) -> list[Statement]:
    """At most one statement of each of `PAIR_KINDS` about two pictures; each is as likely true as false.

    This is the task of NLVR2 (Suhr et al. 2019): one sentence, two pictures, true or false.
    """
    facts = [observe(*left), observe(*right)]
    same = _same_setting(facts, rng)
    return [*_balanced(facts, rng, _PAIR_MAKERS), *([same] if same else [])]


def holds(program: Program, *pictures: tuple[Scene, Observation]) -> bool:
    """Whether a statement's program is true of a picture, or of a left and a right one.

    Raises:
        InputError: a program with an operation that there isn't.
    """
    return _holds(program, [observe(scene, view) for scene, view in pictures], counted_by="seen")


def _balanced(facts: list[Facts], rng: np.random.Generator, makers: dict[str, Maker]) -> list[Statement]:
    if not all(fact.seen for fact in facts):
        return []
    drawn = (_statement(facts, rng, kind, make) for kind, make in makers.items())
    return [statement for statement in drawn if statement is not None]


def _statement(facts: list[Facts], rng: np.random.Generator, kind: str, make: Maker) -> Statement | None:
    for _ in range(_FORMS):
        fill = make(facts, rng)
        found: dict[bool, Candidate] = {}
        for _ in range(_TRIES):
            candidate = fill()
            if candidate is None:
                continue
            label = _holds(candidate[1], facts, counted_by="seen")
            # a statement that hangs on a hardly visible thing would be neither true nor false
            if label not in found and label == _holds(candidate[1], facts, counted_by="glimpsed"):
                found[label] = candidate
                if len(found) == 2:
                    label = bool(rng.random() < 0.5)
                    text, program = found[label]
                    return Statement(f"{text[0].upper()}{text[1:]}.", label, kind, program)
    return None


def _holds(program: Program, facts: Sequence[Facts], counted_by: str) -> bool:
    """Evaluates a program; `counted_by` "seen" or "glimpsed" says which things count as being there."""
    there = [fact.seen if counted_by == "seen" else fact.glimpsed for fact in facts]
    operation = program.get("op")
    if operation == "quantified":  # in the left, the right, both, neither, ... of the pictures
        true = [_holds(program["of"], [fact], counted_by) for fact in facts]
        return _QUANTIFIERS[program["where"]](true)
    if operation == "count":
        numbers = [(fact.having(program["words"]) & some).bit_count() for fact, some in zip(facts, there, strict=True)]
        return _COMPARISONS[program["compare"]](sum(numbers), program["number"])
    if operation == "more":
        first, second = program["first"], program["second"]
        one, other = first.get("picture", 0), second.get("picture", 0)
        return (facts[one].having(first["words"]) & there[one]).bit_count() > (
            facts[other].having(second["words"]) & there[other]
        ).bit_count()
    if operation == "related":
        fact, some = facts[0], there[0]
        ones, others = fact.having(program["words"]) & some, fact.having(program["to"]) & some
        return any(fact.relations[program["relation"]][j] & ones for j in members(others))
    if operation == "is":
        found = resolve_in(from_program(program["thing"]), facts[0])
        return found != 0 and not found & ~facts[0].words[program["word"]]
    if operation == "all":
        return not there[0] & ~facts[0].having(program["words"])
    if operation == "setting":
        return getattr(facts[0].scene, program["what"]) == program["word"]
    if operation == "same":
        return len({_shared(fact, some, program["what"]) for fact, some in zip(facts, there, strict=True)}) == 1
    raise InputError.unknown("operation of a statement", operation, OPERATIONS)


OPERATIONS = ("quantified", "count", "more", "related", "is", "all", "setting", "same")
_QUANTIFIERS: dict[str, Callable[[list[bool]], bool]] = {
    "left": lambda true: true[0],
    "right": lambda true: true[-1],
    "both": all,
    "any": any,
    "one": lambda true: sum(true) == 1,
    "neither": lambda true: not any(true),
}
_COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "==": lambda count, number: count == number,
    ">=": lambda count, number: count >= number,
    "<=": lambda count, number: count <= number,
}


def _shared(fact: Facts, there: int, what: str) -> object:
    return there.bit_count() if what == "number" else getattr(fact.scene, what)


def _words(facts: Sequence[Facts], rng: np.random.Generator, attributes: tuple[str, ...]) -> tuple[str, ...] | None:
    """Values of the attributes: of a thing that is there, recombined from several, or any; None if held out."""
    fact = facts[int(rng.random() * len(facts))]
    shown = list(members(fact.seen))
    way = rng.random()
    if way < 0.5:
        thing = fact.things[pick(rng, shown)]
        words = tuple(value(thing, attribute) for attribute in attributes)
    elif way < 0.75:
        words = tuple(value(fact.things[pick(rng, shown)], attribute) for attribute in attributes)
    else:
        words = tuple(pick(rng, VALUES[attribute]) for attribute in attributes)
    return words if all(other.may_mention(words) for other in facts) else None


# Makers of statements about one picture. `shows` begins the sentence if there are two: "both pictures show".


def _existence(facts: Sequence[Facts], rng: np.random.Generator, shows: str = "") -> Filler:
    attributes = pick(rng, _WORD_SETS)
    denied = not shows and rng.random() < 0.3
    opening = shows or ("there is no" if denied else pick(rng, ("there is", "the picture shows")))

    def fill() -> Candidate | None:
        words = _words(facts, rng, attributes)
        if words is None:
            return None
        named = phrase(words) if denied else article(phrase(words))
        compare, number = ("==", 0) if denied else (">=", 1)
        return f"{opening} {named}", {"op": "count", "words": list(words), "compare": compare, "number": number}

    return fill


def _count(facts: Sequence[Facts], rng: np.random.Generator, shows: str = "") -> Filler:
    attributes = pick(rng, (("shape",), ("colour",), ("material",), ()))
    compare, said = pick(rng, (("==", "exactly"), ("==", "exactly"), (">=", "at least"), ("<=", "at most")))
    if not attributes:
        compare, said = "==", "exactly"  # "at most five things" would be true of every picture
    some = int(rng.integers(1, 4))

    def fill() -> Candidate | None:
        words = _words(facts, rng, attributes)
        if words is None:
            return None
        number = some if attributes else _near(facts[:1], rng)
        noun = phrase(words)
        amount = f"{said} {NUMBERS[number]} {noun if number == 1 else plural(noun)}"
        program = {"op": "count", "words": list(words), "compare": compare, "number": number}
        return f"{shows or ('there is' if number == 1 else 'there are')} {amount}", program

    return fill


def _near(facts: Sequence[Facts], rng: np.random.Generator) -> int:
    """The number of things, or one or two more or less, as far as there may be so many."""
    number = sum(fact.seen.bit_count() for fact in facts) + pick(rng, (-2, -1, 0, 0, 1, 2))
    return min(max(1, number), MAX_THINGS * len(facts))


def _relation(facts: Sequence[Facts], rng: np.random.Generator, shows: str = "") -> Filler:
    attributes = pick(rng, (("shape",), ("shape",), ("colour", "shape")))
    relation = pick(rng, tuple(_HOLLOW_SHAPE) if rng.random() < 0.4 else DIRECTIONS)
    opening = shows or pick(rng, ("there is", "the picture shows"))

    def fill() -> Candidate | None:
        words, other = _words(facts, rng, attributes), _words(facts, rng, attributes)
        if words is None or other is None:
            return None
        hollow = _HOLLOW_SHAPE.get(relation)
        if relation in ("around", "over"):
            words = (*words[:-1], hollow or "")
        elif hollow:
            other = (*other[:-1], hollow)
        if not all(fact.may_mention(words) and fact.may_mention(other) for fact in facts):
            return None
        two = f"another {phrase(other)}" if words == other else article(phrase(other))
        program = {"op": "related", "relation": relation, "words": list(words), "to": list(other)}
        return f"{opening} {article(phrase(words))} {relation} {two}", program

    return fill


_HOLLOW_SHAPE = {"on": "", "inside": "ring", "around": "ring", "under": "arch", "over": "arch"}
"""The shape without which a contact would be nonsense, such as a cube inside a ball."""


def _more_here(facts: Sequence[Facts], rng: np.random.Generator) -> Filler:
    attributes = pick(rng, (("shape",), ("colour",), ("material",)))

    def fill() -> Candidate | None:
        words, other = _words(facts, rng, attributes), _words(facts, rng, attributes)
        if words is None or other is None or words == other:
            return None
        text = f"there are more {plural(phrase(words))} than {plural(phrase(other))}"
        return text, {"op": "more", "first": {"words": list(words)}, "second": {"words": list(other)}}

    return fill


def _attribute(facts: Sequence[Facts], rng: np.random.Generator) -> Filler:
    """A thing that is described, by a superlative or by a word, has a property."""
    fact = facts[0]
    shown = list(members(fact.seen))
    if rng.random() < 0.5 and len(shown) > 1:
        description = Description((), pick(rng, tuple(SUPERLATIVES)))
    else:
        description = Description((value(fact.things[pick(rng, shown)], pick(rng, ATTRIBUTES)),))
    found = resolve_in(description, fact)
    attribute = pick(rng, [attribute for attribute in ATTRIBUTES if not description.says(attribute)])

    def fill() -> Candidate | None:
        if found.bit_count() != 1 or found & ~fact.seen:
            return None
        true = value(fact.things[found.bit_length() - 1], attribute)
        word = true if rng.random() < 0.5 else pick(rng, VALUES[attribute])
        if not fact.may_mention((*description.words, word)):
            return None
        said = {"shape": article(word), "material": f"made of {word}"}.get(attribute, word)
        return f"{description.text} is {said}", {"op": "is", "thing": description.program(), "word": word}

    return fill


def _universal(facts: Sequence[Facts], rng: np.random.Generator) -> Filler:
    fact = facts[0]
    shown = [fact.things[index] for index in members(fact.seen)]
    shared = [attribute for attribute in ATTRIBUTES if len({value(thing, attribute) for thing in shown}) == 1]
    attribute = pick(rng, shared) if shared and len(shown) > 1 else None

    def fill() -> Candidate | None:
        words = _words(facts, rng, (attribute,)) if attribute else None
        if words is None:
            return None
        said = {"shape": plural(words[0]), "material": f"made of {words[0]}"}.get(attribute or "", words[0])
        return f"all the things are {said}", {"op": "all", "words": list(words)}

    return fill


def _setting(facts: Sequence[Facts], rng: np.random.Generator, what: str) -> Filler:
    phrases = SURFACE_PHRASES if what == "surface" else LIGHT_PHRASES
    subject = "the scene is set" if what == "surface" else "the picture is taken"
    true: str = getattr(facts[0].scene, what)

    def fill() -> Candidate:
        word = true if rng.random() < 0.5 else pick(rng, tuple(phrases))
        return f"{subject} {pick(rng, phrases[word])}", {"op": "setting", "what": what, "word": word}

    return fill


# Makers of statements about two pictures.

_OPENINGS = {
    "left": ("the left picture shows", "the left image contains"),
    "right": ("the right picture shows", "the right image contains"),
    "both": ("both pictures show", "each image contains"),
    "any": ("at least one picture shows", "at least one of the images contains"),
    "one": ("exactly one picture shows", "only one of the two images contains"),
    "neither": ("neither picture shows", "neither of the images contains"),
}


def _in_pictures(
    facts: Sequence[Facts],
    rng: np.random.Generator,
    make: Callable[[Sequence[Facts], np.random.Generator, str], Filler],
) -> Filler:
    """What one picture may show is said of the left one, both, neither and so on."""
    where = pick(rng, tuple(_OPENINGS))
    fill_one = make(facts, rng, pick(rng, _OPENINGS[where]))

    def fill() -> Candidate | None:
        candidate = fill_one()
        if candidate is None:
            return None
        text, program = candidate
        if where == "neither" and program.get("compare") == "<=":
            return None  # "neither picture shows at most two" is a riddle
        return text, {"op": "quantified", "where": where, "of": program}

    return fill


def _total(facts: Sequence[Facts], rng: np.random.Generator) -> Filler:
    attributes = pick(rng, (("shape",), ("colour",), ("material",), ()))
    some = int(rng.integers(1, 6))
    frame = pick(rng, ("there {} in the two pictures together", "in total there {}"))

    def fill() -> Candidate | None:
        words = _words(facts, rng, attributes)
        if words is None:
            return None
        number = some if attributes else _near(facts, rng)
        amount = f"is one {phrase(words)}" if number == 1 else f"are {counted(number, phrase(words))}"
        return frame.format(amount), {"op": "count", "words": list(words), "compare": "==", "number": number}

    return fill


def _more_there(facts: Sequence[Facts], rng: np.random.Generator) -> Filler:
    """Which picture shows more; pictures that show as many aren't compared, or most of it would be false."""
    attributes = pick(rng, (("shape",), ("colour",), ("material",), ()))
    frame = pick(
        rng, ("the {0} picture shows more {2} than the {1} one", "the {0} image contains more {2} than the {1} one")
    )

    def fill() -> Candidate | None:
        words = _words(facts, rng, attributes)
        if words is None or facts[0].having(words).bit_count() == facts[1].having(words).bit_count():
            return None
        one = int(rng.random() < 0.5)
        program = {
            "op": "more",
            "first": {"picture": one, "words": list(words)},
            "second": {"picture": 1 - one, "words": list(words)},
        }
        return frame.format(_SIDES[one], _SIDES[1 - one], plural(phrase(words))), program

    return fill


_SAMENESS = {
    "surface": ("the things of the two pictures stand on the same kind of surface", len(SURFACE_PHRASES)),
    "light": ("the two pictures are taken in the same light", len(LIGHT_PHRASES)),
    "number": ("the two pictures show the same number of things", MAX_THINGS),
}
"""What may be the same in two pictures, and how many values it has."""


def _same_setting(facts: list[Facts], rng: np.random.Generator) -> Statement | None:
    """Whether something is the same: said of all pictures where it is and of as many where it isn't.

    With k equally likely values 1 of k pairs is alike, so a pair that isn't is kept with probability 1 / (k - 1).
    """
    what = pick(rng, tuple(_SAMENESS))
    text, values = _SAMENESS[what]
    program = {"op": "same", "what": what}
    label = _holds(program, facts, counted_by="seen")
    sure = label == _holds(program, facts, counted_by="glimpsed")
    if not sure or not (label or rng.random() < 1 / (values - 1)):
        return None
    return Statement(f"{text[0].upper()}{text[1:]}.", label, "sameness", program)


_MAKERS: dict[str, Maker] = {
    "existence": _existence,
    "count": _count,
    "comparison": _more_here,
    "relation": _relation,
    "attribute": _attribute,
    "universal": _universal,
    "surface": lambda facts, rng: _setting(facts, rng, "surface"),
    "light": lambda facts, rng: _setting(facts, rng, "light"),
}
_PAIR_MAKERS: dict[str, Maker] = {
    "existence": lambda facts, rng: _in_pictures(facts, rng, _existence),
    "count": lambda facts, rng: _in_pictures(facts, rng, _count),
    "total": _total,
    "comparison": _more_there,
    "relation": lambda facts, rng: _in_pictures(facts, rng, _relation),
}
