"""Regions drawn on enlarged pictures: what was asked, what the model answered and what is true never look alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from koine.errors import InputError
from koine.report.outline import dashes, outlines
from koine.sentence import Image, Region

if TYPE_CHECKING:
    import PIL.Image
    import PIL.ImageDraw

Role = Literal["asked", "answered", "true"]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Style:
    """How regions of one role look; roles differ in line as well as in colour.

    Attributes:
        colour: RGB.
        dash: lengths of dash and gap in line widths; None for a solid line. A dash of 0 is a round dot.
        tint: how strongly the inside of a mask is coloured, 0 to 1.
    """

    colour: tuple[int, int, int]
    dash: tuple[float, float] | None
    tint: float


STYLES: dict[Role, Style] = {
    "asked": Style((255, 196, 0), dash=(0.0, 2.0), tint=0.38),
    "answered": Style((30, 128, 255), dash=None, tint=0.30),
    "true": Style((255, 255, 255), dash=(3.0, 2.5), tint=0.0),
}
CASING = (14, 17, 22)  # beside every line, so that it shows on any ground
SMOOTHING = 2  # lines are drawn so many times larger and shrunk, since Pillow draws them jagged


@dataclass(frozen=True)
class Mark:
    """A region to draw.

    Attributes:
        region: in pixels of the picture before enlargement.
        role: "asked" (the user's region: dotted), "answered" (the model's: solid) or "true" (the truth: dashed).
        label: a few words beside it; none if empty.
    """

    region: Region
    role: Role
    label: str = ""


def draw(image: Image, marks: Sequence[Mark], least: int = 640) -> Image:
    """The picture, enlarged by a whole factor until its shorter side has `least` pixels, with the marks on top.

    Larger pictures stay as they are; a strip is enlarged less, to at most four times `least` along its longer side.
    Lines, dots and letters scale with the result, so that they are as legible on a 64-pixel picture as on a photograph.

    Raises:
        InputError: a mark's region lies in a picture of another size.
    """
    from PIL import Image as pil

    for mark in marks:
        if mark.region.image.size != image.size:
            raise InputError(
                f"cannot draw {mark.region!r} on a {image.width}x{image.height} picture: give the picture it lies in"
            )
    scale = max(1, min(-(-least // min(image.size)), 4 * least // max(image.size)))
    canvas = image.to_pil().resize((image.width * scale, image.height * scale), pil.Resampling.BICUBIC)
    if not marks:
        return Image.from_pil(canvas)
    smoothing = SMOOTHING if max(canvas.size) <= 4 * least else 1  # fine lines on a huge photograph aren't worth memory
    sheet = pil.new("RGBA", (canvas.width * smoothing, canvas.height * smoothing), (0, 0, 0, 0))
    _draw_marks(sheet, marks, scale * smoothing)
    layer = sheet.resize(canvas.size, pil.Resampling.BOX)
    return Image.from_pil(pil.alpha_composite(canvas.convert("RGBA"), layer))


def side_by_side(images: Sequence[Image]) -> Image:
    """The pictures in one row, their upper edges level, with a white line of two pixels between neighbours."""
    import numpy as np

    width = sum(image.width for image in images) + 2 * (len(images) - 1)
    sheet = np.full((max(image.height for image in images), width, 3), 255, dtype=np.uint8)
    left = 0
    for image in images:
        sheet[: image.height, left : left + image.width] = image.pixels
        left += image.width + 2
    return Image(sheet)


def _draw_marks(sheet: PIL.Image.Image, marks: Sequence[Mark], scale: int) -> None:
    """Draws on a transparent sheet that is `scale` times the picture: tints, then lines, then labels."""
    from PIL import Image as pil
    from PIL import ImageDraw

    pen = ImageDraw.Draw(sheet)
    width = max(2.0, min(sheet.size) / 150)
    for mark in marks:
        style = STYLES[mark.role]
        if mark.region.mask is not None and style.tint:
            # Smoothed like the rim is, so that tint and line agree.
            shape = pil.fromarray(mark.region.mask).convert("L").resize(sheet.size, pil.Resampling.BILINEAR)
            opacity = round(255 * style.tint)
            sheet.paste((*style.colour, opacity), mask=shape.point(lambda level: 255 * (level > 127)))
    for mark in marks:
        if mark.region.kind == "point":
            _draw_point(pen, mark, scale, width)
        else:
            _draw_outline(pen, mark, scale, width)
    _draw_labels(pen, sheet.size, [mark for mark in marks if mark.label], scale, width)


def _draw_outline(pen: PIL.ImageDraw.ImageDraw, mark: Mark, scale: int, width: float) -> None:
    """The region's rims in the role's rhythm over a dark casing."""
    style = STYLES[mark.role]
    colour = (*style.colour, 255)
    for rim in outlines(mark.region):
        path = rim * scale
        closed = [*map(tuple, path), tuple(path[0]), tuple(path[1])]  # one side more, so that the last corner is joined
        pen.line(closed, fill=(*CASING, 190), width=round(2.2 * width), joint="curve")
        if style.dash is None:
            pen.line(closed, fill=colour, width=round(width), joint="curve")
            continue
        for piece in dashes(path, style.dash[0] * width, style.dash[1] * width):
            if style.dash[0]:
                pen.line([*map(tuple, piece)], fill=colour, width=round(width), joint="curve")
            else:
                _draw_dot(pen, piece[0][0], piece[0][1], 0.62 * width, colour)


def _draw_point(pen: PIL.ImageDraw.ImageDraw, mark: Mark, scale: int, width: float) -> None:
    """A dot with a ring round it."""
    x, y = mark.region.bounds[0] * scale, mark.region.bounds[1] * scale
    colour = (*STYLES[mark.role].colour, 255)
    for radius, line, ink in ((4.6 * width, 2.2 * width, (*CASING, 190)), (4.0 * width, width, colour)):
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], outline=ink, width=round(line))
    _draw_dot(pen, x, y, 1.9 * width, (*CASING, 190))
    _draw_dot(pen, x, y, 1.3 * width, colour)


def _draw_dot(
    pen: PIL.ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: tuple[int, int, int, int]
) -> None:
    pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)


def _draw_labels(
    pen: PIL.ImageDraw.ImageDraw, size: tuple[int, int], marks: Sequence[Mark], scale: int, width: float
) -> None:
    """Each label on a plate of its role's colour: above the region, or where it covers no other label."""
    from PIL import ImageFont

    font = ImageFont.load_default(max(11.0, 5.5 * width))
    margin = 1.6 * width
    ascent, descent = font.getmetrics() if isinstance(font, ImageFont.FreeTypeFont) else (11, 0)
    taken: list[Box] = []
    for mark in marks:
        plate = (pen.textlength(mark.label, font=font) + 2 * margin, ascent + descent + margin)
        x0, y0, x1, y1 = (value * scale for value in mark.region.bounds)
        if mark.region.kind == "point":
            x0, y0, x1, y1 = x0 - 5 * width, y0 - 5 * width, x1 + 5 * width, y1 + 5 * width
        gap = 1.5 * width
        corners = [
            (x0, y0 - plate[1] - gap),
            (x0, y1 + gap),
            (x1 - plate[0], y0 - plate[1] - gap),
            (x0 + gap, y0 + gap),
        ]
        places = [_within(corner, plate, size) for corner in corners]
        place = next((each for each in places if not any(_overlap(each, other) for other in taken)), places[0])
        taken.append(place)
        colour = STYLES[mark.role].colour
        ink = (255, 255, 255) if sum(colour) < 480 else CASING
        pen.rounded_rectangle(place, radius=margin, fill=(*colour, 255), outline=(*CASING, 190), width=round(width / 3))
        pen.text((place[0] + margin, place[1] + margin / 2), mark.label, font=font, fill=(*ink, 255))


def _within(corner: tuple[float, float], plate: tuple[float, float], size: tuple[int, int]) -> Box:
    """The plate's box, moved into the picture."""
    x = max(0.0, min(corner[0], size[0] - plate[0] - 1))
    y = max(0.0, min(corner[1], size[1] - plate[1] - 1))
    return x, y, x + plate[0], y + plate[1]


def _overlap(first: Box, second: Box) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]
