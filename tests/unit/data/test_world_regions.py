"""Conversations about regions of the world: what they say is true, and nothing held out slips in."""

import re

import numpy as np
import pytest

from koine.data.world_probes import existence_probes, fits, grounding_probes, referring_probes, shared_box_probes
from koine.data.world_regions import Mixture, conversation, conversations, region_of
from koine.sentence import Image, Region
from koine.world.facts import members, observe
from koine.world.referring import describe
from koine.world.render import render
from koine.world.scene import sample_scene
from koine.world.things import COLOURS, HELD_OUT, SHAPES


@pytest.fixture(scope="module")
def views():
    scenes = [sample_scene(seed, split="test") for seed in range(40)]
    return [(scene, render(scene)) for scene in scenes]


@pytest.fixture(scope="module")
def nested_views():
    scenes = [sample_scene(seed, split="test", kind="nested") for seed in range(20)]
    return [(scene, render(scene)) for scene in scenes]


TURNS = ("refer", "purpose", "locate", "describe", "exists", "absent", "ask")


def only(kind, **others):
    return Mixture(**{**dict.fromkeys((*TURNS, "colourless"), 0.0), kind: 1.0, **others})


def exchanges(example):
    return [*example.history, (example.prompt, example.target)]


def test_the_same_seed_gives_the_same_conversations(views):
    first, second = list(conversations(iter(views), seed=3)), list(conversations(iter(views), seed=3))
    assert first == second
    assert list(conversations(iter(views), seed=4)) != first


def test_the_first_prompt_alone_shows_the_picture(views):
    for example in conversations(iter(views), seed=0):
        shown = [any(isinstance(part, Image) for part in prompt) for prompt, _ in exchanges(example)]
        assert shown == [True] + [False] * (len(shown) - 1)


def test_every_kind_of_turn_is_drawn_and_turned_off_by_its_weight(views):
    for kind in TURNS:
        rng = np.random.default_rng(0)
        turns = [
            turn
            for scene, view in views[:12]
            if (example := conversation(scene, view, rng, mixture=only(kind), turns=3))
            for turn in exchanges(example)
        ]
        assert turns
        asks_region = [bool(prompt.regions) for prompt, _ in turns]
        if kind in ("refer", "purpose"):
            assert all(asks_region)
        elif kind in ("describe", "ask"):
            assert not any(asks_region)


def test_conversations_about_recoloured_pictures_say_nothing_of_colours(views):
    colours = set(COLOURS)
    shown = {f"{scene.split}/{scene.seed}": view.image for scene, view in views}
    for example in conversations(iter(views), seed=0, mixture=Mixture(colourless=1.0)):
        assert (example.history[0][0].images[0].pixels != shown[example.id]).any()
        for prompt, target in exchanges(example):
            assert prompt.regions and "colour" not in prompt.text
            assert not colours & set(target.text.split())


def test_boxes_in_answers_are_boxes_of_things_that_their_phrases_name(views):
    rng = np.random.default_rng(1)
    checked = 0
    for scene, view in views:
        example = conversation(scene, view, rng, mixture=only("describe"), turns=1)
        if example is None:
            continue
        said = ""
        for part in example.target:
            if isinstance(part, str):
                said = part
            else:
                assert fits(said, part.bounds, scene, view)
                checked += 1
    assert checked > 40


def test_a_turn_that_locates_asks_for_as_many_things_as_the_mixture_says(views):
    mixture = only("locate", located=(0.0, 0.0, 1.0))
    crowded = [(scene, view) for scene, view in views if len(list(members(observe(scene, view).seen))) >= 3]
    turns = [turn for example in conversations(iter(crowded), seed=0, mixture=mixture) for turn in exchanges(example)]
    numbers = [len(answer.regions) for _, answer in turns]
    assert max(numbers) == 3
    assert np.mean(numbers) > 2.5  # a thing that no expression fits is left out
    single = only("locate", located=(1.0,))
    turns = [turn for example in conversations(iter(crowded), seed=0, mixture=single) for turn in exchanges(example)]
    assert {len(answer.regions) for _, answer in turns} == {1}


def test_things_are_called_by_one_word_that_fits_them_alone(views):
    mixture = only("locate", located=(1.0,), one_word=1.0)
    named = 0
    for scene, view in views:
        facts = observe(scene, view)
        example = conversation(scene, view, np.random.default_rng(0), mixture=mixture, turns=1)
        if example is None or len(example.prompt.regions) or not example.target.regions:
            continue
        words = re.search("location of the (.*) in the image", example.prompt.text)[1].split()
        if len(words) == 2 and words[1] == "thing":
            word = "wood" if words[0] == "wooden" else words[0]
        elif len(words) == 1:
            (word,) = words
        else:
            continue
        box = np.array(example.target.regions[0].bounds)
        meant = [index for index in members(facts.seen) if np.allclose(view.boxes[index], box)]
        assert facts.having((word,)) == 1 << meant[0]
        named += 1
    assert named >= len(views) // 2


def test_involved_expressions_take_more_than_one_look_and_still_fit_one_thing(views):
    """Their text is that of a description with a relation, a superlative, or several words and no shape."""
    mixture, involved = only("locate", located=(1.0,), involved=1.0), 0
    for scene, view in views:
        example = conversation(scene, view, np.random.default_rng(0), mixture=mixture, turns=1)
        if example is None or len(example.prompt.regions) or not example.target.regions:
            continue
        text = re.search("location of (.*) in the image", example.prompt.text)[1]
        found = [(i, d) for i, described in enumerate(describe(observe(scene, view))) for d in described]
        ((index, description),) = {i: d for i, d in found if d.text == text}.items()
        assert np.allclose(view.boxes[index], example.target.regions[0].bounds)
        involved += bool(description.anchor or description.superlative or not description.says("shape"))
    crowded = sum(len(scene.things) > 1 for scene, _ in views)
    assert involved >= 0.9 * crowded, "only things that nothing else sets apart may be called plainly"


