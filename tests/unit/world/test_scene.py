"""Scenes: deterministic, physically possible, and true to their split."""

import numpy as np
import pytest

from koine.errors import InputError
from koine.world.scene import KINDS, SPLITS, sample_scene
from koine.world.things import COLOURS, HELD_OUT, SHAPES


@pytest.mark.parametrize("split", SPLITS)
def test_the_same_seed_gives_the_same_scene(split):
    assert [sample_scene(seed, split=split) for seed in range(20)] == [
        sample_scene(seed, split=split) for seed in range(20)
    ]


def test_splits_draw_from_separate_streams():
    scenes = {split: sample_scene(7, split=split, kind="scatter", n=3).things for split in SPLITS}
    assert len(set(scenes.values())) == len(SPLITS)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_held_out_pairs_never_occur_outside_their_split(split):
    assert not any(thing.held_out for seed in range(400) for thing in sample_scene(seed, split=split).things)


def test_every_held_out_scene_shows_a_held_out_pair_and_all_pairs_occur():
    shown = set()
    for seed in range(400):
        pairs = {(thing.colour, thing.shape) for thing in sample_scene(seed, split="heldout").things} & HELD_OUT
        assert pairs
        shown |= pairs
    assert shown == HELD_OUT


def test_every_word_of_a_held_out_pair_is_seen_in_training_with_other_partners():
    pairs = {(thing.colour, thing.shape) for seed in range(2000) for thing in sample_scene(seed).things}
    assert pairs == {(colour, shape) for colour in COLOURS for shape in SHAPES} - HELD_OUT


def test_things_on_the_table_do_not_intersect():
    for seed in range(200):
        things = [thing for thing in sample_scene(seed).things if thing.on is None and thing.inside is None]
        for i, first in enumerate(things):
            for second in things[:i]:
                apart = np.linalg.norm(np.subtract(first.position[:2], second.position[:2]))
                assert apart >= first.footprint + second.footprint


def test_kinds_are_what_they_say():
    for seed in range(60):
        assert len(sample_scene(seed, kind="single").things) == 1
        nested = sample_scene(seed, kind="nested")
        assert nested.things[1].inside == 0 and nested.things[0].shape in ("ring", "arch")
        stacked = sample_scene(seed, kind="stacked")
        assert stacked.things[1].on == 0
        upper, lower = stacked.things[1], stacked.things[0]
        assert upper.position[2] - upper.height / 2 == pytest.approx(lower.height)


def test_no_two_things_of_a_scene_look_the_same():
    for seed in range(200):
        looks = [(thing.shape, thing.colour, thing.size, thing.material) for thing in sample_scene(seed).things]
        assert len(set(looks)) == len(looks)


def test_every_thing_is_cut_from_another_place_of_the_wood():
    scene = sample_scene(7, kind="scatter", n=5)
    assert [thing.grain for thing in scene.things] == [(7 + index) * 0.381966 % 1 for index in range(5)]
    assert scene.things[1].grain == sample_scene(8).things[0].grain == pytest.approx(0.055728)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "negative"),
        ({"seed": 0, "split": "dev"}, "split 'dev' is not known"),
        ({"seed": 0, "kind": "heap"}, "scene kind 'heap' is not known"),
        ({"seed": 0, "n": 9}, "9 things"),
        ({"seed": 0, "kind": "nested", "n": 1}, "1 things do not make a nested scene"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        sample_scene(**arguments)


def test_a_number_of_things_can_be_asked_for():
    assert "any" in KINDS
    assert [len(sample_scene(3, n=n).things) for n in (1, 2, 3, 4, 5)] == [1, 2, 3, 4, 5]
