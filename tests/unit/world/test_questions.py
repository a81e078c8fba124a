from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from koine.errors import InputError
from koine.world.facts import members, observe
from koine.world.questions import KINDS, evaluate, questions, region_questions
from tests.unit.world.oracle import Oracle, held_out_phrase


@pytest.fixture(scope="module")
def asked(training):
    rng = np.random.default_rng(0)
    return [(scene, view, questions(scene, view, rng)) for scene, view in training]


def test_every_answer_agrees_with_a_second_opinion(asked) -> None:
    for scene, view, drawn in asked:
        oracle = Oracle(scene, view)
        for question in drawn:
            if question.program["ask"] == "nearer":
                one, other = oracle.the(question.program["of"]), oracle.the(question.program["to"])
                nearer = one if oracle.related(one, "in front of", other) else other
                said = "of" if nearer == one else "to"
                assert set(question.answer.split()) >= set(question.program[said]["words"]) - {"wood"}
            else:
                assert question.answer == oracle.answer(question.program), question
            assert question.answer == evaluate(question.program, scene, view)


def test_answers_stay_when_hardly_visible_things_are_not_counted(asked) -> None:
    for scene, view, drawn in asked:
        strict = Oracle(scene, view, least=24)
        for question in drawn:
            if question.program["ask"] in ("count", "exists", "more"):
                assert question.answer == strict.answer(question.program)


def test_every_attribute_of_every_thing_is_asked_for_and_not_given_away(asked) -> None:
    whole = 0
    for scene, view, drawn in asked:
        seen = list(members(observe(scene, view).seen))
        about = [q for q in drawn if q.kind in ("colour", "shape", "size", "material")]
        whole += len(about) == 4 * len(seen)
        assert len({(q.kind, q.things) for q in about}) == len(about)
        for question in about:
            assert question.answer not in question.program["of"]["words"]
            assert question.region_text is not None and question.region_text.count("{region}") == 1
            assert held_out_phrase(question.region_text) is None
    assert whole > 0.95 * len(asked)


def test_yes_and_no_are_as_likely(asked) -> None:
    answers: dict[str, Counter[str]] = {}
    for *_, drawn in asked:
        for question in drawn:
            if question.answer in ("yes", "no"):
                answers.setdefault(question.program["ask"], Counter())[question.answer] += 1
    assert set(answers) == {"exists", "more", "same", "larger", "holds", "anything"}
    assert answers["exists"]["yes"] == answers["exists"]["no"] > 250
    for ask, count in answers.items():
        spread = 4 * np.sqrt(count.total()) / 2
        assert abs(count["yes"] - count["no"]) / 2 < spread, (ask, count)


def test_no_question_names_a_held_out_pair_outside_the_split(asked, heldout) -> None:
    for *_, drawn in asked:
        assert not [q for q in drawn if held_out_phrase(q.text) or held_out_phrase(q.answer)]
    rng = np.random.default_rng(1)
    assert any(held_out_phrase(q.text) for scene, view in heldout for q in questions(scene, view, rng))


def test_all_kinds_are_asked_and_all_are_known(asked) -> None:
    kinds = {question.kind for *_, drawn in asked for question in drawn}
    assert kinds == set(KINDS) - {"name", "choice", "description"}
    texts = [question.text for *_, drawn in asked for question in drawn]
    assert all(text[0].isupper() and text.endswith("?") and "{" not in text for text in texts)


def test_region_questions_are_about_the_region(training) -> None:
    rng = np.random.default_rng(2)
    first, choices = 0, 0
    for scene, view in training:
        drawn = region_questions(scene, view, rng)
        assert len(drawn) == 7 * len(list(members(observe(scene, view).seen)))
        for question in drawn:
            thing = scene.things[question.things[0]]
            assert question.text == question.region_text and question.text.count("{region}") == 1
            assert question.answer == evaluate(question.program, scene, view)
            if question.kind == "choice":
                choices += 1
                first += question.text.index(f" {thing.shape}") < len(question.text) - len(f" {thing.shape}?")
                assert thing.shape in question.text
            elif question.kind == "description":
                assert {thing.size, thing.colour, thing.shape} < set(question.answer.split())
            else:
                assert question.answer == getattr(thing, {"name": "shape"}.get(question.kind, question.kind))
    assert 0.4 < first / choices < 0.6


def test_the_same_seed_asks_the_same(training) -> None:
    drawn = [[q for s, v in training[:30] for q in questions(s, v, np.random.default_rng(seed))] for seed in (4, 4, 5)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


def test_bad_programs_are_named(training) -> None:
    scene, view = next((s, v) for s, v in training if len(s.things) > 1)
    with pytest.raises(InputError, match=r"fits [2-5] things"):
        evaluate({"ask": "colour", "of": {"words": []}}, scene, view)
    with pytest.raises(InputError, match="'age'"):
        evaluate({"ask": "age", "of": {"thing": 0}}, scene, view)
