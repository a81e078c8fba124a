"""Edits of a scene: before, after, and the instruction, as terse as people are and as explicit as one can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from koine.errors import InputError
from koine.world import german, placement
from koine.world.facts import ATTRIBUTES, DIRECTIONS, VALUES, Facts, members, observe, value
from koine.world.language import NUMBERS, article, name, pick, related
from koine.world.referring import Description, choose, describe
from koine.world.render import Observation
from koine.world.scene import MAX_THINGS, Scene, grain
from koine.world.things import LIGHTS, SURFACES, Thing

EDIT_KINDS = ("recolour", "remove", "add", "move", "resize", "material", "surface", "light")


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of a scene and how people ask for it.

    Attributes:
        kind: of `EDIT_KINDS`.
        before, after: the scenes; rendered with the same size and seed they differ only in what was asked for.
        terse: the instruction as people type it, no final stop: "make the cube blue", "remove the odd one out".
        expressive: sentences that say what changes from what to what, where, and what stays.
        german: the terse instruction in German.
        things: the changed thing's index in `before`; of an added thing its index in `after`; none if the surface
            or the light changes.
    """

    kind: str
    before: Scene
    after: Scene
    terse: str
    expressive: str
    german: str
    things: tuple[int, ...] = ()


def edits(scene: Scene, view: Observation, rng: np.random.Generator) -> list[Edit]:
    """One edit of each kind that the scene allows, in the order of `EDIT_KINDS`."""
    drawn = (edit(scene, view, rng, kind) for kind in EDIT_KINDS)
    return [change for change in drawn if change is not None]


def edit(scene: Scene, view: Observation, rng: np.random.Generator, kind: str) -> Edit | None:
    """An edit of one kind; None if the scene allows none that was found (a crowded table, a single thing).

    The scene after it stands as firmly as one that was drawn (`placement.valid`): nothing overlaps, no two things
    look the same, and no pair of colour and shape appears that the scene's split holds out.

    Args:
        scene, view: the scene and how it is seen; only things that are visible well enough are edited.
        rng: draws the thing, the change and the wording.
        kind: of `EDIT_KINDS`.
    Raises:
        InputError: a kind that there isn't.
    """
    if kind not in EDIT_KINDS:
        raise InputError.unknown("kind of edit", kind, EDIT_KINDS)
    facts = observe(scene, view)
    for _ in range(_TRIES):
        change = _MAKERS[kind](facts, rng)
        if change is not None and placement.valid(change.after):
            return change
    return None


_TRIES = 6
_KEEPS = "Everything else stays as it is."
_CHANGES = {
    "colour": ("make {0} {1}", "paint {0} {1}", "turn {0} {1}", "{0} should be {1}"),
    "material": ("make {0} out of {1}", "turn {0} into {1}", "{0} should be made of {1}"),
}
_MATCHES = {
    "colour": ("{0} should have the same colour as {1}", "give {0} the colour of {1}"),
    "material": ("{0} should be made of the same material as {1}", "make {0} out of what {1} is made of"),
}
_DIRECTIONS = {
    "left": ("to the left", "further left"),
    "right": ("to the right", "further right"),
    "forward": ("closer", "towards the camera"),
    "back": ("further back", "away from the camera"),
}
_SURFACE_REQUESTS = (
    "change the surface to {}",
    "put everything on {}",
    "make the table top out of {}",
    "i want {} underneath",
)
_LIGHT_REQUESTS = {
    "daylight": ("switch to daylight", "make it daytime", "light it with daylight"),
    "evening": ("make it evening", "change the light to evening light", "give it an evening mood"),
    "lamp": ("light it with a lamp", "put it under a lamp", "switch the lamp on"),
}
_TONE_REQUESTS = {
    ("daylight", "evening"): ("make the light warmer", "make it golden"),
    ("evening", "daylight"): ("make the light cooler", "make it less yellow"),
}
"""Requests that say how the tone changes; only between the coolest and the warmest light are they unambiguous."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a thing is put, in both languages."""

    relation: str
    english: str
    german: str


def _change_attribute(facts: Facts, rng: np.random.Generator, kind: str, attribute: str) -> Edit | None:
    """Another colour or material for a thing; now and then it isn't named but is that of another thing."""
    target = _target(facts, rng, facts.seen)
    if target is None:
        return None
    index, description = target
    old = value(facts.things[index], attribute)
    new = pick(rng, [word for word in VALUES[attribute] if word != old])
    models = [j for j in members(facts.seen & facts.words[new]) if j != index]
    model = choose(facts, rng, pick(rng, models), without=attribute) if models and rng.random() < 0.5 else None
    if model is None:
        terse = pick(rng, _CHANGES[attribute]).format(description.text, new)
    else:
        terse = pick(rng, _MATCHES[attribute]).format(description.text, model.text)
    kept = [other for other in ATTRIBUTES if other != attribute]
    return Edit(
        kind=kind,
        before=facts.scene,
        after=facts.scene.with_thing(index, **{attribute: new}),
        terse=terse,
        expressive=(
            f"The {name(facts.things[index])} changes its {attribute} from {old} to {new}. "
            f"It keeps its {kept[0]}, {kept[1]}, {kept[2]} and place. {_KEEPS}"
        ),
        german=german.change_request(description, attribute, new, model),
        things=(index,),
    )


