from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from koine.errors import InputError
from koine.world.alt_text import (
    ALT_TEXT_KINDS,
    NAMES_PER_CONCEPT,
    Web,
    alt_text,
    concept_weight,
    concepts,
    entity,
    entity_names,
)
from koine.world.things import Thing
from tests.unit.world.oracle import HELD_OUT, Oracle, held_out_phrase

CLEAN = Web(sloppiness=0.0)


def written(pictures, web: Web, seed: int = 0, times: int = 4):
    rng = np.random.default_rng(seed)
    return [(scene, view, alt_text(scene, view, rng, web)) for _ in range(times) for scene, view in pictures]


def test_kinds_come_in_the_shares_asked_for(training) -> None:
    drawn = Counter(text.kind for *_, text in written(training, CLEAN))
    total = drawn.total()
    assert set(drawn) == set(ALT_TEXT_KINDS)
    for kind, share in CLEAN.shares.items():
        assert abs(drawn[kind] / total - share) < 0.035
    only = written(training, Web(shares={"camera": 1.0}), times=1)
    assert {text.kind for *_, text in only} == {"camera"}


def test_truth_says_how_much_is_true(training) -> None:
    for scene, view, text in written(training, CLEAN):
        oracle = Oracle(scene, view, least=24)
        assert 0 <= text.truth <= 1
        if text.kind in ("camera", "boilerplate", "mismatched"):
            assert text.truth == 0
        if text.concept is not None:
            present = bool(oracle.having(text.concept.split()))
            assert present == (text.kind != "mismatched"), text
        if text.kind in ("caption", "product") and text.concept is not None:
            assert text.concept.split()[0] in text.text and text.concept.split()[1] in text.text
        if text.kind == "foreign":
            assert text.language == "de"
    keywords = [text for *_, text in written(training, Web(shares={"keywords": 1}, sloppiness=0))]
    assert 0.3 < np.mean([text.truth == 1 for text in keywords]) < 0.9


def test_concepts_are_long_tailed(training) -> None:
    def mentions(zipf: float) -> np.ndarray:
        web = Web(shares={"product": 1.0}, zipf=zipf, sloppiness=0.0)
        count = Counter(text.concept for *_, text in written(training, web, times=8))
        return np.array([count[of] for of in concepts()[:42]])

    flat, steep = mentions(0.0), mentions(2.0)
    assert steep[:8].sum() > 1.35 * flat[:8].sum()
    assert steep[-15:].sum() < 0.7 * flat[-15:].sum()
    assert [concept_weight(concepts()[rank]) for rank in (0, 1, 9)] == pytest.approx([1, 1 / 2, 1 / 10])


def test_concepts_are_all_pairs_and_the_held_out_ones_come_last() -> None:
    assert len(set(concepts())) == 48
    assert set(concepts()[-6:]) == HELD_OUT


def test_names_belong_to_one_concept_and_follow_the_rank_law() -> None:
    names = [name for of in entity_names().values() for name in of]
    assert len(names) == len(set(names)) == 48 * NAMES_PER_CONCEPT
    thing = Thing("cube", "red", "large", "wood", (0.0, 0.0, 0.0))
    rng = np.random.default_rng(0)
    count = Counter(entity(thing, rng) for _ in range(4000))
    assert set(count) <= set(entity_names()["red cube"])
    first, second = (count[name] for name in entity_names()["red cube"][:2])
    assert 1.7 < first / second < 2.35
    assert count[entity_names()["red cube"][-1]] > 0


def test_sloppy_texts_differ_from_clean_ones(training) -> None:
    sloppy = [text.text for *_, text in written(training, Web(sloppiness=1.0), times=1)]
    assert any(text.isupper() for text in sloppy)
    assert any("&amp;" in text for text in sloppy)
    assert any("  " in text for text in sloppy)
    assert not [t for *_, t in written(training, CLEAN, times=1) if "&amp;" in t.text]


def test_no_text_names_a_held_out_pair_outside_the_split(training, heldout) -> None:
    assert not [text for *_, text in written(training, Web()) if held_out_phrase(text.text)]
    keywords = Web(shares={"keywords": 1.0})  # here words become neighbours by chance
    assert not [text for *_, text in written(training, keywords, times=8) if held_out_phrase(text.text)]
    assert [text for *_, text in written(heldout, Web()) if held_out_phrase(text.text)]


def test_the_same_seed_writes_the_same(training) -> None:
    def texts(seed: int) -> list[str]:
        return [text.text for *_, text in written(training[:50], Web(), seed, 1)]

    assert texts(1) == texts(1)
    assert texts(1) != texts(2)


def test_nothing_visible_leaves_texts_about_nothing(training) -> None:
    scene, view = training[0]
    rng = np.random.default_rng(0)
    blank = replace(view, visible=view.visible * 0)
    drawn = [alt_text(scene, blank, rng) for _ in range(30)]
    assert {text.kind for text in drawn} <= {"file", "camera", "boilerplate"}
    assert all(text.truth == 0 for text in drawn)


def test_bad_shares_are_named() -> None:
    with pytest.raises(InputError, match="'rumour'"):
        Web(shares={"rumour": 1.0})
    with pytest.raises(InputError, match="no weights"):
        Web(shares={"caption": 0.0})
