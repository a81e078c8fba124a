"""RefCOCO's two published forms."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from koine.data import refcoco
from koine.errors import InputError

from .conftest import Write


@pytest.fixture
def refer(tmp_path: Path, json_file: Write, picture: Write) -> Path:
    """The form of lichengunc/refer, for RefCOCO and RefCOCOg."""
    picture("train2014/COCO_1.png")
    instances = {
        "images": [{"id": 1, "file_name": "COCO_1.png", "width": 64, "height": 48}],
        "annotations": [
            {"id": 11, "image_id": 1, "bbox": [10, 5, 20, 10], "category_id": 1},
            {"id": 12, "image_id": 1, "bbox": [0, 0, 4, 4], "category_id": 1},
        ],
        "categories": [{"id": 1, "name": "cup"}],
    }

    def reference(annotation: int, split: str, *sentences: str) -> dict[str, Any]:
        said = [{"sent_id": 10 * annotation + k, "sent": text} for k, text in enumerate(sentences)]
        return {"ref_id": annotation, "ann_id": annotation, "image_id": 1, "split": split, "sentences": said}

    references = [reference(11, "val", "red cup, left", "the cup"), reference(12, "testA", "corner")]
    for name, file in (("refcoco", "refs(unc).p"), ("refcocog", "refs(umd).p")):
        json_file(f"{name}/instances.json", instances)
        (tmp_path / name / file).write_bytes(pickle.dumps(references, protocol=0))
    return tmp_path


@pytest.fixture
def mdetr(tmp_path: Path, json_file: Write, picture: Write) -> Path:
    picture("train2014/COCO_1.png")
    content = {
        "images": [
            {
                "id": 5,
                "file_name": "COCO_1.png",
                "width": 64,
                "height": 48,
                "caption": "the cup",
                "dataset_name": "refcoco+",
            },
        ],
        "annotations": [{"image_id": 5, "bbox": [10, 5, 20, 10]}],
    }
    json_file("finetune_refcoco+_val.json", content)
    return tmp_path


def test_the_original_form(refer: Path) -> None:
    first, second = refcoco.examples(refer, data_set="refcoco", split="val")
    assert first.prompt.text == "What is the location of red cup left in the image?"
    assert first.prompt.images[0].size == (64, 48)
    assert first.target.text == "red cup left ."
    assert [region.bounds for region in first.target.regions] == [(10, 5, 30, 15)]
    assert (first.id, second.id) == ("110", "111")
    assert second.annotation.expression == "the cup"
    (other,) = refcoco.examples(refer, split="testA")
    assert other.annotation.box == (0, 0, 4, 4)


def test_each_data_set_is_read_from_its_own_folder(refer: Path) -> None:
    assert [one.data_set for one in refcoco.read(refer, data_set="refcocog", split="testA")] == ["refcocog"]


def test_one_data_set_is_not_taken_for_another(refer: Path, tmp_path: Path) -> None:
    # RefCOCO's and RefCOCO+'s references are both called refs(unc).p.
    for place in (refer, refer / "refcoco", refer / "refcoco" / "refs(unc).p"):
        with pytest.raises(InputError, match=r"lies in a folder of refcoco and is not refcoco\+'s"):
            refcoco.read(place, data_set="refcoco+")
    (refer / "refcoco").rename(tmp_path / "mine")
    assert [one.data_set for one in refcoco.read(tmp_path / "mine", data_set="refcoco+")] == ["refcoco+"] * 2


def test_expressions_without_a_name_belong_to_the_data_set_that_is_asked_for(mdetr: Path, json_file: Write) -> None:
    file = mdetr / "finetune_refcoco+_val.json"
    content = json.loads(file.read_text())
    del content["images"][0]["dataset_name"]
    json_file(file.name, content)
    assert [one.data_set for one in refcoco.read(mdetr, data_set="refcoco+")] == ["refcoco+"]


def test_mdetrs_form_is_preferred(mdetr: Path) -> None:
    (example,) = refcoco.examples(mdetr, data_set="refcoco+")
    assert example.annotation == refcoco.ReferringExpression(
        id="5",
        data_set="refcoco+",
        image="COCO_1.png",
        width=64,
        height=48,
        expression="the cup",
        box=(10, 5, 30, 15),
        where="finetune_refcoco+_val.json, images[0]",
    )


def test_what_is_missing_is_named(tmp_path: Path, refer: Path, json_file: Write) -> None:
    with pytest.raises(InputError, match=r"holds no finetune_refcoco\+_val\.json and no refs\(unc\)\.p"):
        list(refcoco.read(tmp_path / "refcocog", data_set="refcoco+"))
    with pytest.raises(InputError, match="there is no referring data set 'refcocos': did you mean"):
        refcoco.read(refer, data_set="refcocos")
    with pytest.raises(InputError, match="there is no split 'dev'"):
        refcoco.read(refer, split="dev")
    json_file("refcoco/instances.json", {"images": [{"id": 2}], "annotations": []})
    with pytest.raises(InputError, match=r"refs\(unc\)\.p, reference 0: instances\.json has no image 1"):
        list(refcoco.read(refer))
    json_file("half/finetune_refcoco_val.json", {"images": [{"id": 7}], "annotations": []})
    with pytest.raises(InputError, match=r"finetune_refcoco_val\.json, images\[0\]: no annotation has image_id 7"):
        list(refcoco.read(tmp_path / "half"))
