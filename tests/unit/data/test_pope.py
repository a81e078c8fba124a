"""POPE's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from koine.data import pope
from koine.errors import InputError

from .conftest import Write


@pytest.fixture
def folder(tmp_path: Path, picture: Write, lines_file: Write) -> Path:
    picture("val2014/COCO_1.png")
    for category, label in (("random", "yes"), ("popular", "no")):
        lines_file(
            f"coco_pope_{category}.json",
            [{"question_id": 1, "image": "COCO_1.png", "text": "Is there a dog in the image?", "label": label}],
        )
    return tmp_path


def test_questions_are_read_as_they_stand(folder: Path) -> None:
    examples = list(pope.examples(folder))
    assert [(one.id, one.target.text) for one in examples] == [("popular.1", "no"), ("random.1", "yes")]
    assert examples[0].prompt.text == "Is there a dog in the image?"
    assert examples[0].prompt.images[0].size == (64, 48)


def test_a_category_or_a_file_is_chosen(folder: Path) -> None:
    assert [one.category for one in pope.read(folder, category="random")] == ["random"]
    assert [one.category for one in pope.read(folder / "coco_pope_popular.json")] == ["popular"]


def test_questions_about_other_data_sets_are_not_mixed_in(folder: Path, lines_file: Write) -> None:
    question = {"question_id": 1, "image": "9.jpg", "text": "Is there a cat in the image?", "label": "no"}
    other = lines_file("seem/gqa/gqa_pope_seem_random.json", [question])
    assert {one.image for one in pope.read(folder)} == {"COCO_1.png"}
    assert [one.image for one in pope.read(other)] == ["9.jpg"]
    assert [one.category for one in pope.read(other.parent)] == ["random"]


def test_bad_input_is_named(folder: Path, lines_file: Write) -> None:
    with pytest.raises(InputError, match="there is no category of POPE 'adversary': did you mean 'adversarial'"):
        pope.read(folder, category="adversary")
    with pytest.raises(InputError, match=r"holds no \*pope_adversarial\.json\*"):
        pope.read(folder, category="adversarial")
    lines_file("coco_pope_random.json", [{"image": "COCO_1.png", "text": "?", "label": "maybe"}])
    with pytest.raises(InputError, match=r"coco_pope_random\.json, line 1: label is 'maybe'"):
        list(pope.read(folder, category="random"))
    lines_file("coco_pope_random.json", [{"image": "COCO_1.png", "label": "no"}])
    with pytest.raises(InputError, match=r"line 1: field 'text' is missing \(fields there: image, label\)"):
        list(pope.read(folder, category="random"))
