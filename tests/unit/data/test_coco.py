"""COCO's captions and objects, and Objects365 in the same format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from koine.data import coco, objects365
from koine.errors import InputError

from .conftest import Write


@pytest.fixture
def instances() -> dict[str, Any]:
    square = [[10, 5, 30, 5, 30, 15, 10, 15]]
    return {
        "images": [
            {"id": 2, "file_name": "b.png", "width": 64, "height": 48},
            {"id": 1, "file_name": "a.png", "width": 64, "height": 48},
        ],
        "categories": [{"id": k, "name": name} for k, name in ((3, "Cup/Mug"), (4, "Dog"), (5, "Wild Bird"))],
        "annotations": [
            {"id": 21, "image_id": 1, "category_id": 3, "bbox": [10, 5, 20, 10], "iscrowd": 0, "segmentation": square},
            {"id": 22, "image_id": 2, "category_id": 4, "bbox": [1, 2, 3, 4]},
            {"id": 23, "image_id": 1, "category_id": 3, "bbox": [40, 5, 20, 10]},
            {"id": 24, "image_id": 1, "category_id": 4, "bbox": [0, 0, 60, 40], "iscrowd": 1, "segmentation": {}},
        ],
    }


@pytest.fixture
def folder(tmp_path: Path, picture: Write, json_file: Write, instances: dict[str, Any]) -> Path:
    picture("val2017/a.png", level=10)
    picture("val2017/b.png", level=20)
    json_file("annotations/instances_val2017.json", instances)
    captions = [
        {"id": k, "image_id": picture, "caption": text} for k, picture, text in ((1, 1, "One."), (2, 1, " Two "))
    ]
    json_file("annotations/captions_val2017.json", {"images": instances["images"], "annotations": captions})
    return tmp_path


def test_objects_are_grouped_by_picture_and_shown_by_their_masks(folder: Path) -> None:
    examples = list(coco.object_examples(folder))
    assert [(one.id, one.target.text) for one in examples] == [("22", "Dog"), ("21", "Cup/Mug"), ("23", "Cup/Mug")]
    assert [one.prompt.images[0].pixels[0, 0, 0] for one in examples] == [20, 10, 10]
    kinds = [one.prompt.regions[0].kind for one in examples]
    assert kinds == ["box", "mask", "box"]
    expected = np.zeros((48, 64), dtype=bool)
    expected[5:15, 10:30] = True
    assert (examples[1].prompt.regions[0].to_mask() == expected).all()
    assert examples[1].prompt.regions[0].bounds == (10, 5, 30, 15)


def test_one_example_per_caption(folder: Path) -> None:
    first, second = coco.caption_examples(folder)
    assert (first.id, first.target.text, second.target.text) == ("1_0", "One.", "Two")
    assert first.annotation.captions == ("One.", "Two")
    assert first.prompt.images[0] is second.prompt.images[0]


def test_unknown_numbers_are_named(folder: Path, json_file: Write, instances: dict[str, Any]) -> None:
    instances["annotations"] = [{"id": 1, "image_id": 9, "category_id": 3, "bbox": [0, 0, 1, 1]}]
    json_file("annotations/instances_val2017.json", instances)
    with pytest.raises(InputError, match=r"annotations\[0\]: the file's images have no id 9"):
        list(coco.object_examples(folder))
    instances["annotations"] = [{"id": 1, "image_id": 1, "category_id": 9, "bbox": [0, 0, 1, 1]}]
    json_file("annotations/instances_val2017.json", instances)
    with pytest.raises(InputError, match=r"annotations\[0\]: the file's categories have no id 9"):
        list(coco.object_examples(folder))
    with pytest.raises(InputError, match=r"holds no captions_train2017\.json"):
        coco.caption_examples(folder, split="train2017")


def test_classes_are_grounded_and_absent_ones_denied(
    tmp_path: Path, picture: Write, json_file: Write, instances: dict[str, Any]
) -> None:
    picture("patch0/a.png")
    picture("patch0/b.png")
    json_file("zhiyuan_objv2_train.json", instances)
    examples = list(objects365.examples(tmp_path, negatives=2, seed=1))
    # The crowd of dogs in the second picture is no answer, but dogs aren't absent there either: one class is left.
    assert [one.task.removeprefix("ground.") for one in examples] == ["class", "absent", "absent", "class", "absent"]
    cups = examples[3]
    assert cups.prompt.text == "Is there any cup or mug in the image? If so, where?"
    assert cups.target.text == "Yes, cup or mug  ."
    assert [region.bounds for region in cups.target.regions] == [(10, 5, 30, 15), (40, 5, 60, 15)]
    assert examples[4].target.text == "No, there is no wild bird in the image."
    assert {one.target.text for one in examples[1:3]} == {
        "No, there is no cup or mug in the image.",
        "No, there is no wild bird in the image.",
    }
