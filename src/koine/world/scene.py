"""A scene: things on a table under a light, seen by a camera; drawn at random from a seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from koine.errors import InputError
from koine.world.things import (
    COLOURS,
    FLAT_TOPPED,
    HELD_OUT,
    HOLLOW,
    LIGHTS,
    MATERIALS,
    SHAPES,
    SIZES,
    SURFACES,
    Thing,
    footprint_radius,
    full_height,
)

Split = Literal["train", "validation", "test", "heldout"]
Kind = Literal["any", "single", "scatter", "nested", "stacked"]

SPLITS: tuple[Split, ...] = ("train", "validation", "test", "heldout")
KINDS: tuple[Kind, ...] = ("any", "single", "scatter", "nested", "stacked")
_MIXED_KINDS: tuple[Kind, ...] = ("single", "scatter", "nested", "stacked")
_MIXED_SHARES = (0.15, 0.50, 0.20, 0.15)

WORKSPACE = (-0.115, 0.115, -0.125, 0.105)
"""x_min, x_max, y_min, y_max in metres: where things are put."""
_GAP = 0.006
"""Smallest distance in metres between two footprints."""
MAX_THINGS = 5


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks at a point of the table.

    Attributes:
        azimuth: radians about z; 0 looks along +y.
        elevation: radians above the table plane.
        distance: metres from the target.
        target: the point looked at, metres.
        fovy: vertical field of view, radians.
    """

    azimuth: float = 0.0
    elevation: float = math.radians(38.0)
    distance: float = 0.62
    target: tuple[float, float, float] = (0.0, 0.0, 0.012)
    fovy: float = math.radians(28.0)


@dataclass(frozen=True)
class Scene:
    """What stands on the table and how it is seen; everything else of the world is computed from this.

    Attributes:
        things: in no particular order; `Thing.on` and `Thing.inside` index this tuple.
        surface, light: words of `SURFACES` and `LIGHTS`.
        camera: the view.
        seed: the number it was drawn from (also places the table top's pattern).
        split: the split it was drawn for.
    """

    things: tuple[Thing, ...]
    surface: str = "wood"
    light: str = "daylight"
    camera: Camera = Camera()
    seed: int = 0
    split: Split = "train"

    def with_thing(self, index: int, **changes: object) -> Scene:
        """The same scene with some attributes of one thing changed."""
        things = list(self.things)
        things[index] = replace(things[index], **changes)  # type: ignore[arg-type]
        return replace(self, things=tuple(things))


def sample_scene(seed: int, *, split: Split = "train", kind: Kind = "any", n: int | None = None) -> Scene:
    """Draw a scene; the same arguments give the same scene on every machine.

    Args:
        seed: any non-negative integer. Splits draw from separate streams, so a seed never repeats across splits.
        split: `heldout` scenes show at least one colour-shape pair of `HELD_OUT`; all others show none.
        kind: `single` thing; `scatter` = things side by side; `nested` = one inside a ring or under an arch;
            `stacked` = one standing on another; `any` = a mixture (15 / 50 / 20 / 15 %).
        n: number of things in 1..5 (nested and stacked: 2..5), drawn if None.

    Raises:
        InputError: unknown split or kind, or a number of things that does not fit.
    """
    if split not in SPLITS:
        raise InputError(f"split {split!r} is not known: choose one of {', '.join(SPLITS)}")
    if kind not in KINDS:
        raise InputError(f"scene kind {kind!r} is not known: choose one of {', '.join(KINDS)}")
    if seed < 0:
        raise InputError(f"scene seed {seed} is negative: give a whole number from 0")
    rng = np.random.default_rng((seed, SPLITS.index(split)))
    drawn: Kind = kind
    if kind == "any":
        drawn = _draw_kind(rng) if n is None or n > 1 else "single"
    count = n if n is not None else _draw_count(rng, drawn)
    least = 2 if drawn in ("nested", "stacked") else 1
    if not least <= count <= MAX_THINGS:
        raise InputError(f"{count} things do not make a {drawn} scene: give {least} to {MAX_THINGS}")
    forced = int(rng.integers(count)) if split == "heldout" else None
    things: tuple[Thing, ...] | None = None
    while things is None:  # a crowded draw may find no free place: draw again
        things = _draw_things(rng, drawn, count, forced)
    camera = Camera(
        azimuth=float(rng.uniform(-0.16, 0.16)),
        elevation=math.radians(float(rng.uniform(35.0, 43.0))),
        distance=float(rng.uniform(0.60, 0.65)),
    )
    return Scene(
        things=tuple(replace(thing, grain=grain(seed, index)) for index, thing in enumerate(things)),
        surface=SURFACES[rng.integers(len(SURFACES))],
        light=LIGHTS[rng.integers(len(LIGHTS))],
        camera=camera,
        seed=seed,
        split=split,
    )


