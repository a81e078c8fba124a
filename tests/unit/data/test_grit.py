"""Ferret's training records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from koine.data import grit
from koine.data.annotated import encode_mask
from koine.errors import InputError

from .conftest import Write

MASK = np.zeros((48, 64), dtype=bool)
MASK[5:15, 8:18] = True


def record(**changes: Any) -> dict[str, Any]:
    return {
        "id": "r1",
        "image": "1.png",
        "image_w": 64,
        "image_h": 48,
        "conversations": [
            {"from": "human", "value": "<image>\nHow do <bbox_location1> and <bbox_location0> relate?"},
            {"from": "gpt", "value": "<bbox_location0> is on the table."},
            {"from": "human", "value": "Sure?"},
            {"from": "gpt", "value": "Yes."},
        ],
        "box_x1y1x2y2": [[[10, 5, 30, 15], [40, 20, 70, 60]], [[10, 5, 30, 15]], [], []],
        **changes,
    }


@pytest.fixture
def folder(tmp_path: Path, picture: Write) -> Path:
    picture("images/1.png")
    return tmp_path / "images"


def read_one(folder: Path, json_file: Write, options: grit.RegionOptions, **changes: Any) -> Any:
    file = json_file("grit/data.json", [record(**changes)])
    (example,) = grit.examples(file, images=folder, options=options)
    return example


def test_placeholders_become_regions_in_their_order(folder: Path, json_file: Write) -> None:
    example = read_one(folder, json_file, grit.RegionOptions(form="box"))
    ((question, answer),) = example.history
    assert [type(part).__name__ for part in question] == ["Image", "str", "Region", "str", "Region", "str"]
    assert question.text == "How do  and  relate?"
    assert [region.bounds for region in question.regions] == [(40, 20, 63, 47), (10, 5, 30, 15)]  # clamped to pixels
    assert [region.bounds for region in answer.regions] == [(10, 5, 30, 15)]
    assert (example.prompt.text, example.target.text) == ("Sure?", "Yes.")


def test_a_box_with_a_mask_is_their_common_part(folder: Path, json_file: Write) -> None:
    runs = encode_mask(MASK)
    example = read_one(folder, json_file, grit.RegionOptions(form="box"), masks=[[runs, runs], [runs], [], []])
    second, first = example.history[0][0].regions
    expected = MASK.copy()
    expected[:, :10] = False
    assert first.kind == "mask"
    assert first.bounds == (10, 5, 30, 15)
    assert (first.to_mask() == expected).all()
    assert second.kind == "box"  # mask and box have nothing in common
    assert example.history[0][1].regions[0].kind == "box"  # answers are boxes whatever there is


def test_points_lie_in_their_boxes_and_answers_may_repeat_them(folder: Path, json_file: Write) -> None:
    example = read_one(folder, json_file, grit.RegionOptions(form="point", answers="as_asked"))
    (question, answer) = example.history[0]
    assert [region.kind for region in question.regions] == ["point", "point"]
    assert answer.regions == (question.regions[1],)
    boxed = read_one(folder, json_file, grit.RegionOptions(form="point"))
    assert boxed.history[0][1].regions[0].kind == "box"


def test_the_coin_falls_both_ways(folder: Path, json_file: Write) -> None:
    json_file("grit/data.json", [record() for _ in range(30)])
    file = folder.parent / "grit" / "data.json"
    kinds = [one.history[0][0].regions[0].kind for one in grit.examples(file, images=folder, seed=4)]
    assert 5 < kinds.count("point") < 25
    again = [one.history[0][0].regions for one in grit.examples(file, images=folder, seed=4)]
    assert again == [one.history[0][0].regions for one in grit.examples(file, images=folder, seed=4)]


def test_boxes_are_clamped_to_pixel_numbers() -> None:
    assert grit.clamped_box([-1, -2, 70, 60], 64, 48, "here") == (0, 0, 63, 47)
    assert grit.clamped_box([70, 60, -1, -2], 64, 48, "here") == (63, 47, 0, 0)
    assert grit.clamped_box([1, 2, 63, 47], 64, 48, "here") == (1, 2, 63, 47)


@pytest.mark.parametrize("form", ["point", "box"])
def test_boxes_with_swapped_sides_are_put_in_order(folder: Path, json_file: Write, form: Any) -> None:
    swapped = [[[30, 15, 10, 5], [70, 60, 40, 20]], [[30, 5, 10, 15]], None, None]
    options = grit.RegionOptions(form=form, point="box_gaussian")
    example = read_one(folder, json_file, options, box_x1y1x2y2=swapped, masks=[None] * 4)
    assert [turn.boxes for turn in example.annotation.turns[:2]] == [
        ((10, 5, 30, 15), (40, 20, 63, 47)),
        ((10, 5, 30, 15),),
    ]
    x, y = example.history[0][0].regions[1].center
    assert 10 <= x <= 30 and 5 <= y <= 15


@pytest.mark.parametrize("rule", grit.POINT_RULES)
def test_rules_for_points(rule: grit.PointRule) -> None:
    box = (10.0, 5.0, 30.0, 15.0)
    points = np.array([grit.choose_point(MASK, box, rule, np.random.default_rng(seed)) for seed in range(200)])
    if rule.startswith("mask"):
        assert MASK[points[:, 1].astype(int), points[:, 0].astype(int)].all()
    if rule == "mask_center":
        assert (points == (17, 10)).all()  # of the mask's pixels the one nearest to the box's middle (20, 10)
    elif rule == "mask_uniform":
        assert points.mean(axis=0) == pytest.approx((12.5, 9.5), abs=0.6)
    elif rule == "box_center":
        assert (points == (20, 10)).all()
    elif rule == "box_gaussian":
        assert points.mean(axis=0) == pytest.approx((20, 10), abs=0.6)
        assert points.std(axis=0) == pytest.approx((0.15 * 20, 0.15 * 10), rel=0.2)


@pytest.mark.parametrize("rule", ["mask_center", "mask_uniform", "mask_gaussian"])
def test_without_a_mask_points_fall_round_the_middle(rule: grit.PointRule) -> None:
    expected = grit.choose_point(None, (0, 0, 20, 10), "box_gaussian", np.random.default_rng(1))
    for mask in (None, np.zeros((48, 64), dtype=bool)):
        assert grit.choose_point(mask, (0, 0, 20, 10), rule, np.random.default_rng(1)) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"box_x1y1x2y2": [[]]}, r"record 0: 4 turns but 1 lists of boxes and 4 of masks"),
        (
            {"box_x1y1x2y2": [[[1, 2, 3, 4]], [[1, 2, 3, 4]], [], []]},
            r"record 0, turn 0: text uses <bbox_location> \[0, 1\] but there are 1 boxes",
        ),
        (
            {"box_x1y1x2y2": [[[1, 2, 3, 4]] * 2, [[1, 2]], [], []]},
            r"record 0, turn 1: box \[1, 2\] is not four numbers",
        ),
        (
            {"masks": [[encode_mask(MASK)], [], [], []]},
            r"record 0, turn 0: 2 boxes but 1 masks: give one mask for each box, or none",
        ),
        ({"masks": [3, [], [], []]}, r"record 0, turn 0: masks is 3: give a list"),
        ({"box_x1y1x2y2": [7, [], [], []]}, r"record 0, turn 0: box_x1y1x2y2 is 7: give a list"),
        ({"image_w": "64"}, r"record 0: field 'image_w' is '64': give a value of type int"),
        ({"image_w": 48, "image_h": 64}, r"record 0: the picture .* is 64x48 but annotated as 48x64"),
    ],
)
def test_bad_records_are_named(folder: Path, json_file: Write, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_one(folder, json_file, grit.RegionOptions(), **changes)


def test_an_unknown_rule_is_named(folder: Path, json_file: Write) -> None:
    with pytest.raises(InputError, match="there is no rule for points 'center'"):
        read_one(folder, json_file, grit.RegionOptions(point="center"))  # type: ignore[arg-type]
