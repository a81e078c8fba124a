"""What things are for and what would happen to them: questions that a label alone doesn't answer."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

import numpy as np

from koine.errors import InputError
from koine.world.facts import Facts, members, observe
from koine.world.language import name, pick
from koine.world.questions import Program, Question, only
from koine.world.referring import Description, choose
from koine.world.render import Observation
from koine.world.scene import Scene
from koine.world.things import FLAT_TOPPED

PURPOSES = MappingProxyType(
    {
        "cube": ("building a tower", "stacking", "building a wall"),
        "ball": ("rolling", "throwing and catching", "playing ball"),
        "cylinder": ("using as a roller", "holding something up like a pillar", "rolling things along when it lies"),
        "cone": ("marking a spot", "showing a place like a traffic cone", "making the top of a tower"),
        "ring": ("hanging on a peg", "throwing over a peg", "holding a small thing in place"),
        "arch": ("letting things pass under it", "making a gate", "building a bridge"),
    }
)
"""What one can use each shape for; a question's answer is "for" one of these."""

PUSHED = MappingProxyType(
    {
        "ball": ("it would roll away", "it would roll"),
        "cube": ("it would slide", "it would slide along the table"),
        "cylinder": ("it would slide or tip over", "it would tip over or slide"),
        "cone": ("it would slide on its base", "it would slide"),
        "ring": ("it would slide flat on the table", "it would slide"),
        "arch": ("it would slide or fall over", "it would fall over or slide"),
    }
)
"""What a push does to a thing that stands free on the table."""

DROPPED = MappingProxyType(
    {
        "rubber": ("it would bounce", "it would bounce back up"),
        "metal": ("it would clang", "it would land with a clang"),
        "wood": ("it would clatter", "it would land with a knock"),
    }
)
WATER = MappingProxyType(
    {
        "rubber": ("it would sink slowly", "it would sink"),
        "metal": ("it would sink at once", "it would sink"),
        "wood": ("it would float", "it would stay on top of the water"),
    }
)
"""What happens in water; `koine.world.physics` gives the densities that say so."""

PURPOSE_KINDS = ("purpose", "push", "drop", "water", "carry", "tool")
_TEMPLATES = {
    "purpose": ("What is {} for?", "What can one use {} for?", "What could {} be used for?"),
    "push": ("What would happen if {} were pushed?", "What would {} do if somebody pushed it?"),
    "drop": ("What would happen if {} were dropped on the floor?", "What would happen if {} fell on the floor?"),
    "water": ("What would happen if {} were dropped in water?", "What would {} do in water?"),
    "carry": ("Could another thing stand on {}?", "Would {} carry a thing that is put on top of it?"),
}
_TOOLS = {
    "cube": "Which thing would you build a tower with?",
    "ball": "Which thing would roll away if it were pushed?",
    "cylinder": "Which thing could be laid down and used as a roller?",
    "cone": "Which thing would you mark a spot with?",
    "ring": "Which thing could hang on a peg?",
    "arch": "Which thing could others pass under?",
}
_REGIONS = ("the object {region}", "the thing {region}", "{region}")


def purpose_questions(scene: Scene, view: Observation, rng: np.random.Generator) -> list[Question]:
    """What each thing is for, what a push, a fall and water would do to it, whether it could carry another thing.

    A push depends on what is to be seen around the thing: whether something holds it in, stands on it or is under
    it. `Question.region_text` has the slot "{region}" in place of the description, as in "What is {region} for?".
    Of the kind "carry" there is at most one question a scene, as likely yes as no; of the kind "tool", which asks
    for a thing by its use, at most one.

    Args:
        scene, view: the scene and how it is seen.
        rng: draws the wordings of questions and answers; all the right answers are `accepted_answers`.
    """
    facts = observe(scene, view)
    asked: list[Question] = []
    for index in members(facts.seen):
        for kind in ("purpose", "push", "drop", "water"):
            description = choose(facts, rng, index)
            answers = _answers(facts, kind, index)
            if description is not None and answers:
                asked.append(_question(rng, kind, description, index, pick(rng, answers)))
    return [*asked, *_carry_question(facts, rng), *_tool_question(facts, rng)]


