from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from koine.errors import InputError
from koine.world.physics import FIRST_THING_BODY, build_model
from koine.world.purposes import PUSHED, WATER, accepted_answers, purpose_questions
from koine.world.render import render
from koine.world.scene import Scene, sample_scene
from koine.world.things import MATERIALS, Thing
from tests.unit.world.oracle import Oracle, held_out_phrase


@pytest.fixture(scope="module")
def asked(training):
    rng = np.random.default_rng(0)
    return [(scene, view, purpose_questions(scene, view, rng)) for scene, view in training]


def test_an_answer_is_accepted_and_its_description_fits_one_thing(asked) -> None:
    for scene, view, drawn in asked:
        oracle = Oracle(scene, view)
        for question in drawn:
            assert question.answer in accepted_answers(question.program, scene, view)
            if question.kind == "tool":
                assert oracle.having([question.program["shape"]]) == set(question.things)
            else:
                assert oracle.fitting(question.program["of"]) == set(question.things)
                assert question.region_text is not None and question.region_text.count("{region}") == 1
            assert held_out_phrase(question.text) is None


def test_answers_follow_shape_and_material(asked) -> None:
    word = {
        "cube": ("tower", "stack", "wall"),
        "ball": ("roll", "throw", "ball"),
        "cylinder": ("roll", "pillar"),
        "cone": ("spot", "traffic", "tower"),
        "ring": ("peg", "hold"),
        "arch": ("under", "gate", "bridge"),
    }
    bounce = {"rubber": "bounce", "metal": "clang", "wood": ("clatter", "knock")}
    for scene, _, drawn in asked:
        for question in drawn:
            if question.kind == "purpose":
                assert any(part in question.answer for part in word[scene.things[question.things[0]].shape])
            if question.kind == "drop":
                expected = bounce[scene.things[question.things[0]].material]
                assert any(part in question.answer for part in ([expected] if isinstance(expected, str) else expected))


@pytest.mark.parametrize("material", MATERIALS)
def test_water_agrees_with_the_density_in_the_physics(material) -> None:
    radius = 0.044
    scene = Scene((Thing("ball", "red", "large", material, (0.0, 0.0, radius)),))
    density = build_model(scene).body_mass[FIRST_THING_BODY] / (4 / 3 * np.pi * radius**3)
    sinks = density > 1000.0
    assert all(("sink" in answer) == sinks for answer in WATER[material])
    assert sinks == (material != "wood")


def test_a_push_depends_on_what_is_around_the_thing(training) -> None:
    seen = Counter()
    for scene, view in training:
        for question in purpose_questions(scene, view, np.random.default_rng(0)):
            if question.kind != "push":
                continue
            index = question.things[0]
            thing = scene.things[index]
            carries = any(other.on == index for other in scene.things)
            if thing.on is not None:
                case, part = "top", "fall"
            elif carries:
                case, part = "base", "would fall"
            elif thing.inside is not None and scene.things[thing.inside].shape == "ring":
                case, part = "held", "ring"
            elif thing.shape == "ring" and any(other.inside == index for other in scene.things):
                case, part = "holder", "along"
            else:
                assert question.answer in PUSHED[thing.shape]
                case, part = "free", "would"
            seen[case] += 1
            assert part in question.answer
    assert all(seen[case] > 5 for case in ("top", "base", "held", "holder", "free"))


def test_carrying_is_as_likely_asked_of_flat_things_as_of_others(training) -> None:
    answers = Counter(
        question.answer
        for seed in range(8)
        for scene, view in training
        for question in purpose_questions(scene, view, np.random.default_rng(seed))
        if question.kind == "carry"
    )
    assert answers.total() > 600
    assert abs(answers["yes"] - answers["no"]) < 4 * np.sqrt(answers.total())


def test_a_program_of_another_kind_is_refused() -> None:
    scene = sample_scene(0)
    with pytest.raises(InputError, match="'colour'"):
        accepted_answers({"ask": "colour", "of": {"thing": 0}}, scene, render(scene, 32))
