from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from koine.errors import InputError
from koine.world import placement
from koine.world.edits import EDIT_KINDS, edit, edits
from koine.world.referring import expressions
from koine.world.render import render
from koine.world.scene import Scene, sample_scene
from koine.world.things import Thing
from tests.unit.world.oracle import Oracle, held_out_phrase


@pytest.fixture(scope="module")
def changes(training):
    rng = np.random.default_rng(0)
    return [(scene, view, change) for scene, view in training for change in edits(scene, view, rng)]


def test_every_kind_is_made_of_most_scenes(changes, training) -> None:
    count = Counter(change.kind for *_, change in changes)
    assert set(count) == set(EDIT_KINDS)
    assert min(count.values()) > 0.6 * len(training)


def test_the_scene_after_is_valid_and_differs_only_in_what_was_asked_for(changes) -> None:
    for scene, _, change in changes:
        before, after = change.before, change.after
        assert before is scene
        assert placement.valid(after)
        assert before != after
        assert (before.camera, before.seed, before.split) == (after.camera, after.seed, after.split)
        assert (before.surface != after.surface) == (change.kind == "surface")
        assert (before.light != after.light) == (change.kind == "light")
        if change.kind in ("surface", "light"):
            assert before.things == after.things and change.things == ()
            continue
        (index,) = change.things
        if change.kind == "add":
            assert after.things[:index] == before.things and index == len(before.things) == len(after.things) - 1
        elif change.kind == "remove":
            gone = before.things[index]
            looks = [(t.shape, t.colour, t.size, t.material, t.position) for t in before.things if t is not gone]
            assert [(t.shape, t.colour, t.size, t.material, t.position) for t in after.things] == looks
        else:
            differing = [
                i for i, pair in enumerate(zip(before.things, after.things, strict=True)) if pair[0] != pair[1]
            ]
            assert differing == [index]
            attribute = {"recolour": "colour", "material": "material", "resize": "size", "move": "position"}[
                change.kind
            ]
            old, new = before.things[index], after.things[index]
            for other in ("shape", "colour", "size", "material"):
                assert (getattr(old, other) != getattr(new, other)) == (other == attribute)


def test_instructions_mean_the_thing_that_changes(changes) -> None:
    for scene, view, change in changes:
        if change.kind in ("recolour", "material", "resize", "move") or (
            change.kind == "remove" and "odd" not in change.terse and "belong" not in change.terse
        ):
            said = expressions(scene, view, change.things[0])
            assert any(expression in change.terse for expression in said), change.terse


WORDINGS = {
    "to the left of": "left of",
    "left of": "left of",
    "to the right of": "right of",
    "right of": "right of",
    "in front of": "in front of",
    "behind": "behind",
    "on top of": "on",
    "on": "on",
    "inside": "inside",
    "in": "inside",
    "under": "under",
}


def test_moves_and_additions_end_where_the_instruction_says(changes) -> None:
    checked: Counter[str] = Counter()
    for scene, view, change in changes:
        if change.kind not in ("add", "move") or " moves " in change.expressive or "free place" in change.expressive:
            continue
        (index,) = change.things
        ends = [
            (relation, j)
            for wording, relation in WORDINGS.items()
            for j in range(len(scene.things))
            for expression in expressions(scene, view, j)
            if j != index and change.terse.endswith(f" {wording} {expression}")
        ]
        assert len(set(ends)) == 1, change.terse
        relation, j = ends[0]
        after = render(change.after, 64, antialias="none", shadows=False)
        assert Oracle(change.after, replace(after, visible=after.visible * 0 + 100)).related(index, relation, j)
        checked[relation] += 1
    assert checked.total() > 100 and set(checked) == set(WORDINGS.values())


def test_shifts_go_the_way_the_instruction_says(changes) -> None:
    checked = 0
    for scene, _, change in changes:
        if change.kind != "move" or " moves " not in change.expressive:
            continue
        index = change.things[0]
        ghost = replace(change.after, things=(change.after.things[index], scene.things[index]))
        view = render(ghost, 64, antialias="none", shadows=False)
        oracle = Oracle(ghost, replace(view, visible=view.visible * 0 + 100))
        words = {"left": "left of", "right": "right of", "closer": "in front of", "towards": "in front of"}
        words |= {"back": "behind", "away": "behind"}
        tail = change.expressive.split(" moves ")[1].split(" and looks")[0].split()
        (relation,) = {words[word] for word in tail if word in words}
        assert oracle.related(0, relation, 1), change.terse
        checked += 1
    assert checked > 50


def test_the_odd_one_is_the_only_one_that_does_not_fit(changes) -> None:
    odd = [(scene, change) for scene, _, change in changes if "odd" in change.terse or "belong" in change.terse]
    assert len(odd) > 5
    for scene, change in odd:
        (index,) = change.things
        others = [thing for i, thing in enumerate(scene.things) if i != index]
        assert len(others) >= 2
        assert any(
            len({getattr(thing, attribute) for thing in others}) == 1
            and getattr(others[0], attribute) != getattr(scene.things[index], attribute)
            for attribute in ("shape", "colour", "material", "size")
        )


