"""COCO's two kinds of annotation files: captions of pictures, and objects with boxes and masks.

Any data set in COCO's format is read: pictures in `images`, classes in `categories`, objects or captions in
`annotations` with boxes as (left, top, width, height).
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from koine.data.annotated import (
    AnnotatedExample,
    Box,
    box_of_corner_and_size,
    box_region,
    check_size,
    decode_mask,
    mask_region,
)
from koine.data.folders import ImageFolder, find_file
from koine.data.records import Record, json_array
from koine.errors import InputError
from koine.sentence import Image, Sentence


@dataclass(frozen=True)
class Picture:
    """A picture of the file; width and height in pixels."""

    id: int
    name: str
    width: int
    height: int


@dataclass(frozen=True)
class CocoObject:
    """One object.

    Attributes:
        box: (left, top, right, bottom) in pixels.
        segmentation: polygons or run lengths as they stand in the file; None where there are none.
    """

    id: str
    picture: Picture
    name: str
    box: Box
    segmentation: Any = field(default=None, repr=False, compare=False)
    where: str = ""


@dataclass(frozen=True)
class PictureObjects:
    """All objects of one picture, and the names of the file's classes that it lacks."""

    picture: Picture
    objects: tuple[CocoObject, ...]
    absent: tuple[str, ...]


@dataclass(frozen=True)
class PictureCaptions:
    """All captions of one picture."""

    picture: Picture
    captions: tuple[str, ...]


def read_objects(file: Path) -> Iterator[PictureObjects]:
    """The objects of every picture that has some, in the order of the file's pictures.

    Crowds are left out of the objects, but their classes aren't absent either.

    Raises:
        InputError: the file can't be read, or a record lacks a field.
    """
    names = {one.field("id", int): one.field("name", str) for one in json_array(file, "categories.item")}
    pictures = _pictures(file)
    found: dict[int, list[CocoObject]] = defaultdict(list)
    present: dict[int, set[str]] = defaultdict(set)
    for one in json_array(file, "annotations.item"):
        thing = _object(one, pictures, names)
        present[thing.picture.id].add(thing.name)
        if not one.values.get("iscrowd"):
            found[thing.picture.id].append(thing)
    for number, picture in pictures.items():
        if objects := tuple(found.pop(number, ())):
            absent = tuple(name for name in names.values() if name not in present[number])
            yield PictureObjects(picture, objects, absent)


def read_captions(file: Path) -> Iterator[PictureCaptions]:
    """The captions of every picture that has some, in the order of the file's pictures.

    Raises:
        InputError: as `read_objects`.
    """
    pictures = _pictures(file)
    found: dict[int, list[str]] = defaultdict(list)
    for one in json_array(file, "annotations.item"):
        picture = _picture_of(one, pictures)
        found[picture.id].append(one.field("caption", str).strip())
    for number, picture in pictures.items():
        if captions := tuple(found.pop(number, ())):
            yield PictureCaptions(picture, captions)


def caption_examples(
    path: str | os.PathLike[str], *, images: str | os.PathLike[str] | None = None, split: str = "val2017"
) -> Iterator[AnnotatedExample]:
    """One example per caption; the annotation is its picture's `PictureCaptions`.

    Args:
        path: `captions_<split>.json`, or a folder with it.
        images: the folder of the pictures, by default `path`.
    """
    file = find_file(path, f"captions_{split}.json", what=f"COCO's captions_{split}.json")
    return _caption_examples(file, ImageFolder(images or path))


def object_examples(
    path: str | os.PathLike[str], *, images: str | os.PathLike[str] | None = None, split: str = "val2017"
) -> Iterator[AnnotatedExample]:
    """One example per object: what is this? The annotation is the `CocoObject`.

    Args:
        path: `instances_<split>.json`, or a folder with it.
        images: the folder of the pictures, by default `path`.
    """
    file = find_file(path, f"instances_{split}.json", what=f"COCO's instances_{split}.json")
    folder = ImageFolder(images or path)
    return (
        object_example(thing, folder.open(here.picture.name)) for here in read_objects(file) for thing in here.objects
    )


def object_example(thing: CocoObject, image: Image) -> AnnotatedExample:
    """What is the thing here? The region is the object's mask in its box, or the box if the file has no mask."""
    picture = thing.picture
    check_size(image, picture.width, picture.height, thing.where)
    if thing.segmentation:
        mask = decode_mask(thing.segmentation, picture.width, picture.height, thing.where)
        region = mask_region(image, mask, thing.box)
    else:
        region = box_region(image, thing.box)
    return AnnotatedExample(
        prompt=Sentence(image, "What is the object ", region, "?"),
        target=Sentence(thing.name),
        id=thing.id,
        task="refer.class",
        annotation=thing,
    )


def _caption_examples(file: Path, images: ImageFolder) -> Iterator[AnnotatedExample]:
    for here in read_captions(file):
        image = images.open(here.picture.name)
        for number, caption in enumerate(here.captions):
            yield AnnotatedExample(
                prompt=Sentence(image, "Describe the image in one sentence."),
                target=Sentence(caption),
                id=f"{here.picture.id}_{number}",
                task="caption",
                annotation=here,
            )


def _pictures(file: Path) -> dict[int, Picture]:
    return {
        image.field("id", int): Picture(
            image.field("id", int),
            image.field("file_name", str),
            image.field("width", int),
            image.field("height", int),
        )
        for image in json_array(file, "images.item")
    }


def _picture_of(annotation: Record, pictures: Mapping[int, Picture]) -> Picture:
    number = annotation.field("image_id", int)
    if number not in pictures:
        raise InputError(f"{annotation.where}: the file's images have no id {number}: fetch the file again")
    return pictures[number]


def _object(annotation: Record, pictures: Mapping[int, Picture], names: Mapping[int, str]) -> CocoObject:
    category = annotation.field("category_id", int)
    if category not in names:
        raise InputError(f"{annotation.where}: the file's categories have no id {category}: fetch the file again")
    return CocoObject(
        id=str(annotation.field("id", int)),
        picture=_picture_of(annotation, pictures),
        name=names[category],
        box=box_of_corner_and_size(annotation.numbers("bbox", 4)),
        segmentation=annotation.values.get("segmentation"),
        where=annotation.where,
    )
