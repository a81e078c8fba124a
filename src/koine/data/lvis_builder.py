"""Builds the file of LVIS referring object classification from LVIS's annotations, since it was never published."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from koine.data.annotated import decode_mask, encode_mask
from koine.data.records import Record, read_object
from koine.data.strokes import draw_stroke
from koine.errors import InputError
from koine.files import write_atomically

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class BuildOptions:
    """What to draw from LVIS.

    Attributes:
        objects: how many; Ferret's paper has 2,667 (table of LVIS referring).
        smallest_area: pixels; smaller objects leave no room for a stroke.
        waypoints: of each stroke, see `draw_stroke`.
        thickness: of each stroke, see `draw_stroke`.
    """

    objects: int = 2667
    smallest_area: float = 32.0 * 32.0
    waypoints: int = 4
    thickness: float = 0.12


def build(
    annotations: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    seed: int = 0,
    options: BuildOptions | None = None,
) -> int:
    """Writes the JSON-lines file `out` from LVIS's `lvis_v1_val.json`; the same seed gives the same file.

    Returns:
        how many objects were written.
    Raises:
        InputError: a missing field, an object of an unknown picture or class, or fewer objects of sufficient size than
            asked for.
    """
    with write_atomically(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        count = 0
        for line in objects(Path(annotations), np.random.default_rng(seed), options or BuildOptions()):
            file.write(json.dumps(line) + "\n")
            count += 1
    return count


def objects(path: Path, generator: np.random.Generator, options: BuildOptions) -> Iterator[dict[str, Any]]:
    """The lines of the file, in random order: objects drawn without repetition, each with a stroke and a wrong class.

    The wrong class is drawn from those that aren't annotated in the picture and that LVIS's annotators didn't leave
    unchecked there, so that it is wrong as far as anyone knows.
    """
    lvis = read_object(path)
    images = {image.field("id", int): image for image in lvis.children("images")}
    classes = {one.field("id", int): one for one in lvis.children("categories")}
    found = [one for one in lvis.children("annotations") if one.field("area", float) >= options.smallest_area]
    if len(found) < options.objects:
        raise InputError(
            f"{path} has {len(found)} objects of at least {options.smallest_area:g} pixels but {options.objects} are "
            "asked for: ask for fewer, or take the whole validation file of LVIS"
        )
    present: dict[int, set[int]] = defaultdict(set)
    for one in lvis.children("annotations"):
        present[one.field("image_id", int)].add(one.field("category_id", int))
    for position in generator.permutation(len(found))[: options.objects]:
        one = found[position]
        image = _of(one, "image_id", images, "images")
        true_class = _of(one, "category_id", classes, "categories")
        unchecked = set(image.optional("not_exhaustive_category_ids", list, []))
        wrong = sorted(set(classes) - present[image.field("id", int)] - unchecked)
        if not wrong:
            raise InputError(f"{one.where}: every class is in its picture, so none can be the wrong one: add classes")
        yield _line(
            one,
            image,
            true_class,
            classes[int(generator.choice(wrong))],
            generator,
            options,
        )


def _of(thing: Record, field: str, table: dict[int, Record], name: str) -> Record:
    """The picture or class that an object names by its number."""
    number = thing.field(field, int)
    if number not in table:
        raise InputError(f"{thing.where}: the file's {name} have no id {number}: fetch the file again")
    return table[number]


def _line(
    thing: Record,
    image: Record,
    true_class: Record,
    wrong_class: Record,
    generator: np.random.Generator,
    options: BuildOptions,
) -> dict[str, Any]:
    """One object with its point, box and stroke."""
    width, height = image.field("width", int), image.field("height", int)
    mask = decode_mask(thing.values.get("segmentation"), width, height, thing.where)
    stroke = draw_stroke(mask, generator, waypoints=options.waypoints, thickness=options.thickness)
    rows, columns = np.nonzero(mask)
    place = int(generator.integers(len(rows)))
    left, top, box_width, box_height = thing.numbers("bbox", 4)
    edges = (left / width, top / height, (left + box_width) / width, (top + box_height) / height)
    return {
        "id": thing.field("id", int),
        "image_path": image_name(image),
        "width": width,
        "height": height,
        "sample_point": [int(columns[place]), int(rows[place])],
        "bbox": [left, top, box_width, box_height],
        "bbox_norm": [min(max(edge, 0.0), 1.0) for edge in edges],
        "free_shape_bbox_raw": _tight_box(stroke),
        "free_shape_segment_mask": encode_mask(stroke),
        "name": true_class.field("name", str),
        "synonyms": true_class.field("synonyms", list),
        "neg_class": wrong_class.field("name", str),
    }


def image_name(image: Record) -> str:
    """`val2017/000000000139.jpg`: LVIS names pictures by COCO's address, older releases by file name."""
    if "file_name" in image.values:
        return image.field("file_name", str)
    return "/".join(image.field("coco_url", str).split("/")[-2:])


def _tight_box(mask: NDArray[np.bool_]) -> list[int]:
    """(left, top, right, bottom) of the mask in whole pixels, the last column and row included as Ferret counts."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])]
