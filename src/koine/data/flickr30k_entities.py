"""Flickr30k Entities: captions whose phrases are linked to boxes in the picture (arXiv:1505.04870).

The data set's own files are `Sentences/<picture>.txt` and `Annotations/<picture>.xml`, and `train.txt`, `val.txt`,
`test.txt` list the pictures of each split. MDETR's `final_flickr_mergedGT_<split>.json`, which Ferret evaluates on,
says beside them which phrases of which captions are asked.
"""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from koine.data.annotated import AnnotatedExample, Box, box_region
from koine.data.folders import ImageFolder, find_file, folders_below
from koine.data.records import Record, json_array
from koine.errors import InputError
from koine.sentence import Image, Part, Sentence

SPLITS = ("val", "test", "train")
_PHRASE = re.compile(r"\[/EN#(?P<id>\d+)(?P<categories>(?:/[^\s/\]]+)*)\s(?P<text>[^\]]*)\]")


@dataclass(frozen=True)
class Phrase:
    """A phrase of a caption.

    Attributes:
        id: of the entity that the phrase means; phrases of several captions share it.
        categories: people, clothing, bodyparts, animals, vehicles, instruments, scene, other: one or two of them.
        first_word: its first word's place in the caption, from 0.
        boxes: of the entity, (left, top, right, bottom) in pixels; none if it isn't visible or is the whole scene.
    """

    text: str
    id: str
    categories: tuple[str, ...]
    first_word: int
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True)
class GroundedCaption:
    """One caption and those of its phrases that are asked for.

    Attributes:
        id: picture and caption, `36979_0`.
        picture: the picture's number.
        image: the picture's file name.
    """

    id: str
    picture: str
    image: str
    width: int
    height: int
    caption: str
    phrases: tuple[Phrase, ...]


@dataclass(frozen=True)
class PictureBoxes:
    """What an XML file says about one picture, entities by id.

    Attributes:
        boxes: all boxes of each entity, (left, top, right, bottom) in pixels.
        not_visible: entities without a box because they can't be seen.
        scene: entities without a box because they are the whole scene.
    """

    width: int
    height: int
    depth: int
    boxes: Mapping[str, tuple[Box, ...]]
    not_visible: tuple[str, ...]
    scene: tuple[str, ...]


def parse_sentences(text: str) -> list[tuple[str, tuple[Phrase, ...]]]:
    """The captions of one picture's text file, each with its phrases (without boxes)."""
    parsed = []
    for line in filter(None, text.split("\n")):
        phrases, plain, end = [], "", 0
        for match in _PHRASE.finditer(line):
            plain += line[end : match.start()]
            phrases.append(
                Phrase(
                    text=" ".join(match["text"].split()),
                    id=match["id"],
                    categories=tuple(filter(None, match["categories"].split("/"))),
                    first_word=len(plain.split()),
                )
            )
            plain, end = f"{plain} {match['text']} ", match.end()
        parsed.append((" ".join((plain + line[end:]).split()), tuple(phrases)))
    return parsed


def parse_boxes(xml: str, where: str) -> PictureBoxes:
    """The content of one picture's XML file.

    Raises:
        InputError: not XML, or an element that is missing or no number; the message begins with `where`.
    """
    try:
        root = ElementTree.fromstring(xml)
        boxes: dict[str, list[Box]] = defaultdict(list)
        not_visible, scene = [], []
        for thing in root.iter("object"):
            names = [name.text or "" for name in thing.iter("name")]
            if (corners := thing.find("bndbox")) is not None:
                box = tuple(_integer(corners, edge) for edge in ("xmin", "ymin", "xmax", "ymax"))
                for name in names:
                    boxes[name].append((box[0], box[1], box[2], box[3]))
            else:
                not_visible += names if _integer(thing, "nobndbox") else []
                scene += names if _integer(thing, "scene") else []
        width, height, depth = (_integer(root, f"size/{side}") for side in ("width", "height", "depth"))
    except (ElementTree.ParseError, ValueError, TypeError) as error:
        raise InputError(f"{where}: not an annotation of Flickr30k Entities ({error}): fetch the file again") from error
    fixed = {name: tuple(found) for name, found in boxes.items()}
    return PictureBoxes(width, height, depth, fixed, tuple(not_visible), tuple(scene))


def read(path: str | os.PathLike[str], *, split: str = "test") -> Iterator[GroundedCaption]:
    """The captions of a split that have a phrase with a box.

    With MDETR's file in the folder, its captions and phrases in its order; else all of the pictures in `<split>.txt`.

    Raises:
        InputError: neither file is there, a picture lacks its text or XML, or the two sources contradict one another.
    """
    if split not in SPLITS:
        raise InputError.unknown("split", split, SPLITS)
    root = Path(path)
    if root.is_file():  # MDETR's file itself; the other folders are expected around it
        return _read_mdetr(root, root.parent)
    merged = f"final_flickr_mergedGT_{split}.json"
    file = find_file(root, merged, f"{split}.txt", what=f"{merged} (MDETR's form) or {split}.txt with Sentences")
    if file.suffix == ".json":
        return _read_mdetr(file, root)
    return (caption for captions in _read_list(file, root) for caption in captions if caption.phrases)


def read_pictures(path: str | os.PathLike[str], *, split: str = "test") -> Iterator[tuple[GroundedCaption, ...]]:
    """Per picture of a split all its captions, those without a box included.

    Raises:
        InputError: there is no `<split>.txt`, or a picture lacks its text or XML.
    """
    if split not in SPLITS:
        raise InputError.unknown("split", split, SPLITS)
    return _read_list(find_file(path, f"{split}.txt", what=f"{split}.txt, the list of pictures"), Path(path))


