"""Pixels of regions, and points drawn from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from koine.errors import InputError
from koine.sentence import Image, Region
from koine.systems.ferret.regions import (
    RegionPixels,
    RegionTable,
    draw_numbers,
    pixels_of_region,
    point_window,
    training_pixels,
    uniform,
)

SEEDS = torch.arange(1000)


def rows(mask: np.ndarray) -> list[str]:
    """A mask as a drawing."""
    return ["".join("#" if covered else "." for covered in row) for row in mask]


@pytest.fixture
def blank() -> Image:
    return Image(np.zeros((4, 6, 3), dtype=np.uint8))


def test_a_point_stands_for_the_square_around_it(blank):
    found = pixels_of_region(Region.point(blank, 4.9, 1.2), point_reach=(1, 1))
    assert rows(found.to_mask()) == ["...###", "...###", "...###", "......"]


def test_a_box_stands_for_the_pixels_that_it_touches(blank):
    found = pixels_of_region(Region.box(blank, 0.5, 1, 2.2, 3))
    assert rows(found.to_mask()) == ["......", "###...", "###...", "......"]


def test_a_mask_stands_for_its_pixels_inside_its_box(blank):
    mask = np.array([[1, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]])
    assert rows(pixels_of_region(Region.scribble(blank, mask)).to_mask()) == rows(mask)
    cut = pixels_of_region(Region.scribble(blank, mask, box=(0, 1, 4, 4)))
    assert rows(cut.to_mask()) == ["......", "#.....", "#.....", "####.."]


def test_a_window_may_reach_further_to_the_sides_than_up_and_down(blank):
    found = pixels_of_region(Region.point(blank, 2, 1), point_reach=(1.75, 0.25))
    assert rows(found.to_mask()) == ["......", "#####.", "......", "......"]


def test_windows_end_at_the_borders():
    assert point_window((6, 4), 0, 3, reach=(2, 2)).rectangle == (0, 1, 3, 4)


@given(st.integers(1, 7), st.integers(1, 7), st.data())
def test_masks_come_back_as_they_were(width, height, data):
    size = width * height
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size))).reshape(height, width)
    found = RegionPixels((width, height), (0, 0, width, height)).within(mask)
    np.testing.assert_array_equal(found.to_mask(), mask)
    assert found.count == mask.sum()


def test_training_cuts_to_the_outline_and_never_to_nothing():
    outline = np.zeros((4, 6), dtype=bool)
    outline[1, 1:3] = True
    assert training_pixels("box", (0, 0, 2, 2), (0, 0, 2, 2), outline, (6, 4)).count == 2
    assert training_pixels("box", (4, 2, 5, 3), (4, 2, 5, 3), outline, (6, 4)).count == 4
    assert training_pixels("point", (2, 1), (0, 0, 2, 2), outline, (6, 4), point_reach=(0, 0)).count == 1
    assert training_pixels("point", (2, 1), (0, 0, 2, 2), None, (6, 4), point_reach=(5, 5)).count == 9


def table_of(*regions: RegionPixels) -> RegionTable:
    return RegionTable.pack(regions)


def test_rectangles_and_masks_draw_from_their_own_pixels():
    mask = np.zeros((4, 6), dtype=bool)
    mask[2, [1, 4]] = mask[0, 3] = True
    whole = RegionPixels((6, 4), (0, 0, 6, 4))
    table = table_of(whole.within(mask), RegionPixels((6, 4), (2, 1, 5, 3)), whole.within(~mask))
    points = table.draw(40, torch.tensor([1, 2, 3]), pixel_offset=0.5)
    pixels = (points * torch.tensor([6, 4])).floor().long()
    found = [{tuple(pixel) for pixel in region.tolist()} for region in pixels]
    assert found[0] == {(1, 2), (3, 0), (4, 2)}
    assert found[1] == {(x, y) for x in (2, 3, 4) for y in (1, 2)}
    assert found[2] == {(x, y) for x in range(6) for y in range(4)} - found[0]


def test_points_lie_where_in_their_pixels_they_are_told():
    table = table_of(RegionPixels((10, 5), (3, 2, 4, 3)))
    torch.testing.assert_close(table.draw(1, SEEDS[:1]), torch.tensor([[[0.3, 0.4]]]))
    torch.testing.assert_close(table.draw(1, SEEDS[:1], pixel_offset=0.5), torch.tensor([[[0.35, 0.5]]]))


def test_a_subset_of_regions_draws_the_same():
    mask = np.eye(6, dtype=bool)
    whole = RegionPixels((6, 6), (0, 0, 6, 6))
    table = table_of(whole.within(mask), whole, whole.within(~mask))
    seeds = torch.tensor([5, 6, 7])
    chosen = torch.tensor([2, 0])
    assert torch.equal(table.select(chosen).draw(9, seeds[chosen]), table.draw(9, seeds)[chosen])


def test_a_region_without_pixels_is_refused():
    with pytest.raises(InputError, match="6x4 image covers no pixel"):
        table_of(RegionPixels((6, 4), (0, 0, 6, 4), np.zeros(0, dtype=np.int32)))


@pytest.mark.parametrize("available", [1, 5, 8, 9, 20, 32, 33, 1000, 300_000])
def test_few_are_all_taken_and_many_are_different(available):
    drawn = draw_numbers(torch.full((200,), available), 8, SEEDS[:200])
    assert drawn.min() >= 0
    assert drawn.max() < available
    certain = min(available, 8)
    assert all(len(row.unique()) == certain for row in drawn)
    if available <= 8:
        assert (drawn[:, :available] == torch.arange(available)).all()


@pytest.mark.parametrize("available", [12, 20, 40])
@pytest.mark.parametrize("place", [0, 7])
def test_every_number_is_as_likely_at_every_place(available, place):
    """Both ways of drawing give a random permutation's beginning."""
    drawn = draw_numbers(torch.full((40_000,), available), 8, torch.arange(40_000))[:, place]
    expected = len(drawn) / available
    deviation = (drawn.bincount(minlength=available) - expected) / expected**0.5
    assert deviation.abs().max() < 5


def test_repeats_are_spread_evenly():
    drawn = draw_numbers(torch.full((20_000,), 4), 6, torch.arange(20_000))[:, 4:].flatten()
    share = drawn.bincount(minlength=4) / len(drawn)
    assert (share - 0.25).abs().max() < 0.01


def test_small_draws_from_many_run_on_until_they_differ():
    drawn = draw_numbers(torch.full((100_000,), 9), 2, torch.arange(100_000))
    assert (drawn[:, 0] != drawn[:, 1]).all()


def test_rows_depend_on_their_own_seed_only():
    available = torch.tensor([3, 20, 500, 64, 65])
    seeds = torch.tensor([4, 4, 9, 1, 2])
    together = draw_numbers(available, 16, seeds)
    for row in range(5):
        assert torch.equal(together[row], draw_numbers(available[row : row + 1], 16, seeds[row : row + 1])[0])
    assert not torch.equal(together, draw_numbers(available, 16, seeds + 1))


def test_streams_are_uniform_and_unrelated():
    draws = uniform(torch.arange(2000), 50)
    assert 0 <= draws.min() < draws.max() < 1
    assert abs(float(draws.mean()) - 0.5) < 0.005
    neighbours = torch.corrcoef(torch.stack((draws[:-1].flatten(), draws[1:].flatten())))[0, 1]
    assert abs(float(neighbours)) < 0.02
    assert torch.equal(uniform(torch.tensor([7]), 5, first=3), uniform(torch.tensor([7]), 8)[:, 3:])
