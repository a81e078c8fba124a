"""An example together with the annotation that it was made from, and how annotations become regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from koine.errors import InputError
from koine.sentence import Example, Image, Region

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Box: TypeAlias = tuple[float, float, float, float]
"""(left, top, right, bottom) in pixels of the image."""

BINS = 1000
"""Ferret and others write a coordinate as a whole thousandth of the picture's side."""

_INSIDE = 1e-6
"""How far inside a pixel an edge lies that stands for the pixel's number, in pixels."""


@dataclass(frozen=True)
class AnnotatedExample(Example):
    """An example that carries its annotation, so that a protocol can score the reply.

    Attributes:
        annotation: the data set's own dataclass for one exercise, without pixels.
    """

    annotation: Any = None


def box_of_corner_and_size(box: Sequence[float]) -> Box:
    """COCO's (left, top, width, height) as (left, top, right, bottom)."""
    left, top, width, height = box
    return (left, top, left + width, top + height)


def box_region(image: Image, box: Sequence[float]) -> Region:
    """The box as a region; what hangs over the image's edge is cut off, and no side is shorter than one pixel.

    Published annotations do hang over by fractions of pixels, and some of their boxes have no area or swapped sides.

    Args:
        box: (left, top, right, bottom) in pixels.
    """
    return Region.box(image, *box_within(box, image.width, image.height))


def box_within(box: Sequence[float], width: int, height: int) -> Box:
    """`box_region`'s rule on numbers: (left, top, right, bottom) inside [0, width] x [0, height]."""
    left, right = _span(box[0], box[2], width)
    top, bottom = _span(box[1], box[3], height)
    return (left, top, right, bottom)


def box_of_pixel_numbers(box: Sequence[float], width: int, height: int) -> Box:
    """The box that touches the pixels from one number to another, the last column and row included.

    Its right and lower edges lie just inside the last pixels and not at their ends, so that a system which writes
    coordinates as whole thousandths writes those of the numbers. What hangs over the image's edge is cut off.

    Args:
        box: (left, top, right, bottom), numbers of pixels.
    """
    left, top, right, bottom = box
    return (max(left, 0.0), max(top, 0.0), min(right + _INSIDE, width), min(bottom + _INSIDE, height))


def mask_region(image: Image, mask: NDArray[np.bool_], box: Sequence[float]) -> Region:
    """The part of the mask that lies in the box, or the box alone where the two don't meet.

    Args:
        mask: [height, width] bool, of the image's size.
        box: (left, top, right, bottom) in pixels. Annotated as pixel numbers, so that column `right` and row `bottom`
            are still part of it.
    """
    import numpy as np

    bounds = box_within(box, image.width, image.height)
    left, top, right, bottom = (int(edge) for edge in bounds)
    within = np.zeros_like(mask)
    within[top : bottom + 1, left : right + 1] = mask[top : bottom + 1, left : right + 1]
    return Region.scribble(image, within, box=bounds) if within.any() else Region.box(image, *bounds)


def fraction_region(image: Image, box: Sequence[float]) -> Region:
    """A box of fractions 0..1 of the picture's sides as a region; rules as in `box_region`.

    The pixels are chosen so that a system which writes coordinates as whole thousandths writes those of the fractions;
    an edge at 1 becomes the picture's last edge, which is thousandth 1000.
    """
    sides = (image.width, image.height, image.width, image.height)
    edges = [_pixels_of_fraction(edge, side) for edge, side in zip(box, sides, strict=True)]
    return box_region(image, edges)


def decode_mask(segmentation: object, width: int, height: int, where: str) -> NDArray[np.bool_]:
    """A segmentation in any of COCO's forms (polygons, run lengths plain or compressed) as pixels.

    Returns:
        mask: [height, width] bool.
    Raises:
        InputError: none of these forms, or run lengths of another image size.
    """
    import numpy as np
    from pycocotools import mask as coco_mask

    try:
        if isinstance(segmentation, Mapping):
            runs = dict(segmentation)
            if list(runs["size"]) != [height, width]:
                raise InputError(
                    f"{where}: the mask's size {list(runs['size'])} is not [{height}, {width}], the image's height and "
                    "width: take annotations and pictures of the same release"
                )
            if not isinstance(runs["counts"], str | bytes):
                runs = coco_mask.frPyObjects(runs, height, width)
        else:
            runs = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
        return np.asarray(coco_mask.decode(runs)).astype(bool)
    except InputError:
        raise
    except Exception as error:  # pycocotools raises bare Exceptions, TypeErrors and IndexErrors alike
        raise InputError(
            f"{where}: the segmentation is in none of COCO's forms ({error}): give polygons or run lengths"
        ) from error


def encode_mask(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A mask [height, width] bool as COCO's compressed run lengths: plain data, a hundredth of nested lists' size."""
    import numpy as np
    from pycocotools import mask as coco_mask

    runs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(size) for size in runs["size"]], "counts": runs["counts"].decode("ascii")}


def check_size(image: Image, width: int, height: int, where: str) -> None:
    """Raises `InputError` if the picture isn't of the size that its annotations were made for."""
    if image.size != (width, height):
        raise InputError(
            f"{where}: the picture {image.name} is {image.width}x{image.height} but annotated as {width}x{height}: "
            "take annotations and pictures of the same release"
        )


def _pixels_of_fraction(fraction: float, side: int) -> float:
    """The fraction of the side, at least a billionth of the side beyond the lower border of its thousandth.

    Plain multiplication is off by the last bit for some values, which would change the written coordinate by one.
    """
    thousandth = int(fraction * BINS)
    within = max(fraction * BINS - thousandth, 1e-6)
    return (thousandth + within) * side / BINS


def _span(low: float, high: float, size: int) -> tuple[float, float]:
    """An interval cut to [0, size], at least 1 long."""
    low, high = sorted((min(max(low, 0.0), size), min(max(high, 0.0), size)))
    if high - low < 1:
        low = min(max((low + high - 1) / 2, 0.0), size - 1.0)
        high = low + 1
    return float(low), float(high)