def _resize(facts: Facts, rng: np.random.Generator) -> Edit | None:
    """The other size, for a thing that stands free; a larger one must not touch its neighbours."""
    scene = facts.scene
    target = _target(facts, rng, placement.standing_free(scene) & facts.seen)
    if target is None:
        return None
    index, description = target
    thing = facts.things[index]
    new, more, verb = ("large", "larger", "enlarge") if thing.size == "small" else ("small", "smaller", "shrink")
    resized = placement.on_table(replace(thing, size=new), thing.position[:2])
    return Edit(
        kind="resize",
        before=scene,
        after=_replaced(scene, index, resized),
        terse=pick(rng, (f"make {description.text} {more}", f"{verb} {description.text}")),
        expressive=(
            f"The {name(thing)} becomes {more}: in its place stands a {new} {thing.shape} of the same colour and "
            f"material. {_KEEPS}"
        ),
        german=german.change_request(description, "size", new, None),
        things=(index,),
    )


def _remove(facts: Facts, rng: np.random.Generator) -> Edit | None:
    """Takes away a thing on which nothing stands."""
    scene = facts.scene
    bases = sum({1 << thing.on for thing in scene.things if thing.on is not None})
    possible = facts.seen & ~bases
    odd = _odd_one(facts)
    by_oddness = odd is not None and bool(possible >> odd & 1) and rng.random() < 0.5
    target = _target(facts, rng, 1 << odd if by_oddness and odd is not None else possible)
    if target is None or len(scene.things) == 1:
        return None
    index, description = target
    if by_oddness:
        terse = pick(rng, ("remove the odd one out", "take away the one that does not belong"))
    else:
        terse = pick(rng, ("remove {}", "take {} away", "get rid of {}")).format(description.text)
    stays = len(scene.things) - 1
    others = "other thing stays" if stays == 1 else f"other {NUMBERS[stays]} things stay"
    return Edit(
        kind="remove",
        before=scene,
        after=_without(scene, index),
        terse=terse,
        expressive=(
            f"The {name(facts.things[index])} is taken off the table, and what it hid comes into view. "
            f"The {others} in place."
        ),
        german=german.removal_request(None if by_oddness else description),
        things=(index,),
    )


def _odd_one(facts: Facts) -> int | None:
    """The one thing that differs from at least two others in an attribute that all of these share."""
    shown = list(members(facts.glimpsed))
    if len(shown) < 3:
        return None
    odd = set()
    for attribute in ("shape", "colour", "material", "size"):
        sets = [facts.words[word] for word in VALUES[attribute] if facts.words[word]]
        if len(sets) == 2:
            odd |= {found.bit_length() - 1 for found in sets if found.bit_count() == 1}
    return odd.pop() if len(odd) == 1 else None


def _add(facts: Facts, rng: np.random.Generator) -> Edit | None:
    """A new thing: on a free place, beside another thing, on it or inside it."""
    scene = facts.scene
    if len(scene.things) >= MAX_THINGS:
        return None
    shape, colour, size, material = (pick(rng, VALUES[kind]) for kind in ("shape", "colour", "size", "material"))
    yaw, cut = float(rng.uniform(-0.5, 0.5)), grain(scene.seed, len(scene.things))
    thing = Thing(shape, colour, size, material, (0.0, 0.0, 0.0), yaw, grain=cut)
    drawn = _put(facts, rng, thing, None) if rng.random() < 0.7 else None
    if drawn is not None:
        added, place = drawn
        verb, where, spoken, ort = pick(rng, ("put", "place", "add")), f" {place.english}", place.english, place.german
    else:
        free = placement.anywhere(scene, rng, thing)
        if free is None:
            return None
        added, verb, where, spoken, ort = free, "add", "", "on a free place of the table", None
    detail = pick(rng, (("colour", "shape"), ("size", "colour", "shape"), ATTRIBUTES))
    stays = "thing that is there stays" if len(scene.things) == 1 else "things that are there stay"
    return Edit(
        kind="add",
        before=scene,
        after=replace(scene, things=(*scene.things, added)),
        terse=f"{verb} {article(name(thing, detail))}{where}",
        expressive=f"A new thing appears {spoken}: {article(name(thing))}. The {stays} in place.",
        german=german.addition_request(thing, detail, ort),
        things=(len(scene.things),),
    )


