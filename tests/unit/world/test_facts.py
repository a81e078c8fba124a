from __future__ import annotations

from dataclasses import replace

from koine.world.facts import CONTACTS, DIRECTIONS, members, mentions_held_out, observe
from koine.world.render import render
from koine.world.scene import Camera, Scene
from koine.world.things import Thing
from tests.unit.world.oracle import Oracle


def test_relations_and_words_agree_with_a_second_opinion(training) -> None:
    for scene, view in training:
        facts, oracle = observe(scene, view), Oracle(scene, view)
        n = len(scene.things)
        for relation in (*DIRECTIONS, *CONTACTS):
            said = {(i, j) for j in range(n) for i in members(facts.relations[relation][j])}
            assert said == {(i, j) for i in range(n) for j in range(n) if oracle.related(i, relation, j)}
        for word, found in facts.words.items():
            assert set(members(found)) == oracle.having([word])


def test_a_thing_behind_another_is_glimpsed_but_not_spoken_of() -> None:
    front = Thing("cube", "red", "large", "wood", (0.0, -0.05, 0.0352))
    hidden = Thing("ball", "blue", "small", "wood", (0.0, 0.02, 0.026))
    scene = Scene((front, hidden), camera=Camera(azimuth=0.0))
    view = render(scene, 64)
    facts = observe(scene, view)
    assert list(members(facts.seen)) == [0]
    few = replace(view, visible=view.visible * 0 + 23)
    assert observe(scene, few).seen == 0
    assert list(members(observe(scene, few).glimpsed)) == [0, 1]
    enough = replace(view, visible=view.visible * 0 + 24)
    assert list(members(observe(scene, enough).seen)) == [0, 1]


def test_the_least_number_of_pixels_grows_with_the_picture(training) -> None:
    scene, _ = training[0]
    view = render(scene, (128, 128))
    few = replace(view, visible=view.visible * 0 + 95)
    assert observe(scene, few).seen == 0
    assert observe(scene, replace(view, visible=view.visible * 0 + 96)).seen == (1 << len(scene.things)) - 1


def test_facts_of_another_view_are_not_those_remembered(training) -> None:
    (scene, view), (other, other_view) = training[:2]
    assert observe(scene, view) is observe(scene, view)
    assert observe(other, other_view).scene is other
    assert observe(scene, replace(view, visible=view.visible * 0)).seen == 0


def test_a_held_out_pair_is_found_in_a_phrase_and_not_across_phrases() -> None:
    assert mentions_held_out("A Red metal RING!")
    assert mentions_held_out("two green wooden cones")
    assert mentions_held_out("blue, cube")
    assert not mentions_held_out("a red cube and a ring")
    assert not mentions_held_out("a red ball")
