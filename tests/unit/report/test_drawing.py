"""Drawn regions: where they should be, told apart by line, and legible on pictures of any size."""

import numpy as np
import pytest

from koine import Image, InputError, Region
from koine.report.drawing import STYLES, Mark, draw

GREY = Image(np.full((40, 60, 3), 120, np.uint8))


def shown(picture: Image, colour: tuple[int, int, int]) -> np.ndarray:
    """[height, width] bool: the pixels of nearly that colour."""
    return np.abs(picture.pixels.astype(int) - colour).max(axis=2) < 12


def changed(picture: Image) -> np.ndarray:
    return ~shown(picture, (120, 120, 120))


def runs(line: np.ndarray) -> int:
    """How many separate stretches of True a row of booleans has."""
    return int((np.diff(np.concatenate([[0], line.astype(int)])) == 1).sum())


def test_small_pictures_are_enlarged_by_a_whole_factor_and_large_ones_are_left():
    assert draw(GREY, ()).size == (60 * 16, 40 * 16)
    large = Image(np.zeros((700, 900, 3), np.uint8))
    assert draw(large, ()) == large


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1), (3, 700)])
def test_odd_shapes_stay_within_reason(size):
    picture = Image(np.zeros((size[1], size[0], 3), np.uint8))
    drawn = draw(picture, [Mark(Region.box(picture, 0, 0, *size), "answered", "everything")])
    assert max(drawn.size) <= max(2560, *size)


def test_a_models_box_is_a_solid_line_on_its_edges():
    drawn = draw(GREY, [Mark(Region.box(GREY, 10, 10, 40, 30), "answered")])
    line = shown(drawn, STYLES["answered"].colour)
    assert line[10 * 16, 10 * 16 : 40 * 16].all() and line[10 * 16 : 30 * 16, 40 * 16].all()
    assert not changed(drawn)[20 * 16, 15 * 16 : 35 * 16].any()  # nothing inside
    assert not changed(drawn)[: 8 * 16].any()  # nothing outside


def test_the_truth_is_dashed_and_what_was_asked_is_dotted():
    counts = {}
    for role in ("answered", "true", "asked"):
        drawn = draw(GREY, [Mark(Region.box(GREY, 10, 10, 40, 30), role)])
        line = shown(drawn, STYLES[role].colour)[10 * 16, 10 * 16 + 8 : 40 * 16 - 8]
        counts[role] = runs(line)
    assert counts["answered"] == 1 and 5 < counts["true"] < counts["asked"]


@pytest.mark.parametrize("ground", [(255, 255, 255), (0, 0, 0), (255, 196, 0), (30, 128, 255)])
@pytest.mark.parametrize("role", ["asked", "answered", "true"])
def test_every_line_shows_on_every_ground(role, ground):
    plain = Image(np.full((40, 60, 3), ground, np.uint8))
    drawn = draw(plain, [Mark(Region.box(plain, 10, 10, 40, 30), role)]).pixels.astype(int)
    across = drawn[9 * 16 : 11 * 16, 25 * 16 : 26 * 16]
    brightness = across.sum(axis=2)
    assert brightness.max() - brightness.min() > 150


def test_a_scribble_is_tinted_inside_and_nowhere_else():
    mask = np.zeros((40, 60), bool)
    mask[10:30, 10:50] = True
    mask[15:25, 20:40] = False
    drawn = changed(draw(GREY, [Mark(Region.scribble(GREY, mask), "asked")]))
    assert drawn[12 * 16 : 13 * 16, 15 * 16 : 45 * 16].all()
    assert not drawn[18 * 16 : 22 * 16, 24 * 16 : 36 * 16].any()


def test_the_truth_is_never_tinted():
    mask = np.zeros((40, 60), bool)
    mask[10:30, 10:50] = True
    drawn = changed(draw(GREY, [Mark(Region.scribble(GREY, mask), "true")]))
    assert not drawn[15 * 16 : 25 * 16, 15 * 16 : 45 * 16].any()


def test_a_point_is_a_dot_in_a_ring_round_it():
    drawn = draw(GREY, [Mark(Region.point(GREY, 30, 20), "asked")])
    yellow = shown(drawn, STYLES["asked"].colour)
    assert yellow[20 * 16, 30 * 16]
    rows, columns = np.nonzero(yellow)
    np.testing.assert_allclose([rows.mean(), columns.mean()], [20 * 16, 30 * 16], atol=2)
    assert runs(yellow[20 * 16]) == 3


@pytest.mark.parametrize("corner", [(0, 0), (50, 0), (0, 30), (50, 30)])
def test_labels_stay_inside_the_picture(corner):
    box = Region.box(GREY, corner[0], corner[1], corner[0] + 10, corner[1] + 10)
    plain, labelled = (draw(GREY, [Mark(box, "answered", label)]).pixels for label in ("", "a small red cube"))
    rows, columns = np.nonzero((plain != labelled).any(axis=2))
    assert columns.max() - columns.min() > 150  # the whole plate is there
    assert rows.min() >= 0 and rows.max() < 640 and rows.max() - rows.min() > 25


def test_two_labels_do_not_cover_each_other():
    boxes = [Region.box(GREY, 10, 15, 40, 30), Region.box(GREY, 11, 15, 41, 30)]
    both = draw(GREY, [Mark(box, "answered", "a red cube") for box in boxes])
    one = draw(GREY, [Mark(boxes[0], "answered", "a red cube"), Mark(boxes[1], "answered")])
    white = (255, 255, 255)
    assert shown(both, white).sum() > 1.8 * shown(one, white).sum()


def test_the_original_is_not_drawn_on():
    before = GREY.pixels.copy()
    draw(GREY, [Mark(Region.box(GREY, 0, 0, 60, 40), "answered", "x")])
    np.testing.assert_array_equal(GREY.pixels, before)


def test_a_region_of_another_picture_is_refused():
    other = Image(np.zeros((10, 10, 3), np.uint8))
    with pytest.raises(InputError, match="60x40"):
        draw(GREY, [Mark(Region.point(other, 1, 1), "asked")])
