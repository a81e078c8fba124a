"""Ferret's training records: conversations whose turns hold placeholders for boxes (arXiv:2310.07704, section 4).

The format is that of the GRIT data, which its authors never released; who makes such records can train on them. Beside
LLaVA's `image` and `conversations`, a record has

    image_w, image_h      the picture's size in pixels
    box_x1y1x2y2          per turn a list of pixel boxes; `<bbox_location0>` in the turn's text stands for the first
    masks                 optional: per turn and box COCO's run lengths of the object
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from koine.data.annotated import AnnotatedExample, Box, box_region, check_size, decode_mask, mask_region
from koine.data.conversations import conversation, turns
from koine.data.folders import ImageFolder, find_files
from koine.data.records import Record, json_array
from koine.errors import InputError
from koine.sentence import Image, Part, Region

if TYPE_CHECKING:
    from numpy.typing import NDArray

PointRule = Literal["mask_center", "mask_uniform", "mask_gaussian", "box_center", "box_gaussian"]
POINT_RULES: tuple[PointRule, ...] = get_args(PointRule)

NEAREST_OF = 1000
"""So many random pixels of a mask are looked at for the one nearest to a wanted place, as in Ferret."""

SPREAD = 0.15
"""Standard deviation of a random point round a box's centre, in sides of the box, as in Ferret."""

_PLACEHOLDER = re.compile(r"<bbox_location(\d+)>")


@dataclass(frozen=True)
class Turn:
    """What one side says: text with placeholders, and the boxes and masks they stand for.

    Attributes:
        boxes: (left, top, right, bottom) in pixel numbers of the picture.
        masks: COCO's run lengths, one for each box; none at all if they aren't known.
    """

    text: str
    boxes: tuple[Box, ...]
    masks: tuple[Any, ...] = field(repr=False)

    @property
    def places(self) -> list[int]:
        """The numbers of the boxes that the text's placeholders stand for, in the order of the text."""
        return [int(place) for place in _PLACEHOLDER.findall(self.text)]


@dataclass(frozen=True)
class GritRecord:
    """One conversation; person and model take turns, the person first."""

    id: str
    image: str
    width: int
    height: int
    turns: tuple[Turn, ...]
    where: str = ""


@dataclass(frozen=True)
class RegionOptions:
    """How the boxes of a conversation become regions.

    Attributes:
        form: of the regions in questions: "either" tosses a coin for each turn, as in Ferret.
        point: where a point is put: on the mask's pixel nearest to the box's centre, on any of them, near a random
            place round the centre, or by the box alone. Without a mask the first three fall back to "box_gaussian".
        answers: "box", or "as_asked" to answer with the point where the question gave one for the same box.
    """

    form: Literal["either", "point", "box"] = "either"
    point: PointRule = "mask_center"
    answers: Literal["box", "as_asked"] = "box"


def read(path: str | os.PathLike[str]) -> Iterator[GritRecord]:
    """The records of a file, or of all `*.json` files in a folder.

    Raises:
        InputError: a missing field, a placeholder without its box, or lists of unequal length.
    """
    files = find_files(path, "*.json", what="JSON files of Ferret's training records")
    return (_record(record) for file in files for record in json_array(file))


def examples(
    path: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    options: RegionOptions | None = None,
    seed: int = 0,
) -> Iterator[AnnotatedExample]:
    """The conversations with their pictures; the annotation is the `GritRecord`.

    Args:
        images: the folder of the pictures, by default `path`.
        seed: for the form of regions and the places of points.
    """
    chosen, generator = options or RegionOptions(), np.random.default_rng(seed)
    if chosen.point not in POINT_RULES:
        raise InputError.unknown("rule for points", chosen.point, POINT_RULES)
    return _examples(read(path), ImageFolder(images or path), chosen, generator)


def example(
    record: GritRecord, image: Image, generator: np.random.Generator, options: RegionOptions | None = None
) -> AnnotatedExample:
    """One conversation with regions in place of its placeholders: any form in questions, boxes in answers.

    In a question a box with a mask becomes the part of the mask in the box, so that training on boxes already is
    training on free forms (as in Ferret).
    """
    check_size(image, record.width, record.height, record.where)
    chosen = options or RegionOptions()
    spoken: list[list[Part]] = []
    points: dict[Box, Region] = {}
    for number, turn in enumerate(record.turns):
        if number % 2 == 0:
            form = chosen.form
            if form == "either" and turn.boxes:
                form = "point" if generator.integers(2) else "box"
            as_point = form == "point"
            regions = [
                _asked(record, turn, place, image, chosen.point if as_point else None, generator)
                for place in range(len(turn.boxes))
            ]
            points = dict(zip(turn.boxes, regions, strict=True)) if as_point else {}
        else:
            boxes = {box: box_region(image, box) for box in turn.boxes}
            regions = [
                points.get(box, boxes[box]) if chosen.answers == "as_asked" else boxes[box] for box in turn.boxes
            ]
        spoken.append(_filled(turn.text, regions))
    return conversation(image, spoken, id=record.id, task="converse.regions", annotation=record)


