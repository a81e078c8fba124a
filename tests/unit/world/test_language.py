from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from koine.errors import InputError
from koine.world.facts import members, observe
from koine.world.language import STYLES, article, caption, counted, grounded_caption, name, plural
from koine.world.things import Thing
from tests.unit.world.oracle import COLOURS, SHAPES, Oracle, held_out_phrase

CUBE = Thing("cube", "red", "large", "metal", (0.0, 0.0, 0.0352))
PHRASE = re.compile(
    rf"\b(?:an?|(two|three|four|five)) (?:(small|large) )?(?:({'|'.join(COLOURS)}) )?(?:(rubber|metal|wooden) )?"
    rf"(?:({'|'.join(SHAPES)})(?:e?s)?)\b"
)


def test_a_name_says_what_is_asked_for_in_english_order() -> None:
    assert name(CUBE) == "large red metal cube"
    assert name(CUBE, ("shape", "colour")) == "red cube"
    assert name(CUBE, ("size",)) == "large thing"
    assert name(replace(CUBE, material="wood"), ("material", "shape")) == "wooden cube"
    with pytest.raises(InputError, match="'weight'"):
        name(CUBE, ("weight",))


def test_articles_and_plurals() -> None:
    assert [article(word) for word in ("orange ball", "arch", "red ball")] == [
        "an orange ball",
        "an arch",
        "a red ball",
    ]
    assert [plural(word) for word in ("arch", "red ball")] == ["arches", "red balls"]
    assert [counted(count, "ring") for count in (1, 3)] == ["a ring", "three rings"]


def mentioned(text: str) -> list[tuple[int, list[str]]]:
    """(number, words) of each noun phrase of a caption."""
    numbers = {"two": 2, "three": 3, "four": 4, "five": 5}
    found = []
    for number, size, colour, material, shape in PHRASE.findall(text):
        words = [word for word in (size, colour, "wood" if material == "wooden" else material, shape) if word]
        found.append((numbers.get(number, 1), words))
    return found


@pytest.mark.parametrize("style", STYLES)
def test_captions_name_only_what_is_there(training, style) -> None:
    rng = np.random.default_rng(1)
    for scene, view in training:
        text = caption(scene, view, rng, style)
        oracle = Oracle(scene, view, least=24)
        phrases = mentioned(text)
        assert phrases
        for number, words in phrases:
            assert len(oracle.having(words)) >= number, text
        assert held_out_phrase(text) is None
        if style != "short":
            assert sum(number for number, _ in phrases) == len(oracle.there), text
        if style == "scene":
            assert any(
                word in text for word in {"wood": ("wood",), "cloth": ("cloth",)}.get(scene.surface, (scene.surface,))
            )


def test_relations_in_captions_hold(training) -> None:
    """Where a caption puts two things in contact or beside each other, two such things are so."""
    rng = np.random.default_rng(2)
    wordings = {
        "to the left of": "left of", "left of": "left of", "to the right of": "right of", "right of": "right of",
        "in front of": "in front of", "behind": "behind", "inside": "inside", "in": "inside", "around": "around",
        "under": "under", "over": "over", "on top of": "on", "on": "on", "below": "below",
    }  # fmt: skip
    between = re.compile(rf"({PHRASE.pattern}) ({'|'.join(wordings)}) ({PHRASE.pattern})")
    checked = 0
    for scene, view in training:
        text, oracle = caption(scene, view, rng, "full"), Oracle(scene, view)
        for match in between.finditer(text):
            ((_, one),), ((_, other),) = mentioned(match.group(1)), mentioned(match.group(8))
            relation = wordings[match.group(7)]
            assert any(oracle.related(i, relation, j) for i in oracle.having(one) for j in oracle.having(other)), text
            checked += 1
    assert checked > 80


def test_grounded_captions_name_each_thing_once_and_differently(training) -> None:
    rng = np.random.default_rng(3)
    for scene, view in training:
        segments = grounded_caption(scene, view, rng)
        named = [index for _, index in segments if index is not None]
        assert sorted(named) == list(members(observe(scene, view).seen))
        texts = [text.lower() for text, index in segments if index is not None]
        assert len(set(texts)) == len(texts)
        for text, index in segments:
            if index is not None:
                ((_, words),) = mentioned(text[0].lower() + text[1:])
                assert index in Oracle(scene, view).having(words)
        whole = "".join(text for text, _ in segments)
        assert whole[0].isupper() and whole.endswith(".") and "  " not in whole


def test_the_same_seed_says_the_same_and_another_does_not(training) -> None:
    def said(seed: int) -> list[str]:
        rng = np.random.default_rng(seed)
        return [caption(scene, view, rng, "full") for scene, view in training[:40]]

    assert said(5) == said(5)
    assert said(5) != said(6)


def test_an_empty_looking_table_is_called_empty(training) -> None:
    scene, view = training[0]
    hidden = replace(view, visible=view.visible * 0)
    assert caption(scene, hidden, np.random.default_rng(0)).startswith("an empty table")
    assert all(index is None for _, index in grounded_caption(scene, hidden, np.random.default_rng(0)))


def test_an_unknown_style_is_named(training) -> None:
    with pytest.raises(InputError, match="'long'"):
        caption(*training[0], np.random.default_rng(0), "long")
