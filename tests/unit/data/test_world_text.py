"""Captions, phrases and documents about the world."""

import numpy as np

from koine.data.world_captions import captions
from koine.data.world_phrases import UNSAID, attribute_codes, phrase_index, phrases
from koine.data.world_text import documents
from koine.world import cache
from koine.world.facts import ATTRIBUTES, VALUES
from koine.world.language import article, name


def rendered(tmp_path, monkeypatch, **options):
    monkeypatch.setattr(cache, "SHARD", 12)
    return cache.rendered_scenes("test", 12, folder=tmp_path, workers=1, **options)


def test_captions_of_single_things_leave_words_out_and_say_only_what_is_true(tmp_path, monkeypatch):
    scenes = rendered(tmp_path, monkeypatch, kind="single")
    texts = captions(scenes, per_scene=8, seed=0)
    assert texts == captions(scenes, per_scene=8, seed=0) and all(len(row) == 8 for row in texts)
    words = {word for attribute in ("size", "colour", "shape") for word in VALUES[attribute]}
    lengths = set()
    for row, (scene, _) in zip(texts, scenes, strict=True):
        thing = scene.things[0]
        for text in row:
            said = {word for word in text.split() if word in words}
            assert said <= {thing.size, thing.colour, thing.shape}
            lengths.add(len(said))
    assert len(lengths) >= 3


def test_the_phrase_of_a_things_codes_is_its_name(tmp_path, monkeypatch):
    scenes = rendered(tmp_path, monkeypatch)
    codes = attribute_codes(scenes)
    table = phrases()
    for index, (scene, _) in enumerate(scenes):
        for number, thing in enumerate(scene.things):
            if codes[index, number, 0] < 0:
                continue
            assert table[phrase_index(codes[index, number])] == article(name(thing))
            without_colour = codes[index, number].copy()
            without_colour[ATTRIBUTES.index("colour")] = UNSAID[ATTRIBUTES.index("colour")]
            detail = [attribute for attribute in ATTRIBUTES if attribute != "colour"]
            assert table[phrase_index(without_colour)] == article(name(thing, detail))


def test_every_phrase_has_a_place_of_its_own():
    assert len(set(phrases())) == len(phrases()) == int(np.prod([count + 1 for count in UNSAID]))


def test_documents_hold_captions_then_turns_with_boxes_in_bins(tmp_path, monkeypatch):
    texts = list(documents(rendered(tmp_path, monkeypatch), seed=0))
    assert texts == list(documents(rendered(tmp_path, monkeypatch), seed=0))
    assert all(text.count(" USER: ") == text.count(" ASSISTANT: ") == text.count("</s>") for text in texts)
    boxes = [text for text in texts if "[" in text]
    assert boxes
    for text in boxes:
        numbers = [int(number) for box in text.split("[")[1:] for number in box.split("]")[0].split(", ")]
        assert len(numbers) % 4 == 0 and all(0 <= number <= 100 for number in numbers)