def examples(
    path: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    split: str = "test",
) -> Iterator[AnnotatedExample]:
    """The questions of a split: where are these phrases? The annotation is the `GroundedCaption`.

    Args:
        images: the folder of Flickr30k's pictures, by default `path`.
    """
    return _examples(read(path, split=split), ImageFolder(images or path))


def example(caption: GroundedCaption, image: Image) -> AnnotatedExample:
    """Ferret's question for all phrases of one caption; the answer gives each phrase and the box around its boxes."""
    asked = ", ".join(phrase.text.lower().replace(",", "").strip() for phrase in caption.phrases)
    answer: list[Part] = []
    for phrase in caption.phrases:
        answer += [f"{' ' if answer else ''}{phrase.text} ", box_region(image, enclosing(phrase.boxes)), "."]
    return AnnotatedExample(
        prompt=Sentence(image, f"What are the locations of {asked}?"),
        target=Sentence(*answer),
        id=caption.id,
        task="ground.phrases",
        annotation=caption,
    )


def enclosing(boxes: Iterable[Box]) -> Box:
    """The smallest box around all boxes, of which there must be one."""
    left, top, right, bottom = zip(*boxes, strict=True)
    return (min(left), min(top), max(right), max(bottom))


def _examples(captions: Iterable[GroundedCaption], images: ImageFolder) -> Iterator[AnnotatedExample]:
    for caption in captions:
        yield example(caption, images.open(caption.image))


def _read_mdetr(file: Path, root: Path) -> Iterator[GroundedCaption]:
    folder, last = _Entities(root), ""
    for record in json_array(file, "images.item"):
        picture = str(record.values.get("original_img_id", Path(record.field("file_name", str)).stem))
        if picture != last:
            sentences, boxes, last = folder.sentences(picture), folder.boxes(picture), picture
        number = int(record.values.get("sentence_id", -1))
        if not 0 <= number < len(sentences):
            raise InputError(f"{record.where}: sentence_id {number} is not among the {len(sentences)} of {picture}.txt")
        caption = record.field("caption", str)
        asked = [_named(caption[start:end], sentences[number][1], record) for start, end in _spans(record)]
        for phrase in asked:
            if phrase.id not in boxes.boxes:
                raise InputError(
                    f"{record.where}: the phrase {phrase.text!r} has no box in {picture}.xml: take both from the same "
                    "release of the data set"
                )
        phrases = tuple(_with_boxes(phrase, boxes) for phrase in asked)
        image = record.field("file_name", str)
        yield GroundedCaption(f"{picture}_{number}", picture, image, boxes.width, boxes.height, caption, phrases)


def _captions(picture: str, folder: _Entities) -> tuple[GroundedCaption, ...]:
    """All captions of a picture, each with those of its phrases that have a box."""
    boxes = folder.boxes(picture)
    return tuple(
        GroundedCaption(
            id=f"{picture}_{number}",
            picture=picture,
            image=f"{picture}.jpg",
            width=boxes.width,
            height=boxes.height,
            caption=caption,
            phrases=tuple(_with_boxes(phrase, boxes) for phrase in phrases if phrase.id in boxes.boxes),
        )
        for number, (caption, phrases) in enumerate(folder.sentences(picture))
    )


def _read_list(file: Path, root: Path) -> Iterator[tuple[GroundedCaption, ...]]:
    folder = _Entities(root)
    return (_captions(picture, folder) for picture in file.read_text(encoding="utf-8").split())


class _Entities:
    """The text and XML files of pictures, in `Sentences` and `Annotations` somewhere below a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders = folders_below(root)

    def sentences(self, picture: str) -> list[tuple[str, tuple[Phrase, ...]]]:
        return parse_sentences(self._content("Sentences", f"{picture}.txt"))

    def boxes(self, picture: str) -> PictureBoxes:
        return parse_boxes(self._content("Annotations", f"{picture}.xml"), f"Annotations/{picture}.xml")

    def _content(self, kind: str, name: str) -> str:
        for folder in self._folders:
            if folder.name == kind and (folder / name).is_file():
                return (folder / name).read_text(encoding="utf-8", errors="replace")
        raise InputError(
            f"there is no {kind}/{name} in {self._root} or below: unpack Flickr30k Entities' annotations.zip there"
        )


def _spans(record: Record) -> Iterator[tuple[int, int]]:
    """Where the asked phrases are in the caption; of a phrase in several pieces the first counts, as in Ferret."""
    for pieces in record.field("tokens_positive_eval", list):
        start, end = pieces[0]
        yield int(start), int(end)


def _named(text: str, phrases: tuple[Phrase, ...], record: Record) -> Phrase:
    """The phrase of this text; if a caption says it twice, the first, as in Ferret's scorer."""
    for phrase in phrases:
        if phrase.text == text:
            return phrase
    raise InputError(
        f"{record.where}: no phrase {text!r} in the sentence file: take both from the same release of the data set"
    )


def _with_boxes(phrase: Phrase, boxes: PictureBoxes) -> Phrase:
    return Phrase(phrase.text, phrase.id, phrase.categories, phrase.first_word, boxes.boxes[phrase.id])


def _integer(element: ElementTree.Element, path: str) -> int:
    """The whole number in a sub-element; a missing element reads as None, which `int` refuses."""
    return int(element.findtext(path))  # type: ignore[arg-type]
