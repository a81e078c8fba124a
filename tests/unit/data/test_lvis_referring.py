"""LVIS referring: reading the file, and building it from LVIS's annotations."""

from __future__ import annotations

import json
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from koine.data import lvis_builder, lvis_referring
from koine.errors import InputError

from .conftest import Write


def line(**changes: Any) -> dict[str, Any]:
    stroke = np.zeros((64, 48), dtype=int)
    stroke[12:20, 6:9] = 1  # x first
    return {
        "id": 7,
        "image_path": "val2017/1.png",
        "width": 64,
        "height": 48,
        "sample_point": [15.5, 7],
        "bbox": [10, 5, 20, 10],
        "bbox_norm": [10 / 64, 5 / 48, 30 / 64, 15 / 48],
        "free_shape_bbox_raw": [12, 6, 19, 8],
        "free_shape_segment_mask": stroke.tolist(),
        "name": "tea_cup",
        "synonyms": ["teacup"],
        "neg_class": "fork",
        **changes,
    }


def test_the_true_class_is_named_first_on_even_lines(tmp_path: Path, picture: Write, lines_file: Write) -> None:
    picture("images/1.png")
    lines_file("lvis_eval.jsonl", [line(), line(id=8), line(id=9)])
    first, second, third = lvis_referring.examples(tmp_path)
    assert third.prompt.text == first.prompt.text
    assert first.prompt.text == "Is the object  of the image a tea_cup or a fork?"
    assert second.prompt.text == "Is the object  of the image a fork or a tea_cup?"
    assert (first.id, second.id, first.task, first.target.text) == ("7", "8", "refer.box", "tea cup")
    assert first.annotation.wrong_name == "fork"
    assert first.prompt.images == (first.prompt.regions[0].image,)


def test_the_three_forms_of_a_region(tmp_path: Path, picture: Write, lines_file: Write) -> None:
    picture("images/1.png")
    lines_file("lvis_eval.jsonl", [line()])
    regions = {}
    for form in lvis_referring.FORMS:
        (example,) = lvis_referring.examples(tmp_path, form=form)
        (regions[form],) = example.prompt.regions
    assert (regions["point"].kind, regions["point"].center) == ("point", (15.5, 7))
    assert (regions["box"].kind, regions["box"].bounds) == ("box", pytest.approx((10, 5, 30, 15)))
    assert (regions["free_form"].kind, regions["free_form"].bounds) == ("mask", pytest.approx((12, 6, 19, 8)))
    expected = np.zeros((48, 64), dtype=bool)
    expected[6:9, 12:20] = True
    assert (regions["free_form"].to_mask() == expected).all()


@pytest.mark.parametrize("box", [[12, 6, 19, 8], [0, 0, 63, 47], [0, 0, 64, 48], [15, 7, 15, 7], [-1, -1, 70, 50]])
def test_a_stroke_keeps_its_last_column_and_row(tmp_path: Path, picture: Write, lines_file: Write, box: Any) -> None:
    picture("images/1.png")
    stroke = np.ones((64, 48), dtype=int)
    lines_file("lvis_eval.jsonl", [line(free_shape_bbox_raw=box, free_shape_segment_mask=stroke.tolist())])
    (example,) = lvis_referring.examples(tmp_path, form="free_form")
    left, top, right, bottom = example.prompt.regions[0].bounds
    assert (int(left), int(top)) == (max(box[0], 0), max(box[1], 0))
    assert (ceil(right), ceil(bottom)) == (min(box[2] + 1, 64), min(box[3] + 1, 48))
    written = [int(edge * 1000 / side) for edge, side in ((right, 64), (bottom, 48))]
    assert written == [int(min(edge, side) * 1000 / side) for edge, side in ((box[2], 64), (box[3], 48))]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"width": 48, "height": 64, "free_shape_segment_mask": None},
            r"line 1: the picture .* is 64x48 but annotated as 48x64",
        ),
        ({"free_shape_segment_mask": [[0, 1]]}, r"line 1: free_shape_segment_mask has shape \[1, 2\]"),
        ({"free_shape_segment_mask": None}, r"line 1: field 'free_shape_segment_mask' .* is missing"),
        ({"bbox_norm": [0, 1]}, r"line 1: field 'bbox_norm' is \[0, 1\]: give a list of 4 numbers"),
    ],
)
def test_bad_lines_are_named(
    tmp_path: Path, picture: Write, lines_file: Write, changes: dict[str, Any], message: str
) -> None:
    picture("images/1.png")
    lines_file("lvis_eval.jsonl", [line(**changes)])
    with pytest.raises(InputError, match=message):
        list(lvis_referring.examples(tmp_path, form="free_form"))