def grain(seed: int, index: int) -> float:
    """`Thing.grain` of thing `index` of the scene drawn from `seed`: multiples of the golden section lie well apart."""
    return ((seed + index) * 0.381966) % 1.0


def _draw_kind(rng: np.random.Generator) -> Kind:
    return _MIXED_KINDS[int(np.searchsorted(np.cumsum(_MIXED_SHARES), rng.random()))]


def _draw_count(rng: np.random.Generator, kind: Kind) -> int:
    if kind == "single":
        return 1
    return int(rng.integers(2, MAX_THINGS + 1))


def _draw_things(rng: np.random.Generator, kind: Kind, count: int, forced: int | None) -> tuple[Thing, ...] | None:
    """Draw attributes and places; None if the table is too crowded. `forced` names the thing of a held-out pair."""
    things: list[Thing] = []
    looks: set[tuple[str, str, str, str]] = set()
    for index in range(count):
        pair = index - 1 if index == 1 else None  # thing 1 of a nested or stacked scene belongs to thing 0
        if kind == "nested" and index < 2:
            shapes: tuple[str, ...] = HOLLOW if index == 0 else ("cube", "ball", "cylinder", "cone")
            size = "large" if index == 0 else "small"
        elif kind == "stacked" and index < 2:
            shapes = FLAT_TOPPED if index == 0 else ("cube", "ball", "cylinder", "cone")
            size = "large" if index == 0 else "small"
        else:
            shapes, size = SHAPES, str(rng.choice(list(SIZES)))
        shape, colour = _draw_look(rng, shapes, held_out=index == forced)
        material = str(MATERIALS[rng.integers(len(MATERIALS))])
        if (shape, colour, size, material) in looks:
            return None  # two things that no words can tell apart
        looks.add((shape, colour, size, material))
        yaw = float(rng.uniform(-0.5, 0.5)) if shape == "arch" else float(rng.uniform(-math.pi, math.pi))
        if kind in ("nested", "stacked") and pair == 0:
            things.append(_place_with(rng, things[0], kind, shape, colour, size, material, yaw))
            continue
        place = _free_place(rng, things, footprint_radius(shape, size))
        if place is None:
            return None
        position = (*place, full_height(shape, size) / 2)
        things.append(Thing(shape, colour, size, material, position, yaw))
    return tuple(things)


def _draw_look(rng: np.random.Generator, shapes: tuple[str, ...], *, held_out: bool) -> tuple[str, str]:
    pairs = [(shape, colour) for shape in shapes for colour in COLOURS if ((colour, shape) in HELD_OUT) == held_out]
    return pairs[int(rng.integers(len(pairs)))]


def _place_with(
    rng: np.random.Generator, base: Thing, kind: Kind, shape: str, colour: str, size: str, material: str, yaw: float
) -> Thing:
    """A thing inside (nested) or on top of (stacked) the base, which is thing 0."""
    x, y, _ = base.position
    half = full_height(shape, size) / 2
    if kind == "nested":
        jitter = rng.uniform(-0.002, 0.002, size=2)
        return Thing(shape, colour, size, material, (x + float(jitter[0]), y + float(jitter[1]), half), yaw, inside=0)
    return Thing(shape, colour, size, material, (x, y, base.height + half), yaw, on=0)


def _free_place(rng: np.random.Generator, things: list[Thing], footprint: float) -> tuple[float, float] | None:
    x_min, x_max, y_min, y_max = WORKSPACE
    candidates = rng.uniform((x_min, y_min), (x_max, y_max), size=(24, 2))
    if not things:
        return float(candidates[0, 0]), float(candidates[0, 1])
    standing = [thing for thing in things if thing.on is None and thing.inside is None]
    centres = np.array([thing.position[:2] for thing in standing])
    reach = np.array([thing.footprint for thing in standing]) + footprint + _GAP
    apart = np.linalg.norm(candidates[:, None] - centres[None], axis=-1) >= reach[None]
    free = np.flatnonzero(apart.all(axis=1))
    if free.size == 0:
        return None
    return float(candidates[free[0], 0]), float(candidates[free[0], 1])