def test_the_mixture_says_how_many_regions_are_points(views):
    def share(points):
        examples = conversations(iter(views), seed=0, mixture=only("refer", points=points), turns=4)
        kinds = [region.kind for example in examples for turn, _ in exchanges(example) for region in turn.regions]
        return kinds.count("point") / len(kinds)

    assert share(1.0) == 1.0
    assert abs(share(0.0) - 1 / 3) < 0.12
    assert abs(share(0.4) - 0.6) < 0.12


def test_present_and_absent_things_can_be_named_alike(views):
    mixture, there = only("exists", named_alike=True), 0
    for example in conversations(iter(views), seed=0, mixture=mixture, turns=1):
        if example.target.text.startswith("Yes"):
            there += 1
            named = re.search("(?:there|see) an? (.*?)(?: in the image)?\\?", example.prompt.text)[1]
            colour, shape = named.split()
            assert colour in COLOURS
            assert shape in SHAPES
    assert there > len(views) // 2


def test_regions_lie_on_the_thing_they_refer_to(nested_views):
    rng = np.random.default_rng(2)
    for scene, view in nested_views:
        for index in members(observe(scene, view).seen):
            image, mask = Image(view.image), view.mask(index)
            facts = observe(scene, view)
            point = region_of(facts, view, image, index, "point", rng)
            assert mask[point.to_mask()].all()
            scribble = region_of(facts, view, image, index, "mask", rng, shared_box=True)
            assert mask[scribble.mask].all()
            box = region_of(facts, view, image, index, "box", rng)
            assert box.bounds == tuple(map(float, view.boxes[index]))


def test_points_at_an_edge_are_within_two_pixels_of_another_thing_where_there_is_one(nested_views):
    rng, beside = np.random.default_rng(3), 0
    for scene, view in nested_views:
        facts, image = observe(scene, view), Image(view.image)
        for index in members(facts.seen):
            mask, others = view.mask(index), (view.instance >= 0) & ~view.mask(index)
            point = region_of(facts, view, image, index, "point", rng, at_edge=True)
            ((row, column),) = np.argwhere(point.to_mask())
            near = (slice(max(0, row - 2), row + 3), slice(max(0, column - 2), column + 3))
            assert mask[row, column]
            assert not mask[near].all()
            rows, columns = np.nonzero(others)
            distances = [np.maximum(abs(rows - y), abs(columns - x)).min(initial=64) for y, x in np.argwhere(mask)]
            assert others[near].any() == (min(distances) <= 2)
            beside += others[near].any()
    assert beside > len(nested_views)


def test_the_mixture_says_how_many_points_are_at_an_edge(views):
    def at_edges(edges):
        mixture, found = only("refer", points=1.0, edges=edges), []
        for scene, view in views:
            example = conversation(scene, view, np.random.default_rng(scene.seed), mixture=mixture, turns=4)
            for turn, _ in exchanges(example) if example else ():
                for region in turn.regions:
                    ((row, column),) = np.argwhere(region.to_mask())
                    window = view.instance[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
                    found.append((window != view.instance[row, column]).any())
        return np.mean(found)

    assert at_edges(1.0) == 1.0
    assert at_edges(0.0) < at_edges(0.5) < 1.0


def test_two_things_in_one_box_are_told_apart_by_the_scribble_alone(nested_views):
    probes = list(shared_box_probes(nested_views, seed=0))
    assert len(probes) > 20
    for first, second in zip(probes[::2], probes[1::2], strict=True):
        (one,), (other,) = first.prompt.regions, second.prompt.regions
        assert one.bounds == other.bounds and not (one.mask & other.mask).any()
        assert first.prompt.text == second.prompt.text and first.target != second.target


def test_probes_of_held_out_scenes_ask_about_held_out_pairs():
    scenes = [sample_scene(seed, split="heldout") for seed in range(20)]
    pairs = [(scene, render(scene)) for scene in scenes]
    descriptions = [e.target.text for e in referring_probes(pairs, "box", seed=0) if e.task == "box/description"]
    assert len(descriptions) >= 15
    for text in descriptions:
        assert any(colour in text and text.endswith(shape) for colour, shape in HELD_OUT)


def test_training_text_never_names_a_held_out_pair():
    scenes = [sample_scene(seed) for seed in range(150)]
    pattern = re.compile("|".join(rf"\b{colour} (\w+ )?{shape}" for colour, shape in HELD_OUT))
    for example in conversations(((scene, render(scene)) for scene in scenes), seed=0):
        for prompt, target in exchanges(example):
            assert not pattern.search(prompt.text) and not pattern.search(target.text)


def test_grounding_probes_name_one_thing_and_give_its_box(views):
    probes = list(grounding_probes(views, seed=0))
    assert len(probes) > 30
    for probe in probes:
        (box,) = probe.target.regions
        assert box.kind == "box" and isinstance(box, Region)


def test_existence_probes_are_balanced_and_true(views):
    probes = list(existence_probes(views, seed=0))
    assert [probe.target.text for probe in probes] == ["yes", "no"] * (len(probes) // 2)
    by_id = {f"{scene.split}/{scene.seed}": scene for scene, _ in views}
    for probe in probes:
        scene = by_id[probe.id]
        colour, shape = re.search(r"an? (\w+) (\w+)", probe.prompt.text).groups()
        there = any((thing.colour, thing.shape) == (colour, shape) for thing in scene.things)
        assert there == (probe.target.text == "yes")
