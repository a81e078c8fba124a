"""The pixels that regions cover, and the points that are drawn from them for the sampler.

Paper section 3.2 (arXiv 2310.07704). Points and boxes are rectangles and need no mask: the pixel with a given number is
computed. Only free-form regions carry a list of their pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from koine.errors import InputError
from koine.sentence import Region

Box = tuple[float, float, float, float]
Reach = tuple[float, float]
"""How far the window round a point reaches to the sides, and up and down, in pixels of the image."""

PUBLISHED_REACH: Reach = (5, 5)

# Above this multiple of the points wanted, drawing with replacement and dropping repeats beats sorting all pixels.
_SPARSE = 4


@dataclass(frozen=True, eq=False)
class RegionPixels:
    """The pixels of one region: those of a rectangle, or some of them.

    Attributes:
        size: (width, height) of the image in pixels.
        rectangle: (left, top, right, bottom) in pixels, right and bottom exclusive.
        members: [n] int32, the pixels of the rectangle that belong to the region, ascending, each numbered
            column * rectangle height + row; None if all do. Column after column is the original's order.
    """

    size: tuple[int, int]
    rectangle: tuple[int, int, int, int]
    members: NDArray[np.int32] | None = None

    @property
    def count(self) -> int:
        """How many pixels the region has."""
        left, top, right, bottom = self.rectangle
        return (right - left) * (bottom - top) if self.members is None else len(self.members)

    def within(self, mask: NDArray[np.bool_]) -> RegionPixels:
        """What of a whole rectangle lies on `mask` [height, width]; may be nothing."""
        left, top, right, bottom = self.rectangle
        inside = mask[top:bottom, left:right].T.reshape(-1)
        return RegionPixels(self.size, self.rectangle, np.flatnonzero(inside).astype(np.int32))

    def to_mask(self) -> NDArray[np.bool_]:
        """[height, width] bool."""
        left, top, right, bottom = self.rectangle
        inside = np.zeros((right - left) * (bottom - top), dtype=bool)
        inside[slice(None) if self.members is None else self.members] = True
        mask = np.zeros((self.size[1], self.size[0]), dtype=bool)
        mask[top:bottom, left:right] = inside.reshape(right - left, bottom - top).T
        return mask


def pixels_of_region(region: Region, point_reach: Reach = PUBLISHED_REACH) -> RegionPixels:
    """The pixels whose features stand for a region.

    A point stands for the pixels around it (a square of 11 x 11 as published; the paper's text says a circle), a box
    for the pixels that it touches, a mask for those of its pixels that lie in its box.
    """
    size = region.image.size
    if region.kind == "point":
        return point_window(size, region.bounds[0], region.bounds[1], point_reach)
    x0, y0, x1, y1 = region.bounds
    touched = RegionPixels(size, (int(x0), int(y0), int(np.ceil(x1)), int(np.ceil(y1))))
    return touched if region.mask is None else touched.within(region.mask)


def point_window(size: tuple[int, int], x: float, y: float, reach: Reach = PUBLISHED_REACH) -> RegionPixels:
    """The pixels at most so far to the sides and up and down from that of the point (x, y), cut at the borders."""
    (width, height), (across, down) = size, reach
    column, row = int(x), int(y)
    return RegionPixels(
        size,
        (
            int(max(0, column - across + 0.5)),
            int(max(0, row - down + 0.5)),
            int(min(width, column + across + 1.5)),
            int(min(height, row + down + 1.5)),
        ),
    )


def inclusive_box(size: tuple[int, int], box: Sequence[float]) -> RegionPixels:
    """The pixels of a box as the published data writes it: pixel numbers, with the last column and row included."""
    x0, y0, x1, y1 = (int(edge) for edge in box)
    return RegionPixels(size, (x0, y0, min(x1 + 1, size[0]), min(y1 + 1, size[1])))


def training_pixels(
    kind: Literal["point", "box"],
    coordinates: Sequence[float],
    box: Sequence[float],
    segment: NDArray[np.bool_] | None,
    size: tuple[int, int],
    point_reach: Reach = PUBLISHED_REACH,
) -> RegionPixels:
    """The pixels that stand for a thing in published training data, where its box and perhaps its outline are known.

    A box is cut to the outline, so that training on boxes is training on free forms; a point's window is cut to the
    outline, or to the box where there is none. Where nothing would be left, the uncut form stays.

    Args:
        kind: how the thing is pointed at.
        coordinates: (x, y) or (x0, y0, x1, y1) in pixels.
        box: of the thing, pixel numbers with the last column and row included.
        segment: [height, width], the thing's outline, if known.
        size: (width, height) of the image.
        point_reach: of a point's window, see `point_window`.
    """
    if kind == "box":
        whole = inclusive_box(size, coordinates)
        if segment is None:
            return whole
    else:
        whole = point_window(size, coordinates[0], coordinates[1], point_reach)
        segment = inclusive_box(size, box).to_mask() if segment is None else segment
    cut = whole.within(segment)
    return cut if cut.count else whole


@dataclass(frozen=True, eq=False)
class RegionTable:
    """The pixels of many regions, side by side in tensors.

    Attributes:
        sizes: [regions, 2] long, (width, height) of the image.
        origins: [regions, 2] long, (left, top) of the rectangle.
        heights: [regions] long, of the rectangle.
        counts: [regions] long, pixels that belong.
        offsets: [regions] long, where the region's list begins in `members`; -1 for whole rectangles.
        members: [total] int32, the lists end to end, with at least one element.
    """

    sizes: Tensor
    origins: Tensor
    heights: Tensor
    counts: Tensor
    offsets: Tensor
    members: Tensor

    @classmethod
    def pack(cls, regions: Sequence[RegionPixels]) -> RegionTable:
        """
        Raises:
            InputError: a region has no pixel.
        """
        for region in regions:
            if region.count < 1:
                raise InputError(
                    f"a region of the {region.size[0]}x{region.size[1]} image covers no pixel in {region.rectangle}: "
                    "mark at least one"
                )
        lists = [region.members for region in regions if region.members is not None]
        lengths = np.array([0 if region.members is None else len(region.members) for region in regions], dtype=int)
        whole = np.array([region.members is None for region in regions], dtype=bool)
        rectangles = np.array([region.rectangle for region in regions], dtype=int).reshape(-1, 4)
        members = np.concatenate(lists) if lists else np.zeros(1, dtype=np.int32)
        return cls(
            torch.tensor([region.size for region in regions], dtype=torch.long).view(-1, 2),
            torch.from_numpy(rectangles[:, :2].copy()),
            torch.from_numpy(rectangles[:, 3] - rectangles[:, 1]),
            torch.tensor([region.count for region in regions], dtype=torch.long),
            torch.from_numpy(np.where(whole, -1, lengths.cumsum() - lengths)),
            torch.from_numpy(members),
        )

    def __len__(self) -> int:
        return len(self.counts)

    def select(self, rows: Tensor) -> RegionTable:
        """The regions with these numbers; the lists of pixels are shared."""
        return RegionTable(
            self.sizes[rows],
            self.origins[rows],
            self.heights[rows],
            self.counts[rows],
            self.offsets[rows],
            self.members,
        )

    def draw(self, points: int, seeds: Tensor, *, pixel_offset: float = 0.0) -> Tensor:
        """Draws points from each region; see `draw_numbers` for how.

        Args:
            points: how many from each region.
            seeds: [regions] long.
            pixel_offset: where in its pixel a point lies, relative to the upper left corner: 0 as published, 0.5 for
                the middle.
        Returns:
            [regions, points, 2] float32, (x, y) relative to the image.
        """
        numbers = draw_numbers(self.counts, points, seeds)
        listed = self.members[(self.offsets.clamp(min=0)[:, None] + numbers).clamp(max=len(self.members) - 1)].long()
        numbers = torch.where(self.offsets[:, None] < 0, numbers, listed)
        heights = self.heights[:, None]
        pixels = torch.stack((numbers // heights, numbers % heights), dim=-1) + self.origins[:, None]
        return (pixels.float() + pixel_offset) / self.sizes[:, None]


def draw_numbers(available: Tensor, count: int, seeds: Tensor) -> Tensor:
    """Draws `count` of the numbers 0 .. available - 1 in each row, as the original draws pixels from a mask.

    Where fewer are available, all of them in order, then repeats drawn at random; where just as many, all in order;
    where more, different ones in random order.

    Args:
        available: [rows] long, at least 1.
        seeds: [rows] long; a row's numbers depend on its own seed only, not on the rows beside it.
    Returns:
        [rows, count] long.
    """
    order = torch.arange(count).expand(len(available), count)
    drawn = torch.where(order < available[:, None], order, _whole(available, seeds, count))
    dense = (available > count) & (available <= _SPARSE * count)
    if dense.any():
        drawn[dense] = _by_sorting(available[dense], seeds[dense], count)
    sparse = available > _SPARSE * count
    if sparse.any():
        drawn[sparse] = _by_dropping_repeats(available[sparse], seeds[sparse], count)
    return drawn


def uniform(seeds: Tensor, count: int, first: int = 0) -> Tensor:
    """[rows, count] float64 in [0, 1): the draws from number `first` on of each seed's own stream (SplitMix64).

    A stream has numbers on both sides of 0.

    torch's generators have one stream each; a counter-based one serves all rows at once without tying them together.
    """
    stream = seeds.numpy().astype(np.uint64)[:, None]
    counter = np.arange(first + 1, first + count + 1).astype(np.uint64)
    mixed = stream + counter * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return torch.from_numpy((mixed >> np.uint64(11)) * 2.0**-53)


def _whole(available: Tensor, seeds: Tensor, count: int, first: int = 0) -> Tensor:
    """[rows, count] long, uniform in 0 .. available - 1."""
    return (uniform(seeds, count, first) * available[:, None]).long()


def _by_sorting(available: Tensor, seeds: Tensor, count: int) -> Tensor:
    """The first `count` of a random permutation."""
    keys = uniform(seeds, _SPARSE * count)
    keys[torch.arange(_SPARSE * count) >= available[:, None]] = torch.inf
    return keys.argsort(dim=1)[:, :count]


def _by_dropping_repeats(available: Tensor, seeds: Tensor, count: int) -> Tensor:
    """The first `count` different ones of a long enough run of draws: distributed as a random permutation's."""
    drawn = _whole(available, seeds, 2 * count)
    while True:
        values, order = drawn.sort(dim=1, stable=True)
        first = torch.ones_like(values, dtype=torch.bool)
        first[:, 1:] = values[:, 1:] != values[:, :-1]
        new = torch.zeros_like(first).scatter_(1, order, first)
        if int(new.sum(dim=1).min()) >= count:
            kept = (~new).to(torch.uint8).argsort(dim=1, stable=True)[:, :count]
            return drawn.gather(1, kept)
        drawn = torch.cat((drawn, _whole(available, seeds, count, first=drawn.shape[1])), dim=1)