def test_an_unknown_form_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no form of region 'circle'"):
        lvis_referring.examples(tmp_path, form="circle")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"holds no lvis_eval\.jsonl .*made by koine\.data\.lvis_builder"):
        lvis_referring.examples(tmp_path)


@pytest.fixture
def lvis_json(json_file: Write) -> Path:
    """LVIS's form: two pictures of 64 x 48, four classes, three objects and one too small."""

    def square(left: int, top: int, side: int) -> list[list[float]]:
        return [[left, top, left + side, top, left + side, top + side, left, top + side]]

    def thing(number: int, picture: int, category: int, left: int, top: int, side: int) -> dict[str, Any]:
        box = [left, top, side, side]
        shape = {"segmentation": square(left, top, side), "bbox": box, "area": float(side * side)}
        return {"id": number, "image_id": picture, "category_id": category, **shape}

    pictures = [
        {"id": number, "width": 64, "height": 48, "coco_url": f"http://images.cocodataset.org/val2017/{number}.png"}
        for number in (1, 2)
    ]
    pictures[1]["not_exhaustive_category_ids"] = [3]
    return json_file(
        "lvis_v1_val.json",
        {
            "images": pictures,
            "categories": [{"id": k, "name": f"thing_{k}", "synonyms": [f"thing_{k}"]} for k in (1, 2, 3, 4)],
            "annotations": [
                thing(11, 1, 1, 4, 4, 36),
                thing(12, 1, 2, 20, 5, 40),
                thing(13, 2, 1, 10, 2, 40),
                thing(14, 2, 2, 1, 1, 5),
            ],
        },
    )


def test_the_builder_makes_the_file_that_the_reader_reads(tmp_path: Path, picture: Write, lvis_json: Path) -> None:
    options = lvis_builder.BuildOptions(objects=3)
    assert lvis_builder.build(lvis_json, tmp_path / "lvis_eval.jsonl", seed=1, options=options) == 3
    for number in (1, 2):
        picture(f"val2017/{number}.png")
    lines = {line["id"]: line for line in map(json.loads, (tmp_path / "lvis_eval.jsonl").read_text().splitlines())}
    assert set(lines) == {11, 12, 13}
    # Classes 1 and 2 are in both pictures, and class 3 wasn't checked in the second.
    assert lines[11]["neg_class"] in {"thing_3", "thing_4"}
    assert lines[13]["neg_class"] == "thing_4"
    assert lines[11]["image_path"] == "val2017/1.png"

    examples = {form: list(lvis_referring.examples(tmp_path, form=form)) for form in lvis_referring.FORMS}
    for point, box, free in zip(*(examples[form] for form in lvis_referring.FORMS), strict=True):
        left, top, right, bottom = box.prompt.regions[0].bounds
        x, y = point.prompt.regions[0].center
        assert left <= x < right and top <= y < bottom
        stroke = free.prompt.regions[0].to_mask()
        inside = np.zeros_like(stroke)
        inside[round(top) : round(bottom), round(left) : round(right)] = True
        assert stroke.any()
        assert not (stroke & ~inside).any()


def test_the_builder_repeats_by_seed(tmp_path: Path, lvis_json: Path) -> None:
    texts = []
    for number, seed in enumerate((1, 1, 2)):
        lvis_builder.build(
            lvis_json, tmp_path / f"{number}.jsonl", seed=seed, options=lvis_builder.BuildOptions(objects=3)
        )
        texts.append((tmp_path / f"{number}.jsonl").read_text())
    assert texts[0] == texts[1] != texts[2]


def test_too_few_objects_leave_no_file(tmp_path: Path, lvis_json: Path) -> None:
    with pytest.raises(InputError, match="has 3 objects of at least 1024 pixels but 4 are asked for"):
        lvis_builder.build(lvis_json, tmp_path / "out.jsonl", options=lvis_builder.BuildOptions(objects=4))
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(("field", "table"), [("image_id", "images"), ("category_id", "categories")])
def test_objects_of_unknown_pictures_and_classes_are_named(
    tmp_path: Path, lvis_json: Path, json_file: Write, field: str, table: str
) -> None:
    content = json.loads(lvis_json.read_text())
    content["annotations"][0][field] = 99
    file = json_file("broken.json", content)
    with pytest.raises(InputError, match=rf"annotations\[0\]: the file's {table} have no id 99"):
        lvis_builder.build(file, tmp_path / "lvis_eval.jsonl", options=lvis_builder.BuildOptions(objects=3))
    assert not (tmp_path / "lvis_eval.jsonl").exists()