def test_values_that_are_not_said_are_those_of_the_thing_named(changes) -> None:
    matched = [(s, v, c) for s, v, c in changes if "same colour as " in c.terse or "the colour of " in c.terse]
    assert len(matched) > 10
    for scene, view, change in matched:
        model = change.terse.split(" colour as " if " colour as " in change.terse else " the colour of ")[1]
        (j,) = (i for i in range(len(scene.things)) if model in expressions(scene, view, i))
        assert change.after.things[change.things[0]].colour == scene.things[j].colour


def test_the_expressive_instruction_says_what_was_and_what_is(changes) -> None:
    for scene, _, change in changes:
        assert change.expressive.endswith(".") and change.expressive[0].isupper()
        assert len(change.expressive) > len(change.terse)
        if change.kind == "recolour":
            (index,) = change.things
            old, new = scene.things[index].colour, change.after.things[index].colour
            assert f"from {old} to {new}" in change.expressive
        if change.kind == "surface":
            assert f"from {scene.surface} to {change.after.surface}" in change.expressive
            assert change.after.surface in change.terse


def test_no_edit_makes_or_names_a_held_out_pair_outside_the_split(changes, heldout) -> None:
    for *_, change in changes:
        assert not any(thing.held_out for thing in change.after.things)
        assert held_out_phrase(change.terse) is None and held_out_phrase(change.expressive) is None
    rng = np.random.default_rng(1)
    for scene, view in heldout:
        for change in edits(scene, view, rng):
            assert any(thing.held_out for thing in change.after.things)


def test_german_says_it_too(changes) -> None:
    assert all(change.german.endswith(".") and "  " not in change.german for *_, change in changes)
    start = {"remove": "Entferne ", "surface": "Stelle alles auf ", "light": "Zeige das Bild "}
    for *_, change in changes:
        assert change.german.startswith(start.get(change.kind, ("Mache ", "Stelle ", "Schiebe ", "Füge ")))


def test_the_last_thing_is_never_removed(training) -> None:
    alone = [(scene, view) for scene, view in training if len(scene.things) == 1]
    assert alone
    for scene, view in alone:
        assert edit(scene, view, np.random.default_rng(0), "remove") is None


def test_things_that_stand_on_others_still_do_when_one_before_them_is_gone() -> None:
    cone = Thing("cone", "white", "small", "wood", (-0.1, 0.0, 0.0247))
    cube = Thing("cube", "red", "large", "metal", (0.0, 0.0, 0.0352))
    ball = Thing("ball", "green", "small", "wood", (0.0, 0.0, 0.0964), on=1)
    scene = Scene((cone, cube, ball))
    assert placement.valid(scene)
    view = render(scene, 64)
    removals = [edit(scene, view, np.random.default_rng(seed), "remove") for seed in range(30)]
    gone = {change.things[0]: change.after.things for change in removals if change is not None}
    assert set(gone) == {0, 2}  # the cube carries the ball
    assert gone[0] == (cube, replace(ball, on=0))
    assert gone[2] == (cone, cube)


def test_no_edit_changes_the_grain_of_a_thing(changes) -> None:
    removed = 0
    for scene, _, change in changes:
        before, after = ([thing.grain for thing in s.things] for s in (scene, change.after))
        if change.kind == "remove":
            del before[change.things[0]]
            removed += change.things[0] < len(before)  # things after the removed one are numbered anew
        assert after[: len(before)] == before
        assert len(after) == len(before) + (change.kind == "add")
    assert removed > 20


def test_what_stays_looks_the_same_when_something_before_it_is_removed() -> None:
    scene = sample_scene(0, kind="scatter", n=2)
    wooden = replace(scene.things[1], material="wood", grain=0.3)
    scene = replace(scene, things=(scene.things[0], wooden))
    before = render(scene, 96, shadows=False)
    after = render(replace(scene, things=(wooden,)), 96, shadows=False)
    both = np.stack([before.mask(1), after.mask(0)]).all(axis=0)
    inside = both[1:-1, 1:-1] & both[:-2, 1:-1] & both[2:, 1:-1] & both[1:-1, :-2] & both[1:-1, 2:]
    assert inside.sum() > 30
    assert np.array_equal(before.image[1:-1, 1:-1][inside], after.image[1:-1, 1:-1][inside])


def test_the_same_seed_makes_the_same_edits(training) -> None:
    drawn = [[e for s, v in training[:20] for e in edits(s, v, np.random.default_rng(seed))] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


def test_an_unknown_kind_is_named(training) -> None:
    with pytest.raises(InputError, match="'repaint'"):
        edit(*training[0], np.random.default_rng(0), "repaint")
