"""LVIS referring object classification: what is the thing at this point, in this box, under this stroke?

Ferret's evaluation of referring (arXiv:2310.07704, section 5.1) reads a JSON-lines file that was never published;
`lvis_builder` makes one. Its fields, one object per line:

    id, image_path, width, height            the picture and its size in pixels
    sample_point [x, y]                      pixels
    bbox_norm [left, top, right, bottom]     0..1
    free_shape_bbox_raw                      left, top, right, bottom of the stroke: pixel numbers, the last included
    free_shape_segment_mask                  the stroke: [width][height] of 0 and 1 (x first), or COCO run lengths
    name, synonyms, neg_class                names of the true class and of one wrong class
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from koine.data.annotated import (
    AnnotatedExample,
    Box,
    box_of_pixel_numbers,
    check_size,
    decode_mask,
    encode_mask,
    fraction_region,
)
from koine.data.folders import ImageFolder, find_file
from koine.data.records import Record, json_lines
from koine.errors import InputError
from koine.sentence import Image, Region, Sentence

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RegionForm = Literal["point", "box", "free_form"]
FORMS: tuple[RegionForm, ...] = get_args(RegionForm)


@dataclass(frozen=True)
class ReferredObject:
    """One object of the file, see the module's description.

    Attributes:
        box: (left, top, right, bottom) as fractions 0..1 of the picture's sides.
        stroke_box: (left, top, right, bottom) in pixel numbers, the last column and row included.
        stroke: the stroke as COCO's run lengths; None where the file has none.
        where: file and line, for errors.
    """

    id: str
    image: str
    width: int
    height: int
    point: tuple[float, float]
    box: Box
    stroke_box: Box | None
    name: str
    synonyms: tuple[str, ...]
    wrong_name: str
    stroke: Any = field(default=None, repr=False, compare=False)
    where: str = ""

    def stroke_mask(self) -> NDArray[np.bool_]:
        """The stroke as pixels, [height, width] bool.

        Raises:
            InputError: the file has no stroke for this object, or one of another size.
        """
        if self.stroke is None or self.stroke_box is None:
            raise InputError(
                f"{self.where}: field 'free_shape_segment_mask' or 'free_shape_bbox_raw' is missing: "
                "build the file with koine.data.lvis_builder, or ask for points or boxes"
            )
        return decode_mask(self.stroke, self.width, self.height, self.where)


def read(path: str | os.PathLike[str]) -> Iterator[ReferredObject]:
    """The objects of a file, or of the file `lvis_eval.jsonl` in a folder.

    Raises:
        InputError: no such file, or a line that lacks a field.
    """
    file = find_file(path, "lvis_eval.jsonl", "lvis*.jsonl", what="lvis_eval.jsonl (made by koine.data.lvis_builder)")
    return (_object(record) for record in json_lines(file))


def examples(
    path: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    form: RegionForm = "box",
) -> Iterator[AnnotatedExample]:
    """The questions of a file; the annotation of each is its `ReferredObject`.

    Args:
        images: the folder of COCO's pictures, by default `path`.
        form: how the object is pointed at.
    """
    if form not in FORMS:
        raise InputError.unknown("form of region", form, FORMS)
    return _examples(read(path), ImageFolder(images or path), form)


def example(thing: ReferredObject, index: int, image: Image, form: RegionForm) -> AnnotatedExample:
    """The question about one object: the true class is named first if `index`, the line counted from 0, is even."""
    check_size(image, thing.width, thing.height, thing.where)
    first, second = (thing.name, thing.wrong_name) if index % 2 == 0 else (thing.wrong_name, thing.name)
    question = ("Is the object ", region_of(thing, image, form), f" of the image a {first} or a {second}?")
    return AnnotatedExample(
        prompt=Sentence(image, *question),
        target=Sentence(thing.name.replace("_", " ")),
        id=thing.id,
        task=f"refer.{form}",
        annotation=thing,
    )


def region_of(thing: ReferredObject, image: Image, form: RegionForm) -> Region:
    """The object as a point, as its box or as its stroke."""
    if form == "point":
        x, y = thing.point
        return Region.point(image, min(x, image.width - 1), min(y, image.height - 1))
    if form == "free_form":
        mask = thing.stroke_mask()
        assert thing.stroke_box is not None  # stroke_mask has seen to it
        return Region.scribble(image, mask, box=box_of_pixel_numbers(thing.stroke_box, image.width, image.height))
    return fraction_region(image, thing.box)


def _examples(things: Iterable[ReferredObject], images: ImageFolder, form: RegionForm) -> Iterator[AnnotatedExample]:
    for index, thing in enumerate(things):
        yield example(thing, index, images.open(thing.image), form)


def _object(record: Record) -> ReferredObject:
    x, y = record.numbers("sample_point", 2)
    left, top, right, bottom = record.numbers("bbox_norm", 4)
    has_stroke = record.values.get("free_shape_bbox_raw") is not None
    stroke_box = record.numbers("free_shape_bbox_raw", 4) if has_stroke else None
    return ReferredObject(
        id=str(record.values.get("id", record.where)),
        image=record.field("image_path", str),
        width=record.field("width", int),
        height=record.field("height", int),
        point=(x, y),
        box=(left, top, right, bottom),
        stroke_box=(stroke_box[0], stroke_box[1], stroke_box[2], stroke_box[3]) if stroke_box else None,
        name=record.field("name", str),
        synonyms=tuple(record.field("synonyms", list)),
        wrong_name=record.field("neg_class", str),
        stroke=_stroke(record),
        where=record.where,
    )


def _stroke(record: Record) -> Any:
    """The stroke as run lengths, which are small enough to be kept while thousands of objects are evaluated."""
    import numpy as np

    stroke = record.values.get("free_shape_segment_mask")
    if not isinstance(stroke, list):
        return stroke
    columns = np.asarray(stroke)
    width, height = record.field("width", int), record.field("height", int)
    if columns.shape != (width, height):
        raise InputError(
            f"{record.where}: free_shape_segment_mask has shape {list(columns.shape)}: "
            f"give [{width}][{height}], x first"
        )
    return encode_mask(columns.T != 0)
