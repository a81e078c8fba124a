"""Karpathy's division, and a folder of classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from koine.data import imagenet, karpathy
from koine.errors import InputError

from .conftest import Write


def described(name: str, split: str, number: int, *captions: str, **more: object) -> dict[str, object]:
    sentences = [{"raw": text, "tokens": text.split()} for text in captions]
    return {"filename": name, "split": split, "imgid": number, "sentences": sentences, **more}


@pytest.fixture
def folder(tmp_path: Path, picture: Write, json_file: Write) -> Path:
    picture("val2014/1.jpg", level=1)
    picture("train2014/2.jpg", level=2)
    picture("val2014/3.jpg", level=3)
    images = [
        described("1.jpg", "test", 0, "A dog. ", "One dog", filepath="val2014", cocoid=11),
        described("2.jpg", "train", 1, "A cat", filepath="train2014", cocoid=12),
        described("3.jpg", "restval", 2, "A cow", filepath="val2014", cocoid=13),
    ]
    json_file("dataset_coco.json", {"images": images, "dataset": "coco"})
    json_file("dataset_flickr30k.json", {"images": [described("2.jpg", "test", 5, "A cat", "It")]})
    return tmp_path


def test_captions_of_a_split(folder: Path) -> None:
    (example,) = karpathy.coco_captions(folder)
    assert example.prompt.images[0].pixels[0, 0, 0] <= 2 and example.target.text == "A dog."
    assert example.annotation == karpathy.DescribedPicture("11", "val2014/1.jpg", ("A dog.", "One dog"))
    assert [one.id for one in karpathy.coco_captions(folder, split="train")] == ["12", "13"]


def test_pairs_keep_the_captions_apart(folder: Path) -> None:
    (example,) = karpathy.flickr30k_pairs(folder)
    assert list(example.target) == ["A cat", "It"] and example.id == "5"
    assert not example.prompt.text


def test_an_unknown_split(folder: Path) -> None:
    with pytest.raises(InputError, match="there is no split of Karpathy's division 'dev'"):
        list(karpathy.coco_pairs(folder, split="dev"))


def test_classes_are_numbered_by_sorted_folders(tmp_path: Path, picture: Write) -> None:
    picture("val/n02/b.JPEG")
    picture("val/n01/a.JPEG")
    (tmp_path / "LOC_synset_mapping.txt").write_text("n01 tench, Tinca tinca\nn02 shark\n")
    first, second = imagenet.examples(tmp_path)
    assert (first.annotation.label, first.annotation.names) == (0, ("tench", "Tinca tinca"))
    assert (second.id, second.target.text, second.annotation.label) == ("n02/b.JPEG", "shark", 1)
    assert [one.target.text for one in imagenet.examples(tmp_path / "val")] == ["n01", "n02"]


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no folders of classes"):
        imagenet.examples(tmp_path)
