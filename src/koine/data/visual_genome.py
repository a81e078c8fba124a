"""Visual Genome: objects, relationships and region descriptions as exercises (arXiv:1602.07332).

Reads `objects.json`, `relationships.json` and `region_descriptions.json` as published: arrays with one record per
picture, boxes as x, y, w, h (regions: width, height) in pixels. Pictures are `<id>.jpg` in VG_100K and VG_100K_2.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from koine.data.annotated import AnnotatedExample, Box, box_of_corner_and_size, box_region
from koine.data.folders import ImageFolder, find_file
from koine.data.records import Record, json_array
from koine.errors import InputError
from koine.sentence import Image, Sentence

FILES: dict[str, str] = {
    "objects": "objects.json",
    "relationships": "relationships.json",
    "regions": "region_descriptions.json",
}


@dataclass(frozen=True)
class Thing:
    """A named box: (left, top, right, bottom) in pixels."""

    name: str
    box: Box


@dataclass(frozen=True)
class Relationship:
    """subject, predicate, object: `man`, `rides`, `horse`."""

    subject: Thing
    predicate: str
    object: Thing


def examples(
    path: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    part: str = "regions",
) -> Iterator[AnnotatedExample]:
    """The exercises of one file; the annotation is a `Thing` or a `Relationship`.

    Args:
        part: "objects" (what is this?), "relationships" (how do these two relate?) or "regions" (describe this).
    Raises:
        InputError: an unknown part, a missing file or field.
    """
    makers: dict[str, Callable[[Record, Image], Iterator[AnnotatedExample]]] = {
        "objects": object_examples,
        "relationships": relationship_examples,
        "regions": region_examples,
    }
    if part not in makers:
        raise InputError.unknown("part of Visual Genome", part, makers)
    file = find_file(path, FILES[part], what=f"Visual Genome's {FILES[part]}")
    return _examples(file, ImageFolder(images or path), makers[part])


def object_examples(picture: Record, image: Image) -> Iterator[AnnotatedExample]:
    """What is the object here? Objects without a name are left out."""
    for number, record in enumerate(picture.children("objects")):
        if not _names(record):
            continue
        thing = _thing(record)
        yield AnnotatedExample(
            prompt=Sentence(image, "What is the object ", box_region(image, thing.box), "?"),
            target=Sentence(thing.name),
            id=f"{_number(picture)}.{number}",
            task="refer.class",
            annotation=thing,
        )


def relationship_examples(picture: Record, image: Image) -> Iterator[AnnotatedExample]:
    """How do these two relate? The answer names both and grounds them."""
    for number, record in enumerate(picture.children("relationships")):
        subject = _thing(Record(record.field("subject", dict), f"{record.where}, subject"))
        other = _thing(Record(record.field("object", dict), f"{record.where}, object"))
        predicate = record.field("predicate", str).strip().lower()
        first, second = box_region(image, subject.box), box_region(image, other.box)
        yield AnnotatedExample(
            prompt=Sentence(image, "What is the relation between ", first, " and ", second, "?"),
            target=Sentence(f"{subject.name} ", first, f" {predicate} {other.name} ", second, "."),
            id=f"{_number(picture)}.{number}",
            task="refer.relation",
            annotation=Relationship(subject, predicate, other),
        )


def region_examples(picture: Record, image: Image) -> Iterator[AnnotatedExample]:
    """Describe the region; the annotation's name is the description."""
    for number, record in enumerate(picture.children("regions")):
        corner_and_size = [record.field(edge, float) for edge in ("x", "y", "width", "height")]
        thing = Thing(record.field("phrase", str).strip(), box_of_corner_and_size(corner_and_size))
        yield AnnotatedExample(
            prompt=Sentence(image, "Describe the region ", box_region(image, thing.box), " of the image."),
            target=Sentence(thing.name),
            id=f"{_number(picture)}.{number}",
            task="refer.describe",
            annotation=thing,
        )


def _examples(
    file: Path, images: ImageFolder, maker: Callable[[Record, Image], Iterator[AnnotatedExample]]
) -> Iterator[AnnotatedExample]:
    for picture in json_array(file):
        yield from maker(picture, images.open(f"{_number(picture)}.jpg"))


def _number(picture: Record) -> int:
    """The picture's number, called `id` in region_descriptions.json and `image_id` elsewhere."""
    return picture.field("image_id" if "image_id" in picture.values else "id", int)


def _thing(record: Record) -> Thing:
    corner_and_size = [record.field(edge, float) for edge in ("x", "y", "w", "h")]
    names = _names(record)
    if not names:
        raise InputError(f"{record.where}: field 'name' or 'names' is missing: take Visual Genome's version 1.2 or 1.4")
    return Thing(names[0], box_of_corner_and_size(corner_and_size))


def _names(record: Record) -> list[str]:
    """`names` is a list; relationships of version 1.4 have `name` for one of the two things."""
    if "name" in record.values:
        return [record.field("name", str)]
    return [str(name) for name in record.optional("names", list, [])]
