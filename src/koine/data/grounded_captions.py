"""Captions of Flickr30k whose object words are grounded in boxes: what grounded captioning is scored on.

The references of GVD (arXiv:1812.06587), `flickr30k_cleaned_class.json`, are read where the folder has them: words,
the places of object words, their classes and boxes. Otherwise they are made from Flickr30k Entities: the object word
of a phrase is its last word, and its class is that word's singular. GVD's own choice of about 480 classes can't be
derived from it exactly, so that only scores on its file compare with published ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from koine.data.annotated import AnnotatedExample, Box, box_region
from koine.data.flickr30k_entities import GroundedCaption, Phrase, enclosing, read_pictures
from koine.data.folders import ImageFolder, find_file
from koine.data.records import Record, json_array, read_object
from koine.errors import InputError
from koine.sentence import Image, Part, Sentence

QUESTION = "Describe the image in one sentence and give the location of everything that you mention."

_IRREGULAR = {
    "men": "man",
    "women": "woman",
    "children": "child",
    "feet": "foot",
    "teeth": "tooth",
    "geese": "goose",
    "mice": "mouse",
    "knives": "knife",
    "leaves": "leaf",
    "shelves": "shelf",
    "wives": "wife",
}
_UNCHANGED = ("ss", "us", "is")


@dataclass(frozen=True)
class ObjectWord:
    """A word that names a visible thing.

    Attributes:
        name: the thing's class.
        place: the word's place in the caption, from 0.
        box: around all that the word means, (left, top, right, bottom) in pixels.
    """

    name: str
    place: int
    box: Box


@dataclass(frozen=True)
class ReferenceCaption:
    """A person's caption in words, and its object words."""

    words: tuple[str, ...]
    objects: tuple[ObjectWord, ...]


@dataclass(frozen=True)
class CaptionedPicture:
    """A picture's references."""

    id: str
    image: str
    captions: tuple[ReferenceCaption, ...]


def read(path: str | os.PathLike[str], *, split: str = "test") -> Iterator[CaptionedPicture]:
    """The pictures of a split, with GVD's references or with our own (see the module).

    With GVD's file the split's pictures are those of `split_ids_flickr30k_entities.json`, if the folder has it, else
    all.

    Raises:
        InputError: neither source is there, or a record lacks a field.
    """
    file = find_file(
        path, "flickr30k_cleaned_class.json", f"{split}.txt", what="flickr30k_cleaned_class.json (GVD) or Entities"
    )
    if file.suffix == ".json":
        return _read_gvd(file, split)
    return (_from_entities(captions) for captions in read_pictures(path, split=split) if captions)


def examples(
    path: str | os.PathLike[str], *, images: str | os.PathLike[str] | None = None, split: str = "test"
) -> Iterator[AnnotatedExample]:
    """One example per picture: say what is there, and where. The annotation is the `CaptionedPicture`.

    Args:
        images: the folder of Flickr30k's pictures, by default `path`.
    """
    folder = ImageFolder(images or path)
    return (example(picture, folder.open(picture.image)) for picture in read(path, split=split))


def example(picture: CaptionedPicture, image: Image) -> AnnotatedExample:
    """The request for a grounded caption; the answer is the first reference with a box behind each object word."""
    reference = picture.captions[0]
    boxes = {thing.place: thing.box for thing in reference.objects}
    parts: list[Part] = []
    for place, word in enumerate(reference.words):
        parts.append(f"{' ' if parts else ''}{word}")
        if place in boxes:
            parts += [" ", box_region(image, boxes[place])]
    return AnnotatedExample(
        prompt=Sentence(image, QUESTION),
        target=Sentence(*parts),
        id=picture.id,
        task="caption.grounded",
        annotation=picture,
    )


def singular(word: str) -> str:
    """The singular of an English noun by rule: enough for the things in pictures, not for all of English."""
    word = word.lower()
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) <= 3 or not word.endswith("s") or word.endswith(_UNCHANGED):
        return word
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    return word[:-2] if word.endswith(("ches", "shes", "xes", "sses")) else word[:-1]


def _read_gvd(file: Path, split: str) -> Iterator[CaptionedPicture]:
    wanted = _gvd_split(file, split)
    for record in json_array(file, "annotations.item"):
        number = str(record.field("image_id", object))
        if wanted is None or number in wanted:
            captions = tuple(_gvd_caption(caption) for caption in record.children("captions"))
            yield CaptionedPicture(number, f"{number}.jpg", captions)


def _gvd_split(file: Path, split: str) -> set[str] | None:
    listing = file.with_name("split_ids_flickr30k_entities.json")
    if not listing.is_file():
        return None
    return {str(number) for number in read_object(listing).field(split, list)}


def _gvd_caption(record: Record) -> ReferenceCaption:
    places, names = record.field("process_idx", list), record.field("process_clss", list)
    boxes = record.field("process_bnd_box", list)
    if not len(places) == len(names) == len(boxes):
        raise InputError(
            f"{record.where}: {len(places)} process_idx, {len(names)} process_clss and {len(boxes)} process_bnd_box: "
            "they must be equally many; fetch the file again"
        )
    objects = tuple(
        ObjectWord(str(name), int(place), (float(box[0]), float(box[1]), float(box[2]), float(box[3])))
        for name, place, box in zip(names, places, boxes, strict=True)
    )
    return ReferenceCaption(tuple(map(str, record.field("tokens", list))), objects)


def _from_entities(captions: tuple[GroundedCaption, ...]) -> CaptionedPicture:
    references = tuple(
        ReferenceCaption(tuple(one.caption.split()), tuple(_object_word(phrase) for phrase in one.phrases))
        for one in captions
    )
    return CaptionedPicture(captions[0].picture, captions[0].image, references)


def _object_word(phrase: Phrase) -> ObjectWord:
    words = phrase.text.split()
    return ObjectWord(singular(words[-1]), phrase.first_word + len(words) - 1, enclosing(phrase.boxes))