def _move(facts: Facts, rng: np.random.Generator) -> Edit | None:
    """A thing that nothing stands on or in goes to a side, or to a place that another thing gives."""
    scene = facts.scene
    movable = sum(1 << i for i in range(len(scene.things)) if not placement.dependents(scene, i))
    target = _target(facts, rng, movable & facts.seen)
    if target is None:
        return None
    index, description = target
    drawn = None
    if rng.random() < 0.6:
        drawn = _put(facts, rng, facts.things[index], index)
    if drawn is not None:
        moved, place = drawn
        subject = _plain(facts, rng, index) or description
        terse = f"{pick(rng, ('put', 'move', 'place'))} {subject.text} {place.english}"
        spoken, said = f"leaves its place and now stands {place.english}", german.move_request(subject, place.german)
    else:
        direction = pick(rng, tuple(_DIRECTIONS))
        shifted = placement.shifted(scene, rng, index, direction)
        if shifted is None:
            return None
        moved, where = shifted, pick(rng, _DIRECTIONS[direction])
        terse = f"{pick(rng, ('move', 'push', 'shift'))} {description.text} {where}"
        spoken, said = f"moves {where}", german.shift_request(description, direction)
    return Edit(
        kind="move",
        before=scene,
        after=_replaced(scene, index, moved),
        terse=terse,
        expressive=f"The {name(facts.things[index])} {spoken} and looks as before. {_KEEPS}",
        german=said,
        things=(index,),
    )


def _put(facts: Facts, rng: np.random.Generator, thing: Thing, without: int | None) -> tuple[Thing, _Place] | None:
    """The thing put on, in or beside another one that words can tell; None if it fits nowhere that was tried."""
    scene = facts.scene
    others = [index for index in members(facts.seen) if index != without]
    if not others:
        return None
    anchor = pick(rng, others)
    words = _plain(facts, rng, anchor)
    if words is None:
        return None
    if without is not None and anchor in (scene.things[without].on, scene.things[without].inside):
        return None  # it is there already
    holds = "inside" if scene.things[anchor].shape == "ring" else "under"
    relation = pick(rng, ("on", holds)) if rng.random() < 0.5 else pick(rng, DIRECTIONS)
    if relation == "on":
        placed = placement.upon(scene, thing, anchor)
    elif relation in DIRECTIONS:
        placed = placement.beside(scene, rng, thing, anchor, relation, without)
    else:
        placed = placement.within(scene, thing, anchor)
    if placed is None:
        return None
    return placed, _Place(relation, f"{related(rng, relation)} {words.text}", german.place(relation, words))


def _surface(facts: Facts, rng: np.random.Generator) -> Edit:
    old = facts.scene.surface
    new = pick(rng, [surface for surface in SURFACES if surface != old])
    return Edit(
        kind="surface",
        before=facts.scene,
        after=replace(facts.scene, surface=new),
        terse=pick(rng, _SURFACE_REQUESTS).format(new),
        expressive=f"The table top changes from {old} to {new}. The things stay where they are, in the same light.",
        german=german.surface_request(new),
    )


def _light(facts: Facts, rng: np.random.Generator) -> Edit:
    old = facts.scene.light
    new = pick(rng, [light for light in LIGHTS if light != old])
    said = _LIGHT_REQUESTS[new] + _TONE_REQUESTS.get((old, new), ())
    return Edit(
        kind="light",
        before=facts.scene,
        after=replace(facts.scene, light=new),
        terse=pick(rng, said),
        expressive=(
            f"The light changes from {_LIGHT_NAMES[old]} to {_LIGHT_NAMES[new]}, and with it the shadows and the tone "
            "of the picture. All the things and the table stay as they are."
        ),
        german=german.light_request(new),
    )


_LIGHT_NAMES = {"daylight": "daylight", "evening": "warm evening light", "lamp": "the light of a lamp"}


def _target(facts: Facts, rng: np.random.Generator, among: int) -> tuple[int, Description] | None:
    """A thing of a set, and words for it."""
    if not among:
        return None
    index = pick(rng, list(members(among)))
    description = choose(facts, rng, index)
    return None if description is None else (index, description)


def _plain(facts: Facts, rng: np.random.Generator, index: int) -> Description | None:
    """Words for a thing that mention no other thing, so that they can stand next to another description."""
    plain: Sequence[Description] = [
        description for description in describe(facts)[index] if not description.anchor and not description.superlative
    ]
    return pick(rng, plain) if plain else None


def _replaced(scene: Scene, index: int, thing: Thing) -> Scene:
    return replace(scene, things=(*scene.things[:index], thing, *scene.things[index + 1 :]))


def _without(scene: Scene, index: int) -> Scene:
    """The scene without a thing; what was inside it stands free, and the others are numbered anew."""

    def renumbered(other: int | None) -> int | None:
        if other is None or other == index:
            return None
        return other - (other > index)

    kept = [thing for position, thing in enumerate(scene.things) if position != index]
    things = (replace(thing, on=renumbered(thing.on), inside=renumbered(thing.inside)) for thing in kept)
    return replace(scene, things=tuple(things))


_MAKERS: dict[str, Callable[[Facts, np.random.Generator], Edit | None]] = {
    "recolour": lambda facts, rng: _change_attribute(facts, rng, "recolour", "colour"),
    "remove": _remove,
    "add": _add,
    "move": _move,
    "resize": _resize,
    "material": lambda facts, rng: _change_attribute(facts, rng, "material", "material"),
    "surface": _surface,
    "light": _light,
}
