from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from koine.errors import InputError
from koine.world.facts import observe
from koine.world.referring import (
    Description,
    choose,
    descriptions,
    expressions,
    from_program,
    resolve,
)
from koine.world.scene import Scene
from tests.unit.world.oracle import Oracle, held_out_phrase


def test_every_expression_fits_its_thing_alone(training, heldout) -> None:
    for scene, view in (*training, *heldout):
        oracle = Oracle(scene, view)
        for index in range(len(scene.things)):
            for description in descriptions(scene, view, index):
                assert resolve(description, scene, view) == {index}
                assert oracle.fitting(description.program()) == {index}


def test_every_thing_that_is_seen_has_expressions_and_their_texts_differ_between_things(training) -> None:
    for scene, view in training:
        said = [expressions(scene, view, index) for index in range(len(scene.things))]
        for index, pixels in enumerate(view.visible):
            assert bool(said[index]) == bool(pixels >= 24)
        flat = [text for texts in said for text in texts]
        assert len(set(flat)) == len(flat)


def test_all_three_ways_to_refer_are_used(training) -> None:
    texts = {text for scene, view in training for i in range(len(scene.things)) for text in expressions(scene, view, i)}
    for part in (
        " inside the ",
        " around the ",
        " under the ",
        " on the ",
        " below the ",
        " left of the ",
        " behind the ",
    ):
        assert any(part in text for text in texts), part
    for start in ("the leftmost ", "the largest ", "the smallest "):
        assert any(text.startswith(start) for text in texts), start
    assert any(text.endswith("nearest to the camera") for text in texts)


def test_word_expressions_are_minimal(training) -> None:
    for scene, view in training[:100]:
        facts = observe(scene, view)
        for index in range(len(scene.things)):
            plain = [d for d in descriptions(scene, view, index) if d.anchor is None and d.superlative is None]
            for description in plain:
                if len(description.words) == 4:
                    continue  # all the words are always offered
                adjectives = description.words[:-1]
                for word in adjectives:
                    fewer = tuple(other for other in description.words if other != word)
                    noun_is_idle = facts.having(adjectives).bit_count() == 1
                    assert facts.having(fewer).bit_count() != 1 or noun_is_idle


def test_programs_survive_json(training) -> None:
    for scene, view in training[:50]:
        for index in range(len(scene.things)):
            for description in descriptions(scene, view, index):
                assert from_program(json.loads(json.dumps(description.program()))) == description


def test_a_relation_to_an_ambiguous_anchor_fits_nothing(training) -> None:
    for scene, view in training:
        anchor = Description(("cube",))
        if len(resolve(anchor, scene, view)) > 1:
            assert resolve(Description((), None, "left of", anchor), scene, view) == set()
            return
    pytest.fail("no scene with two cubes")


def test_choice_keeps_an_attribute_to_itself(training) -> None:
    rng = np.random.default_rng(0)
    colours = {"red", "orange", "yellow", "green", "cyan", "blue", "purple", "white"}
    chosen = 0
    for scene, view in training[:100]:
        facts = observe(scene, view)
        for index in range(len(scene.things)):
            if (description := choose(facts, rng, index, without="colour")) is not None:
                chosen += 1
                assert not colours & set(description.words)
            if (description := choose(facts, rng, index, without="size")) is not None:
                assert description.superlative not in ("largest", "smallest")
            if (description := choose(facts, rng, index, without="shape")) is not None:
                assert description.relation not in ("around", "over")
    assert chosen > 100


def test_a_look_alike_leaves_only_places_to_tell_two_things_apart(training) -> None:
    scene, view = next((s, v) for s, v in training if len(s.things) == 2 and not s.things[1].inside)
    first = scene.things[0]
    twin = replace(scene.things[1], shape=first.shape, colour=first.colour, size=first.size, material=first.material)
    twins = Scene((first, twin), camera=scene.camera)
    for index in (0, 1):
        for description in descriptions(twins, view, index):
            assert description.superlative or description.anchor


def test_texts_never_name_held_out_pairs_outside_their_split(training, heldout) -> None:
    for scene, view in training:
        for index in range(len(scene.things)):
            assert not [t for t in expressions(scene, view, index) if held_out_phrase(t)]
    named = [held_out_phrase(t) for s, v in heldout for i in range(len(s.things)) for t in expressions(s, v, i)]
    assert any(named)


def test_bad_input_is_named(training) -> None:
    scene, view = training[0]
    with pytest.raises(InputError, match="thing 9 is not in the scene"):
        expressions(scene, view, 9)
    with pytest.raises(InputError, match="'reed'"):
        from_program({"words": ["reed"]})
    with pytest.raises(InputError, match="'best'"):
        from_program({"words": [], "superlative": "best"})
    with pytest.raises(InputError, match="only one of relation and anchor"):
        from_program({"words": [], "relation": "on"})
