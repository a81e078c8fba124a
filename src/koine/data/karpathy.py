"""Karpathy's division of COCO and Flickr30k: five captions a picture, for captioning and for retrieval.

`dataset_coco.json` and `dataset_flickr30k.json` list pictures with their split and sentences (arXiv:1412.2306). For
COCO the training pictures are those of the splits train and restval, as everybody takes them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from koine.data.annotated import AnnotatedExample
from koine.data.folders import ImageFolder, find_file
from koine.data.records import json_array
from koine.errors import InputError
from koine.sentence import Sentence

SPLITS = ("test", "val", "train")
CAPTION_REQUEST = "Describe the image in one sentence."


@dataclass(frozen=True)
class DescribedPicture:
    """One picture and what people wrote about it.

    Attributes:
        id: COCO's number of the picture, or its number in the file.
        image: the file, with its folder where the annotations name it.
    """

    id: str
    image: str
    captions: tuple[str, ...]


def read(file: Path, *, split: str = "test") -> Iterator[DescribedPicture]:
    """The pictures of a split in the order of the file.

    Raises:
        InputError: an unknown split, or a record that lacks a field.
    """
    if split not in SPLITS:
        raise InputError.unknown("split of Karpathy's division", split, SPLITS)
    wanted = ("train", "restval") if split == "train" else (split,)
    for record in json_array(file, "images.item"):
        if record.field("split", str) not in wanted:
            continue
        name, folder = record.field("filename", str), record.optional("filepath", str, "")
        captions = tuple(child.field("raw", str).strip() for child in record.children("sentences"))
        number = record.values.get("cocoid", record.values.get("imgid", name))
        yield DescribedPicture(str(number), f"{folder}/{name}" if folder else name, captions)


def coco_captions(
    path: str | os.PathLike[str], *, images: str | os.PathLike[str] | None = None, split: str = "test"
) -> Iterator[AnnotatedExample]:
    """COCO's pictures, one example each; the annotation is the `DescribedPicture` with all captions.

    Args:
        path: `dataset_coco.json`, or a folder with it.
        images: the folder of the pictures, by default `path`.
    """
    return _examples(path, images, split, "dataset_coco.json", _captioned)


def flickr30k_captions(
    path: str | os.PathLike[str], *, images: str | os.PathLike[str] | None = None, split: str = "test"
) -> Iterator[AnnotatedExample]:
    """Flickr30k's pictures, one example each; as `coco_captions`, from `dataset_flickr30k.json`."""
    return _examples(path, images, split, "dataset_flickr30k.json", _captioned)


def coco_pairs(
    path: str | os.PathLike[str], *, images: str | os.PathLike[str] | None = None, split: str = "test"
) -> Iterator[AnnotatedExample]:
    """COCO for retrieval: one example a picture, whose target holds all captions, each a part of its own."""
    return _examples(path, images, split, "dataset_coco.json", _paired)


def flickr30k_pairs(
    path: str | os.PathLike[str], *, images: str | os.PathLike[str] | None = None, split: str = "test"
) -> Iterator[AnnotatedExample]:
    """Flickr30k for retrieval; as `coco_pairs`."""
    return _examples(path, images, split, "dataset_flickr30k.json", _paired)


Make = Callable[[DescribedPicture, ImageFolder], AnnotatedExample]


def _examples(
    path: str | os.PathLike[str], images: str | os.PathLike[str] | None, split: str, name: str, make: Make
) -> Iterator[AnnotatedExample]:
    file = find_file(path, name, what=f"Karpathy's {name}")
    return _made(read(file, split=split), ImageFolder(images or path), make)


def _made(pictures: Iterable[DescribedPicture], images: ImageFolder, make: Make) -> Iterator[AnnotatedExample]:
    for picture in pictures:
        yield make(picture, images)


def _captioned(picture: DescribedPicture, images: ImageFolder) -> AnnotatedExample:
    return AnnotatedExample(
        prompt=Sentence(images.open(picture.image), CAPTION_REQUEST),
        target=Sentence(*picture.captions[:1]),
        id=picture.id,
        task="caption",
        annotation=picture,
    )


def _paired(picture: DescribedPicture, images: ImageFolder) -> AnnotatedExample:
    return AnnotatedExample(
        prompt=Sentence(images.open(picture.image)),
        target=Sentence(*picture.captions),
        id=picture.id,
        task="retrieve",
        annotation=picture,
    )
