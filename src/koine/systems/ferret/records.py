"""Which pixels the regions of published training records cover (see `koine.data.grit` for the records)."""

from __future__ import annotations

from collections.abc import Sequence

from koine.data.annotated import decode_mask
from koine.data.grit import GritRecord
from koine.sentence import Region
from koine.systems.ferret.regions import PUBLISHED_REACH, Reach, RegionPixels, training_pixels


def training_regions(
    record: GritRecord, regions: Sequence[Region], point_reach: Reach = PUBLISHED_REACH
) -> list[RegionPixels]:
    """The pixels of a record's regions, cut to the outlines of the things that they point at.

    An example made of a record knows a point, but not the thing under it; the record does.

    Args:
        regions: of the example's questions, in order.
        point_reach: of a point's window, see `regions.point_window`.
    """
    pointed = iter(regions)
    found: list[RegionPixels] = []
    for turn in record.turns[::2]:
        for place in turn.places:
            region = next(pointed)
            segment = None
            if turn.masks:
                segment = decode_mask(turn.masks[place], record.width, record.height, f"{record.where}, masks")
            box = turn.boxes[place]
            as_point = region.kind == "point"
            found.append(
                training_pixels(
                    "point" if as_point else "box",
                    region.bounds[:2] if as_point else box,
                    box,
                    segment,
                    (record.width, record.height),
                    point_reach,
                )
            )
    return found
