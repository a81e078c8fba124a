from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from koine.errors import InputError
from koine.world import german
from koine.world.facts import ATTRIBUTES
from koine.world.referring import Description, descriptions, resolve
from koine.world.things import Thing
from tests.unit.world.oracle import Oracle

CUBE = Thing("cube", "red", "large", "metal", (0.0, 0.0, 0.0352))
BALL = replace(CUBE, shape="ball", colour="white", size="small", material="wood")
NOUNS = {"Würfel": "cube", "Kugel": "ball", "Zylinder": "cylinder", "Kegel": "cone", "Ring": "ring", "Bogen": "arch"}
COLOURS = {"rot": "red", "orangefarben": "orange", "gelb": "yellow", "grün": "green", "türkisfarben": "cyan"}
COLOURS |= {"blau": "blue", "violett": "purple", "weiß": "white"}
MATERIALS = {"Gummi": "rubber", "Metall": "metal", "Holz": "wood"}
SIZES = {"klein": "small", "groß": "large"}
PHRASE = re.compile(
    rf"\b[Ee]ine?[nmr]? (?:({'|'.join(SIZES)})e[nrms]? )?(?:({'|'.join(COLOURS)})e[nrms]? )?({'|'.join(NOUNS)})"
    rf"(?: aus ({'|'.join(MATERIALS)}))?"
)


@pytest.mark.parametrize(
    ("thing", "case", "definite", "expected"),
    [
        (CUBE, "nominative", True, "der große rote Würfel aus Metall"),
        (CUBE, "accusative", True, "den großen roten Würfel aus Metall"),
        (CUBE, "dative", True, "dem großen roten Würfel aus Metall"),
        (CUBE, "nominative", False, "ein großer roter Würfel aus Metall"),
        (CUBE, "accusative", False, "einen großen roten Würfel aus Metall"),
        (CUBE, "dative", False, "einem großen roten Würfel aus Metall"),
        (BALL, "nominative", True, "die kleine weiße Kugel aus Holz"),
        (BALL, "accusative", True, "die kleine weiße Kugel aus Holz"),
        (BALL, "dative", True, "der kleinen weißen Kugel aus Holz"),
        (BALL, "nominative", False, "eine kleine weiße Kugel aus Holz"),
        (BALL, "dative", False, "einer kleinen weißen Kugel aus Holz"),
    ],
)
def test_names_agree_in_gender_and_case(thing, case, definite, expected) -> None:
    assert german.name(thing, case=case, definite=definite) == expected


def test_a_thing_without_shape_is_neuter() -> None:
    assert german.name(CUBE, ("colour",)) == "das rote Ding"
    assert german.name(CUBE, ("colour",), definite=False) == "ein rotes Ding"
    assert german.name(CUBE, ("colour",), definite=False, case="dative") == "einem roten Ding"


def test_referring_expressions_govern_their_anchors() -> None:
    red_ring, ball = Description(("red", "ring")), Description(("ball",))
    assert german.referring(Description(("ball",), None, "inside", red_ring)) == "die Kugel in dem roten Ring"
    assert german.referring(Description(("ring",), None, "around", ball)) == "der Ring um die Kugel"
    assert german.referring(Description(("cone",), None, "left of", red_ring), "accusative") == (
        "den Kegel links von dem roten Ring"
    )
    assert german.referring(Description(("wood", "cube"), "largest"), "dative") == "dem größten Würfel aus Holz"
    assert german.referring(Description(("ball",), "leftmost")) == "die Kugel am weitesten links"


def test_an_expression_for_each_english_one(training) -> None:
    for scene, view in training[:60]:
        for index in range(len(scene.things)):
            said = german.expressions(scene, view, index)
            assert said == list(dict.fromkeys(map(german.referring, descriptions(scene, view, index))))
            assert all(re.match(r"(der|die|das) ", text) for text in said)


@pytest.mark.parametrize("style", ["short", "full", "scene"])
def test_captions_name_only_what_is_there(training, style) -> None:
    rng = np.random.default_rng(0)
    for scene, view in training:
        text = german.caption(scene, view, rng, style)
        assert text[0].isupper() and text.endswith(".") and "  " not in text
        named = PHRASE.findall(text.replace(" einem Holztisch", "").replace(" einem Tischtuch", ""))
        for size, colour, noun, material in named:
            words = [SIZES.get(size), COLOURS.get(colour), MATERIALS.get(material), NOUNS[noun]]
            assert Oracle(scene, view, least=24).having([word for word in words if word]), text
        assert len(named) == (1 if style == "short" else len(Oracle(scene, view, least=24).there)), text


def test_instructions_mean_one_thing(training) -> None:
    rng = np.random.default_rng(1)
    for scene, view in training:
        text, index = german.instruction(scene, view, rng)
        accusative = [german.referring(d, "accusative") for d in descriptions(scene, view, index)]
        assert any(said in text for said in accusative), text
        assert text.endswith(".") and re.match(r"(Nimm|Zeige|Schiebe|Gib|Entferne|Stelle) ", text)


def test_requests_for_edits() -> None:
    cube, ball = Description(("red", "cube")), Description(("ball",))
    assert german.change_request(cube, "colour", "blue", None) == "Mache den roten Würfel blau."
    assert german.change_request(ball, "size", "large", None) == "Mache die Kugel größer."
    assert german.change_request(ball, "material", "wood", cube) == (
        "Mache die Kugel aus demselben Material wie der rote Würfel."
    )
    assert german.move_request(ball, german.place("left of", cube)) == "Stelle die Kugel links neben den roten Würfel."
    assert german.addition_request(BALL, ("colour", "shape"), german.place("on", cube)) == (
        "Stelle eine weiße Kugel auf den roten Würfel."
    )


def test_bad_input_is_named(training) -> None:
    with pytest.raises(InputError, match="'genitive'"):
        german.name(CUBE, case="genitive")
    with pytest.raises(InputError, match="'weight'"):
        german.name(CUBE, (*ATTRIBUTES, "weight"))
    with pytest.raises(InputError, match="'long'"):
        german.caption(*training[0], np.random.default_rng(0), "long")


def test_english_and_german_expressions_come_from_the_same_programs(training) -> None:
    scene, view = training[0]
    for description in descriptions(scene, view, 0):
        assert resolve(description, scene, view) == {0}
        assert german.referring(description) in german.expressions(scene, view, 0)