def accepted_answers(program: Program, scene: Scene, view: Observation) -> tuple[str, ...]:
    """Every wording of the right answer to a purpose question, from its program.

    Raises:
        InputError: the program isn't one of a purpose question, or its description doesn't fit exactly one thing.
    """
    facts = observe(scene, view)
    ask = program.get("ask")
    if ask == "tool":
        found = facts.having((program["shape"],))
        return tuple(name(scene.things[index], ("colour", "shape")) for index in members(found))
    if ask not in PURPOSE_KINDS:
        raise InputError.unknown("kind of purpose question", ask, PURPOSE_KINDS)
    return _answers(facts, ask, only(program["of"], facts))


def _question(rng: np.random.Generator, kind: str, description: Description, index: int, answer: str) -> Question:
    template = pick(rng, _TEMPLATES[kind])
    return Question(
        text=template.format(description.text),
        answer=answer,
        kind=kind,
        things=(index,),
        region_text=template.format(pick(rng, _REGIONS)),
        program={"ask": kind, "of": description.program()},
    )


def _answers(facts: Facts, kind: str, index: int) -> tuple[str, ...]:
    """The right answers; none if they depend on a thing that can't be seen well."""
    thing = facts.things[index]
    if kind == "purpose":
        return tuple(f"for {purpose}" for purpose in PURPOSES[thing.shape])
    if kind == "drop":
        return DROPPED[thing.material]
    if kind == "water":
        return WATER[thing.material]
    if kind == "carry":
        return ("yes",) if thing.shape in FLAT_TOPPED else ("no",)
    return _pushed(facts, index)


def _pushed(facts: Facts, index: int) -> tuple[str, ...]:
    thing = facts.things[index]
    touching = [other for other, t in enumerate(facts.things) if t.on == index or t.inside == index]
    touching += [other for other in (thing.on, thing.inside) if other is not None]
    if not all(facts.seen >> other & 1 for other in touching):
        return ()
    if thing.on is not None:
        return (f"it would fall off the {facts.things[thing.on].shape}", "it would fall down")
    load = next((other for other in facts.things if other.on == index), None)
    if load is not None:
        return (f"the {load.shape} on it would fall down", f"the {load.shape} would fall off")
    holder = None if thing.inside is None else facts.things[thing.inside]
    if holder is not None and holder.shape == "ring":
        return ("it would be stopped by the ring", "the ring would hold it")
    held = next((other for other in facts.things if other.inside == index), None)
    if held is not None and thing.shape == "ring":
        return (f"it would take the {held.shape} along", f"it would push the {held.shape} along")
    return PUSHED[thing.shape]


def _carry_question(facts: Facts, rng: np.random.Generator) -> Iterator[Question]:
    """Asked only where some things could carry another and some couldn't, so that the answer is as likely yes as no.

    Rings and things that already carry something are left out: opinions may differ about them.
    """
    free = [
        index
        for index in members(facts.seen)
        if facts.things[index].shape != "ring" and not any(other.on == index for other in facts.things)
    ]
    flat = [index for index in free if facts.things[index].shape in FLAT_TOPPED]
    pointed = [index for index in free if index not in flat]
    if not flat or not pointed:
        return
    carries = rng.random() < 0.5
    index = pick(rng, flat if carries else pointed)
    description = choose(facts, rng, index, without="shape") or choose(facts, rng, index)
    if description is not None:
        yield _question(rng, "carry", description, index, "yes" if carries else "no")


def _tool_question(facts: Facts, rng: np.random.Generator) -> Iterator[Question]:
    """Which thing is good for something, where there is one only."""
    shapes = [facts.things[i].shape for i in members(facts.seen) if facts.having((facts.things[i].shape,)) == 1 << i]
    if shapes and facts.seen.bit_count() > 1:
        shape = pick(rng, shapes)
        index = facts.having((shape,)).bit_length() - 1
        answer = name(facts.things[index], ("colour", "shape"))
        yield Question(_TOOLS[shape], answer, "tool", (index,), program={"ask": "tool", "shape": shape})
