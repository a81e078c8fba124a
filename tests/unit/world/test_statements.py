from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from koine.errors import InputError
from koine.world.statements import PAIR_KINDS, STATEMENT_KINDS, holds, pair_statements, statements
from tests.unit.world.oracle import Oracle, held_out_phrase


def true(program: dict[str, Any], oracles: list[Oracle]) -> bool:
    """The label of a program, worked out another way."""
    match program["op"]:
        case "quantified":
            labels = [true(program["of"], [oracle]) for oracle in oracles]
            return {
                "left": labels[0],
                "right": labels[-1],
                "both": False not in labels,
                "any": True in labels,
                "one": labels.count(True) == 1,
                "neither": True not in labels,
            }[program["where"]]
        case "count":
            count = sum(len(oracle.having(program["words"])) for oracle in oracles)
            number = program["number"]
            return {"==": count == number, ">=": count >= number, "<=": count <= number}[program["compare"]]
        case "more":
            first, second = program["first"], program["second"]
            one = oracles[first.get("picture", 0)].having(first["words"])
            return len(one) > len(oracles[second.get("picture", 0)].having(second["words"]))
        case "related":
            ones, others = oracles[0].having(program["words"]), oracles[0].having(program["to"])
            return any(oracles[0].related(i, program["relation"], j) for i in ones for j in others)
        case "is":
            return oracles[0].fitting(program["thing"]) <= oracles[0].having([program["word"]])
        case "all":
            return oracles[0].there == oracles[0].having(program["words"])
        case "setting":
            return getattr(oracles[0].scene, program["what"]) == program["word"]
        case "same" if program["what"] == "number":
            return len(oracles[0].there) == len(oracles[1].there)
        case "same":
            left, right = (getattr(oracle.scene, program["what"]) for oracle in oracles)
            return left == right
    raise AssertionError(program)


@pytest.fixture(scope="module")
def said(training):
    rng = np.random.default_rng(0)
    return [((s, v), statements(s, v, rng)) for s, v in training]


@pytest.fixture(scope="module")
def said_of_pairs(training):
    rng = np.random.default_rng(1)
    pairs = [*pairwise(training), *zip(training, training[7:], strict=False)]
    return [((left, right), pair_statements(left, right, rng)) for left, right in pairs]


def test_labels_agree_with_a_second_opinion_however_hardly_visible_things_are_counted(said, said_of_pairs) -> None:
    for pictures, drawn in (*(((picture,), drawn) for picture, drawn in said), *said_of_pairs):
        for least in (1, 24):
            oracles = [Oracle(*picture, least=least) for picture in pictures]
            for statement in drawn:
                assert statement.label == true(statement.program, oracles), statement
        for statement in drawn:
            assert statement.label == holds(statement.program, *pictures)


def test_each_kind_and_each_form_is_as_often_true_as_false(said, said_of_pairs) -> None:
    for drawn, kinds in ((said, STATEMENT_KINDS), (said_of_pairs, PAIR_KINDS)):
        labels: dict[str, Counter[bool]] = defaultdict(Counter)
        for _, statements_ in drawn:
            for statement in statements_:
                labels[statement.kind][statement.label] += 1
                labels[" ".join(statement.text.split()[:3])][statement.label] += 1
        assert set(kinds) <= set(labels)
        for form, count in labels.items():
            # 4.5 standard deviations: dozens of forms are looked at
            assert abs(count[True] - count[False]) < 4.5 * np.sqrt(count.total()) + 2, (form, count)


def test_texts_are_sentences_without_held_out_pairs(said, said_of_pairs) -> None:
    for _, drawn in (*said, *said_of_pairs):
        for statement in drawn:
            assert statement.text[0].isupper() and statement.text.endswith(".") and "  " not in statement.text
            assert held_out_phrase(statement.text) is None


def test_the_sides_of_a_pair_are_told_apart(training) -> None:
    left, right = (
        training[0],
        next(picture for picture in training if len(picture[0].things) != len(training[0][0].things)),
    )
    more = {"op": "more", "first": {"picture": 0, "words": []}, "second": {"picture": 1, "words": []}}
    assert holds(more, left, right) != holds(more, right, left)


def test_the_same_seed_says_the_same(training) -> None:
    drawn = [
        [st for s, v in training[:30] for st in statements(s, v, np.random.default_rng(seed))] for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


def test_an_unknown_operation_is_named(training) -> None:
    with pytest.raises(InputError, match="'guess'"):
        holds({"op": "guess"}, training[0])
