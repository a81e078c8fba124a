"""VQAv2's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from koine.data import vqav2
from koine.errors import InputError

from .conftest import Write


@pytest.fixture
def folder(tmp_path: Path, picture: Write, json_file: Write) -> Path:
    picture("val2014/COCO_val2014_000000000042.jpg")
    picture("test2015/COCO_test2015_000000000007.jpg")
    questions = [{"image_id": 42, "question": "How many dogs?", "question_id": 42001}]
    json_file("v2_OpenEnded_mscoco_val2014_questions.json", {"info": {}, "questions": questions})
    answers = [{"answer": said, "answer_confidence": "yes", "answer_id": 1} for said in ("2", "two", "2")]
    annotation = {"question_id": 42001, "image_id": 42, "answer_type": "number", "answers": answers}
    json_file("v2_mscoco_val2014_annotations.json", {"annotations": [annotation]})
    json_file(
        "v2_OpenEnded_mscoco_test-dev2015_questions.json",
        {"questions": [{"image_id": 7, "question": "What is it?", "question_id": 7001}]},
    )
    return tmp_path


def test_questions_come_with_pictures_and_answers(folder: Path) -> None:
    (example,) = vqav2.examples(folder)
    assert example.prompt.text == "How many dogs?" and example.prompt.images[0].size == (64, 48)
    assert example.target.text == "2"
    assert example.annotation == vqav2.VqaQuestion(
        42001, "COCO_val2014_000000000042.jpg", "How many dogs?", ("2", "two", "2"), "number"
    )


def test_test_splits_have_no_answers_and_share_their_pictures(folder: Path) -> None:
    (example,) = vqav2.examples(folder, split="test-dev2015")
    assert example.annotation.image == "COCO_test2015_000000000007.jpg"
    assert not example.annotation.answers and not example.target


def test_bad_input_is_named(folder: Path, json_file: Write) -> None:
    with pytest.raises(InputError, match="there is no split of VQAv2 'val': did you mean 'val2014'"):
        vqav2.read(folder, split="val")
    json_file("v2_mscoco_val2014_annotations.json", {"annotations": [{"question_id": 1, "answers": [{"answer": "a"}]}]})
    with pytest.raises(InputError, match="the annotations have no question 42001"):
        list(vqav2.read(folder))
    json_file("v2_mscoco_val2014_annotations.json", {"annotations": [{"question_id": 1, "answers": []}]})
    with pytest.raises(InputError, match="field 'answers' is empty"):
        list(vqav2.read(folder))
