"""Where a thing can be put: on a free place, beside another thing, on it, inside it; and whether a scene is valid."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from koine.world.scene import WORKSPACE, Camera, Scene
from koine.world.things import FLAT_TOPPED, HOLLOW, Thing

GAP = 0.006
"""Smallest distance in metres between the footprints of two things that stand on the table."""
NESTABLE = ("cube", "ball", "cylinder", "cone")
"""Shapes of small things that fit inside a large ring, under a large arch and on a large flat-topped thing."""
_TRIES = 24


def valid(scene: Scene) -> bool:
    """Whether a scene could have been drawn for its split: nothing overlaps or hovers, no two things look the same,
    and pairs of colour and shape are held out as the split says."""
    looks = {(thing.shape, thing.colour, thing.size, thing.material) for thing in scene.things}
    held_out = any(thing.held_out for thing in scene.things)
    return (
        len(looks) == len(scene.things) > 0
        and held_out == (scene.split == "heldout")
        and all(_stands(scene, index) for index in range(len(scene.things)))
    )


def dependents(scene: Scene, index: int) -> list[int]:
    """The things that stand on thing `index` or are inside it."""
    return [other for other, thing in enumerate(scene.things) if index in (thing.on, thing.inside)]


def is_free(scene: Scene, footprint: float, place: tuple[float, float], without: int | None = None) -> bool:
    """Whether a footprint of this radius (metres) at `place` lies in the workspace and touches no other thing.

    Args:
        without: a thing that is taken away before.
    """
    x_min, x_max, y_min, y_max = WORKSPACE
    if not (x_min <= place[0] <= x_max and y_min <= place[1] <= y_max):
        return False
    return all(
        math.dist(place, thing.position[:2]) >= thing.footprint + footprint + GAP
        for index, thing in enumerate(scene.things)
        if index != without and thing.on is None and thing.inside is None
    )


def on_table(thing: Thing, place: tuple[float, float]) -> Thing:
    """The thing standing free on the table at `place` (metres)."""
    return replace(thing, position=(*place, thing.height / 2), on=None, inside=None)


def anywhere(scene: Scene, rng: np.random.Generator, thing: Thing, without: int | None = None) -> Thing | None:
    """The thing at a random free place; None if none was found."""
    x_min, x_max, y_min, y_max = WORKSPACE
    for x, y in rng.uniform((x_min, y_min), (x_max, y_max), size=(_TRIES, 2)).tolist():
        if is_free(scene, thing.footprint, (x, y), without):
            return on_table(thing, (x, y))
    return None


def shifted(scene: Scene, rng: np.random.Generator, index: int, direction: str) -> Thing | None:
    """Thing `index` moved "left", "right", "forward" (to the camera) or "back" by 5 to 14 cm; None if all is taken."""
    thing = scene.things[index]
    step = _steps(scene.camera)[direction]
    for distance in rng.uniform(0.05, 0.14, size=_TRIES).tolist():
        place = (thing.position[0] + distance * step[0], thing.position[1] + distance * step[1])
        if is_free(scene, thing.footprint, place, index):
            return on_table(thing, place)
    return None


def beside(
    scene: Scene, rng: np.random.Generator, thing: Thing, anchor: int, relation: str, without: int | None = None
) -> Thing | None:
    """The thing standing "left of", "right of", "in front of" or "behind" thing `anchor`; None if nothing is free.

    The relation holds with the margins of `koine.world.facts`, since footprints keep things further apart than these.
    """
    other = scene.things[anchor]
    directions = {"left of": "left", "right of": "right", "in front of": "forward", "behind": "back"}
    along = _steps(scene.camera)[directions[relation]]
    across = (-along[1], along[0])
    nearest = other.footprint + thing.footprint + GAP
    for extra, aside in rng.uniform((0.002, -0.02), (0.05, 0.02), size=(_TRIES, 2)).tolist():
        place = (
            other.position[0] + (nearest + extra) * along[0] + aside * across[0],
            other.position[1] + (nearest + extra) * along[1] + aside * across[1],
        )
        if is_free(scene, thing.footprint, place, without):
            return on_table(thing, place)
    return None


def upon(scene: Scene, thing: Thing, base: int) -> Thing | None:
    """The thing standing on thing `base`; None if it can't: the base must be large and flat-topped, the thing small."""
    under = scene.things[base]
    if under.shape not in FLAT_TOPPED or not _fits(scene, thing, base):
        return None
    x, y, z = under.position
    return replace(thing, position=(x, y, z + under.height / 2 + thing.height / 2), on=base, inside=None)


def within(scene: Scene, thing: Thing, holder: int) -> Thing | None:
    """The thing inside a ring or under an arch; None if it can't: the holder must be large, the thing small."""
    around = scene.things[holder]
    if around.shape not in HOLLOW or not _fits(scene, thing, holder):
        return None
    x, y, _ = around.position
    return replace(thing, position=(x, y, thing.height / 2), on=None, inside=holder)


def standing_free(scene: Scene) -> int:
    """The set (see `koine.world.facts`) of things on the table with nothing on them, around them or inside them."""
    return sum(
        1 << index
        for index, thing in enumerate(scene.things)
        if thing.on is None and thing.inside is None and not dependents(scene, index)
    )


def _fits(scene: Scene, thing: Thing, base: int) -> bool:
    """Small on or in large, on something that stands on the table and has no other thing on or in it."""
    under = scene.things[base]
    return (
        thing.size == "small"
        and thing.shape in NESTABLE
        and under.size == "large"
        and under.on is None
        and under.inside is None
        and not [other for other in dependents(scene, base) if scene.things[other] != thing]
    )


def _stands(scene: Scene, index: int) -> bool:
    thing = scene.things[index]
    partner = thing.on if thing.on is not None else thing.inside
    if partner is None:
        return is_free(scene, thing.footprint, thing.position[:2], index) and _level(thing, 0.0)
    if not 0 <= partner < len(scene.things) or partner == index:
        return False
    base = scene.things[partner]
    close = math.dist(thing.position[:2], base.position[:2]) < 0.005
    if thing.on is None:
        return close and base.shape in HOLLOW and _level(thing, 0.0)
    return close and base.shape in FLAT_TOPPED and _level(thing, base.position[2] + base.height / 2)


def _level(thing: Thing, ground: float) -> bool:
    """Whether a thing's lowest point is at this height (metres)."""
    return abs(thing.position[2] - thing.height / 2 - ground) < 1e-6


def _steps(camera: Camera) -> dict[str, tuple[float, float]]:
    """Unit steps on the table in the camera's directions."""
    sine, cosine = math.sin(camera.azimuth), math.cos(camera.azimuth)
    return {"left": (-cosine, sine), "right": (cosine, -sine), "forward": (-sine, -cosine), "back": (sine, cosine)}