def choose_point(
    mask: NDArray[np.bool_] | None, box: Box, rule: PointRule, generator: np.random.Generator
) -> tuple[float, float]:
    """A point (x, y) in pixels for an object, by one of the rules of `RegionOptions.point`.

    Args:
        mask: [height, width] bool, or None; an empty one counts as None.
        box: (left, top, right, bottom) in pixel numbers.
    """
    pixels = np.argwhere(mask)[:, ::-1] if mask is not None else np.empty((0, 2), dtype=np.int64)
    if rule == "box_center":
        return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    if rule == "box_gaussian" or not len(pixels):
        return _near_center(box, generator)
    if rule == "mask_uniform":
        x, y = pixels[generator.integers(len(pixels))]
        return float(x), float(y)
    if rule == "mask_center":
        wanted = np.array([(box[0] + box[2]) // 2, (box[1] + box[3]) // 2])
    else:
        wanted = np.array(_near_center(box, generator))
    if len(pixels) > NEAREST_OF:
        pixels = pixels[generator.choice(len(pixels), NEAREST_OF, replace=False)]
    x, y = pixels[np.argmin(((pixels - wanted) ** 2).sum(axis=1))]
    return float(x), float(y)


def _near_center(box: Box, generator: np.random.Generator) -> tuple[float, float]:
    """A normally distributed point round the box's centre, drawn again until it lies in the box."""
    low, high = np.array(box[:2]), np.array(box[2:])
    while True:
        point = generator.normal((low + high) / 2, SPREAD * (high - low))
        if (low <= point).all() and (point <= high).all():
            return float(point[0]), float(point[1])


def _asked(
    record: GritRecord, turn: Turn, place: int, image: Image, rule: PointRule | None, generator: np.random.Generator
) -> Region:
    """The region of one box in a question: a point by `rule`, or the box with its mask if `rule` is None."""
    box, mask = turn.boxes[place], None
    if turn.masks:
        mask = decode_mask(turn.masks[place], record.width, record.height, f"{record.where}, masks")
    if rule is not None:
        return Region.point(image, *choose_point(mask, box, rule, generator))
    return box_region(image, box) if mask is None else mask_region(image, mask, box)


def _filled(text: str, regions: list[Region]) -> list[Part]:
    """The text with regions in place of its placeholders."""
    pieces = _PLACEHOLDER.split(text)  # text, number, text, number, ..., text
    parts: list[Part] = []
    for number, piece in enumerate(pieces):
        if number % 2:
            parts.append(regions[int(piece)])
        elif piece:
            parts.append(piece)
    return parts


def _examples(
    records: Iterable[GritRecord], images: ImageFolder, options: RegionOptions, generator: np.random.Generator
) -> Iterator[AnnotatedExample]:
    for record in records:
        yield example(record, images.open(record.image), generator, options)


def _record(record: Record) -> GritRecord:
    width, height = record.field("image_w", int), record.field("image_h", int)
    texts = turns(record)
    boxes = record.optional("box_x1y1x2y2", list, [[] for _ in texts])
    masks = record.optional("masks", list, [[] for _ in texts])
    if not len(texts) == len(boxes) == len(masks):
        raise InputError(
            f"{record.where}: {len(texts)} turns but {len(boxes)} lists of boxes and {len(masks)} of masks: "
            "give one list for each turn, empty where it has none"
        )
    found = []
    for number, (text, given_boxes, given_masks) in enumerate(zip(texts, boxes, masks, strict=True)):
        where = f"{record.where}, turn {number}"
        of_turn = _listed(given_boxes, "box_x1y1x2y2", where)
        masks_of_turn = _listed(given_masks, "masks", where)
        if masks_of_turn and len(masks_of_turn) != len(of_turn):
            raise InputError(
                f"{where}: {len(of_turn)} boxes but {len(masks_of_turn)} masks: give one mask for each box, or none"
            )
        used = {int(place) for place in _PLACEHOLDER.findall(text)}
        if used != set(range(len(of_turn))):
            raise InputError(
                f"{where}: text uses <bbox_location> {sorted(used)} but there are {len(of_turn)} boxes: "
                "number the placeholders from 0 in every turn"
            )
        clamped = tuple(_ordered(clamped_box(box, width, height, where)) for box in of_turn)
        found.append(Turn(text, clamped, tuple(masks_of_turn)))
    name = str(record.values.get("id", record.where))
    return GritRecord(name, record.field("image", str), width, height, tuple(found), record.where)


def _listed(value: Any, name: str, where: str) -> list[Any]:
    """What a turn has of a field, which may be null for nothing."""
    if value is not None and not isinstance(value, list):
        raise InputError(
            f"{where}: {name} is {str(value)[:60]}: give a list with an entry for each box, or an empty one"
        )
    return value or []


def _ordered(box: Box) -> Box:
    """The box with its sides in order: some annotations have them swapped."""
    return (min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1], box[3]))


def clamped_box(box: Any, width: int, height: int, where: str) -> Box:
    """The box in pixel numbers, 0 to side - 1, as Ferret counts."""
    try:
        left, top, right, bottom = (float(edge) for edge in box)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: box {box} is not four numbers: give x1, y1, x2, y2 in pixels") from error
    return (
        min(max(left, 0.0), width - 1.0),
        min(max(top, 0.0), height - 1.0),
        min(max(right, 0.0), width - 1.0),
        min(max(bottom, 0.0), height - 1.0),
    )
