"""From published annotations to regions."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from koine.data.annotated import (
    BINS,
    box_of_corner_and_size,
    box_region,
    box_within,
    check_size,
    decode_mask,
    encode_mask,
    fraction_region,
    mask_region,
)
from koine.errors import InputError
from koine.sentence import Image


def blank(width: int = 64, height: int = 48) -> Image:
    return Image(np.zeros((height, width, 3), dtype=np.uint8), name="blank.png")


def test_boxes_in_coco_form() -> None:
    assert box_of_corner_and_size([10, 20, 5.5, 7]) == (10, 20, 15.5, 27)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((1, 2, 30.5, 40), (1, 2, 30.5, 40)),
        ((-3, -0.2, 70, 48.4), (0, 0, 64, 48)),
        ((30, 40, 1, 2), (1, 2, 30, 40)),
        ((5, 5, 5, 9), (4.5, 5, 5.5, 9)),
        ((64, 0, 64, 10), (63, 0, 64, 10)),
        ((0, 3, 0.2, 3.2), (0, 2.6, 1, 3.6)),
        ((0, 48, 10, 48), (0, 47, 10, 48)),
    ],
)
def test_boxes_are_cut_to_the_picture_and_never_empty(box: tuple[float, ...], expected: tuple[float, ...]) -> None:
    assert box_within(box, 64, 48) == pytest.approx(expected)
    assert box_region(blank(), box).bounds == pytest.approx(expected)


def test_fractions_keep_their_thousandth() -> None:
    """In whatever order a system multiplies and divides; plain multiplication fails this for some of them."""
    failures_of_plain = 0
    for width in (333, 427, 500, 640):
        image = Image(np.zeros((10, width, 3), dtype=np.uint8))
        for thousandth in range(0, 900, 7):
            fraction = thousandth / BINS
            left = fraction_region(image, (fraction, 0, 0.95, 1)).bounds[0]
            assert int(left * (BINS / width)) == int(left * BINS / width) == int(fraction * BINS)
            assert left == pytest.approx(fraction * width, abs=1e-6 * width)
            failures_of_plain += int(fraction * width * (BINS / width)) != int(fraction * BINS)
    assert failures_of_plain > 10
    assert fraction_region(image, (0, 0, 1, 1)).bounds == pytest.approx((0, 0, 640, 10), abs=1e-3)


def test_a_mask_is_cut_to_its_box_with_both_ends() -> None:
    mask = np.zeros((48, 64), dtype=bool)
    mask[10:30, 10:30] = True
    region = mask_region(blank(), mask, (20, 20, 25, 40))
    assert region.kind == "mask"
    assert region.bounds == (20, 20, 25, 40)
    expected = np.zeros_like(mask)
    expected[20:30, 20:26] = True
    assert (region.to_mask() == expected).all()


def test_a_mask_outside_its_box_leaves_the_box() -> None:
    mask = np.zeros((48, 64), dtype=bool)
    mask[0, 0] = True
    region = mask_region(blank(), mask, (20, 20, 25, 40))
    assert (region.kind, region.bounds) == ("box", (20, 20, 25, 40))


def test_all_forms_of_segmentation_decode_alike() -> None:
    expected = np.zeros((48, 64), dtype=bool)
    expected[10:20, 5:15] = True
    compressed = coco_mask.encode(np.asfortranarray(expected.astype(np.uint8)))
    text = encode_mask(expected)
    columns = expected.T.reshape(-1)
    changes = np.flatnonzero(np.diff(columns.astype(int))) + 1
    plain = {"size": [48, 64], "counts": np.diff([0, *changes, columns.size]).tolist()}
    polygon = [[5.0, 10.0, 15.0, 10.0, 15.0, 20.0, 5.0, 20.0]]
    for segmentation in (compressed, text, plain, polygon):
        assert (decode_mask(segmentation, 64, 48, "here") == expected).all()


@pytest.mark.parametrize("segmentation", [None, [], "x", {"size": [48, 64]}, [[1.0, 2.0]]])
def test_other_segmentations_are_refused(segmentation: object) -> None:
    with pytest.raises(InputError, match="here: the segmentation is in none of COCO's forms"):
        decode_mask(segmentation, 64, 48, "here")


def test_sizes_must_agree() -> None:
    runs = coco_mask.encode(np.asfortranarray(np.ones((48, 64), dtype=np.uint8)))
    with pytest.raises(InputError, match=r"here: the mask's size \[48, 64\] is not \[64, 48\]"):
        decode_mask(runs, 48, 64, "here")
    check_size(blank(), 64, 48, "here")
    with pytest.raises(InputError, match=r"here: the picture blank.png is 64x48 but annotated as 48x64"):
        check_size(blank(), 48, 64, "here")
