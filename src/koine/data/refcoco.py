"""RefCOCO, RefCOCO+ and RefCOCOg: expressions that refer to one object of a COCO picture.

Two published forms are read: the original one of lichengunc/refer (`refs(unc).p`, `refs(umd).p`, ... beside
`instances.json`) and MDETR's (`finetune_refcoco_val.json`, ...), which Ferret evaluates on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from koine.data.annotated import AnnotatedExample, Box, box_of_corner_and_size, box_region, check_size
from koine.data.folders import ImageFolder, find_file, find_files
from koine.data.records import Record, json_array, read_object
from koine.data.restricted_pickle import load_plain_pickle
from koine.errors import InputError
from koine.sentence import Image, Sentence

DATA_SETS = ("refcoco", "refcoco+", "refcocog")
SPLITS = ("val", "testA", "testB", "test", "train")
"""RefCOCO and RefCOCO+ have val, testA (people) and testB (other things); RefCOCOg has val and test."""


@dataclass(frozen=True)
class ReferringExpression:
    """One expression and the box that it means.

    Attributes:
        id: of the expression, unique within its file.
        data_set: "refcoco", "refcoco+" or "refcocog".
        box: (left, top, right, bottom) in pixels.
    """

    id: str
    data_set: str
    image: str
    width: int
    height: int
    expression: str
    box: Box
    where: str = ""


def read(
    path: str | os.PathLike[str], *, data_set: str = "refcoco", split: str = "val"
) -> Iterator[ReferringExpression]:
    """The expressions of a split, from whichever of the two forms the folder holds (MDETR's first).

    Args:
        path: the folder, one of MDETR's files, or a `refs(...).p`.
    Raises:
        InputError: neither form is there, or only that of another of the data sets; an unknown data set or split; a
            record that lacks a field.
    """
    if data_set not in DATA_SETS:
        raise InputError.unknown("referring data set", data_set, DATA_SETS)
    if split not in SPLITS:
        raise InputError.unknown("split", split, SPLITS)
    # RefCOCOg was split twice; the split by the University of Maryland is the one that is reported.
    references = "refs(umd).p" if data_set == "refcocog" else "refs(unc).p"
    file = _find(path, data_set, split, references)
    if file.suffix == ".p":
        return read_refer(file, data_set=data_set, split=split)
    return read_mdetr(file, data_set=data_set)


def read_mdetr(path: str | os.PathLike[str], *, data_set: str = "refcoco") -> Iterator[ReferringExpression]:
    """MDETR's form: one image entry per expression, and one annotation for it.

    Args:
        data_set: of expressions whose entry doesn't name theirs.
    Raises:
        InputError: a missing field, or an expression without its annotation.
    """
    content = read_object(Path(path))
    boxes = {one.field("image_id", int): one.numbers("bbox", 4) for one in content.children("annotations")}
    for image in content.children("images"):
        number = image.field("id", int)
        if number not in boxes:
            raise InputError(f"{image.where}: no annotation has image_id {number}: fetch the file again")
        yield ReferringExpression(
            id=str(number),
            data_set=image.optional("dataset_name", str, data_set),
            image=image.optional("file_name", str, ""),
            width=image.field("width", int),
            height=image.field("height", int),
            expression=image.field("caption", str),
            box=box_of_corner_and_size(boxes[number]),
            where=image.where,
        )


def read_refer(
    path: str | os.PathLike[str], *, data_set: str = "refcoco", split: str = "val"
) -> Iterator[ReferringExpression]:
    """The original form: `refs(...).p` and, in the same folder, `instances.json` with pictures and boxes.

    Raises:
        InputError: the pickle holds more than plain data, a file is missing, or a reference to an unknown annotation.
    """
    references = load_plain_pickle(Path(path))
    if not isinstance(references, list):
        raise InputError(f"{path} holds a {type(references).__name__}: a list of references is needed")
    chosen = [Record(entry, f"{Path(path).name}, reference {number}") for number, entry in enumerate(references)]
    chosen = [entry for entry in chosen if entry.field("split", str) == split]
    instances = find_file(Path(path).parent, "instances.json", what="instances.json, published beside refs(...).p")
    wanted = {entry.field("ann_id", int) for entry in chosen}
    images = {image.field("id", int): image for image in json_array(instances, "images.item")}
    boxes = {
        one.field("id", int): one.numbers("bbox", 4)
        for one in json_array(instances, "annotations.item")
        if one.values.get("id") in wanted
    }
    for entry in chosen:
        yield from _expressions(entry, images, boxes, data_set)


def examples(
    path: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    data_set: str = "refcoco",
    split: str = "val",
) -> Iterator[AnnotatedExample]:
    """The questions of a split: where is what the expression means? The annotation is the `ReferringExpression`.

    Args:
        images: the folder of COCO's train2014 pictures, by default `path`.
    """
    return _examples(read(path, data_set=data_set, split=split), ImageFolder(images or path))


def example(reference: ReferringExpression, image: Image) -> AnnotatedExample:
    """Ferret's question for one expression (commas removed, as there) with the box as the answer."""
    check_size(image, reference.width, reference.height, reference.where)
    phrase = reference.expression.replace(",", "").strip()
    return AnnotatedExample(
        prompt=Sentence(image, f"What is the location of {phrase} in the image?"),
        target=Sentence(f"{phrase} ", box_region(image, reference.box), "."),
        id=reference.id,
        task="ground.expression",
        annotation=reference,
    )


def _examples(references: Iterable[ReferringExpression], images: ImageFolder) -> Iterator[AnnotatedExample]:
    for reference in references:
        yield example(reference, images.open(reference.image))


def _find(path: str | os.PathLike[str], data_set: str, split: str, references: str) -> Path:
    """The file of MDETR's form, else of the original one; in a folder of all three data sets, the right one's.

    The original's files have the same name for RefCOCO and RefCOCO+: only their folders tell them apart.
    """
    what = f"finetune_{data_set}_{split}.json (MDETR's form) or {references} with instances.json"
    files = find_files(path, f"finetune_{data_set}_{split}.json", references, what=what)
    own = [file for file in files if file.parent.name == data_set]
    unnamed = [file for file in files if file.suffix != ".p" or file.parent.name not in DATA_SETS]
    if not own and not unnamed:
        raise InputError(
            f"{files[0]} lies in a folder of {files[0].parent.name} and is not {data_set}'s: put {what} into a folder "
            f"{data_set}, or ask for {files[0].parent.name}"
        )
    return (own or unnamed)[0]


def _expressions(
    entry: Record, images: dict[int, Record], boxes: dict[int, tuple[float, ...]], data_set: str
) -> Iterator[ReferringExpression]:
    """All sentences of one reference."""
    image_id, annotation_id = entry.field("image_id", int), entry.field("ann_id", int)
    if image_id not in images or annotation_id not in boxes:
        lacking = f"image {image_id}" if image_id not in images else f"annotation {annotation_id}"
        raise InputError(f"{entry.where}: instances.json has no {lacking}: take both files from the same download")
    image = images[image_id]
    for sentence in entry.children("sentences"):
        yield ReferringExpression(
            id=str(sentence.field("sent_id", int)),
            data_set=data_set,
            image=image.field("file_name", str),
            width=image.field("width", int),
            height=image.field("height", int),
            expression=sentence.field("sent", str),
            box=box_of_corner_and_size(boxes[annotation_id]),
            where=sentence.where,
        )
