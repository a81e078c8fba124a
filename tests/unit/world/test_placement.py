from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from koine.world import placement
from koine.world.facts import members
from koine.world.render import render
from koine.world.scene import Scene, sample_scene
from koine.world.things import Thing
from tests.unit.world.oracle import Oracle

BASE = Thing("cube", "red", "large", "metal", (0.0, 0.0, 0.0352))
RING = Thing("ring", "white", "large", "metal", (0.0, 0.0, 0.00968))
BALL = Thing("ball", "white", "small", "wood", (0.08, 0.05, 0.026))


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_drawn_scenes_are_valid(split) -> None:
    assert all(placement.valid(sample_scene(seed, split=split)) for seed in range(200))


@pytest.mark.parametrize(
    ("flaw", "thing"),
    [
        ("overlap", replace(BALL, position=(0.05, 0.0, 0.026))),
        ("nearly touches", replace(BALL, position=(0.080, 0.0, 0.026))),
        ("hovers", replace(BALL, position=(0.08, 0.05, 0.03))),
        ("off the workspace", replace(BALL, position=(0.3, 0.05, 0.026))),
        ("looks like the other", replace(BASE, position=(0.1, 0.1, 0.0352))),
        ("a held-out pair", replace(BALL, colour="purple")),
        ("on it, but beside it", replace(BALL, on=0, position=(0.05, 0.0, 0.0964))),
        ("in what is not hollow", replace(BALL, inside=0, position=(0.0, 0.0, 0.026))),
        ("on a thing that there isn't", replace(BALL, on=5)),
    ],
)
def test_flawed_scenes_are_not_valid(flaw, thing) -> None:
    assert placement.valid(Scene((BASE, BALL)))
    assert placement.valid(Scene((BASE, replace(BALL, position=(0.083, 0.0, 0.026)))))
    assert not placement.valid(Scene((BASE, thing))), flaw


def test_held_out_scenes_need_a_held_out_pair() -> None:
    purple = replace(BALL, colour="purple")
    assert placement.valid(Scene((BASE, purple), split="heldout"))
    assert not placement.valid(Scene((BASE, BALL), split="heldout"))


def test_a_small_thing_stands_on_a_large_flat_one() -> None:
    scene = Scene((BASE, BALL))
    placed = placement.upon(scene, BALL, 0)
    assert placed is not None and placed.on == 0
    assert placed.position == pytest.approx((0.0, 0.0, 0.0704 + 0.026))
    assert placement.valid(Scene((BASE, placed)))
    assert placement.upon(scene, replace(BALL, size="large"), 0) is None
    assert placement.upon(scene, replace(BALL, shape="arch"), 0) is None
    assert placement.upon(Scene((RING, BALL)), BALL, 0) is None
    taken = Scene((BASE, placed))
    assert placement.upon(taken, replace(BALL, colour="red"), 0) is None


def test_a_small_thing_goes_into_a_large_ring() -> None:
    placed = placement.within(Scene((RING, BALL)), BALL, 0)
    assert placed is not None and placed.inside == 0
    assert placement.valid(Scene((RING, placed)))
    assert placement.within(Scene((BASE, BALL)), BALL, 0) is None
    assert placement.within(Scene((replace(RING, size="small"), BALL)), BALL, 0) is None


@pytest.mark.parametrize("relation", ["left of", "right of", "in front of", "behind"])
def test_beside_means_clearly_beside_as_the_camera_sees_it(relation) -> None:
    """The smallest things stand nearest to each other; at the far end of the table the picture shrinks the distance."""
    rng = np.random.default_rng(0)
    roller = Thing("cylinder", "white", "small", "wood", (0.0, 0.0, 0.0))
    y = 0.1 if relation in ("left of", "right of") else 0.0
    for seed in range(60):
        anchor = replace(roller, colour="red", position=(0.0, y, 0.0234))
        scene = Scene((anchor,), camera=sample_scene(seed).camera)
        placed = placement.beside(scene, rng, roller, 0, relation)
        assert placed is not None
        after = replace(scene, things=(*scene.things, placed))
        assert placement.valid(after)
        view = render(after, 64, antialias="none", shadows=False)
        assert Oracle(after, replace(view, visible=view.visible * 0 + 100)).related(1, relation, 0)


def test_shifted_things_go_where_the_camera_says() -> None:
    rng = np.random.default_rng(1)
    scene = Scene((replace(BALL, position=(0.0, 0.0, 0.026)),), camera=sample_scene(3).camera)
    for direction, relation in (
        ("left", "left of"),
        ("right", "right of"),
        ("forward", "in front of"),
        ("back", "behind"),
    ):
        moved = placement.shifted(scene, rng, 0, direction)
        assert moved is not None
        both = replace(scene, things=(moved, replace(scene.things[0], colour="red")))
        view = render(both, 64, antialias="none", shadows=False)
        assert Oracle(both, replace(view, visible=view.visible * 0 + 100)).related(0, relation, 1)


def test_free_places_are_free() -> None:
    rng = np.random.default_rng(2)
    found = 0
    for seed in range(60):
        scene = sample_scene(seed, n=3, kind="scatter")
        placed = placement.anywhere(scene, rng, BALL)
        if placed is not None:
            found += 1
            for thing in scene.things:
                gap = math.dist(placed.position[:2], thing.position[:2]) - placed.footprint - thing.footprint
                assert gap >= 0.006
    assert found > 40


def test_a_crowded_table_has_no_free_place() -> None:
    spots = [(x, y) for x in (-0.11, 0.0, 0.11) for y in (-0.12, -0.01, 0.1)]
    things = tuple(replace(BASE, position=(x, y, 0.0352)) for x, y in spots)
    assert placement.anywhere(Scene(things), np.random.default_rng(0), replace(BASE, shape="arch")) is None


def test_things_that_carry_or_hold_others_do_not_stand_free() -> None:
    inside = replace(BALL, inside=0, position=(0.0, 0.0, 0.026))
    third = replace(BASE, position=(0.11, 0.1, 0.0352))
    scene = Scene((RING, inside, third))
    assert placement.dependents(scene, 0) == [1]
    assert list(members(placement.standing_free(scene))) == [2]
