"""A report as one HTML file: no scripts, no fonts and no pictures from elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from koine.files import write_atomically
from koine.images import data_url
from koine.report.contents import Answer, Report
from koine.report.drawing import STYLES, Mark, Role, draw
from koine.sentence import Entity, Image, Part, Region, Sentence

SIDE = 448  # pixels of a picture's shorter side: cards are half as wide or less, and a page has dozens of pictures


def write(report: Report, path: str | os.PathLike[str]) -> Path:
    """Writes the page; an older one stays untouched unless the whole new one could be written.

    Raises:
        InputError: the disk is full or the place can't be written to.
    """
    html = render(report)
    with write_atomically(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return Path(path)


def render(report: Report) -> str:
    """The page's HTML; every text in the report is escaped."""
    import jinja2

    room = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(room), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.globals.update(
        css=(room / "page.css").read_text(encoding="utf-8"),
        styles=STYLES,
        picture=_picture,
        answer_picture=_answer_picture,
        pieces=_pieces,
    )
    return environment.get_template("page.html.jinja").render(report=report)


def _picture(image: Image) -> str:
    """The image as it is, enlarged for the page, as a data URL."""
    return data_url(draw(image, (), SIDE).pixels)


def _answer_picture(answer: Answer) -> str | None:
    """The picture that the answer is about with the regions of all three sentences, as a data URL; None without one."""
    roles: dict[Role, Sentence] = {"true": answer.truth, "asked": answer.question, "answered": answer.answer}
    shown = (answer.question + answer.answer).images or ((answer.picture,) if answer.picture else ())
    if not shown:
        return None
    marks = [
        Mark(region, role)
        for role, sentence in roles.items()
        for region in sentence.regions
        if region.image == shown[0]
    ]
    return data_url(draw(shown[0], marks, SIDE).pixels)


def _pieces(sentence: Sentence) -> list[dict[str, Any]]:
    """The sentence for the page: text as it is, regions as a chip with their coordinates; pictures are shown apart."""
    return [_piece(part) for part in sentence if not isinstance(part, Image)]


def _piece(part: Part) -> dict[str, Any]:
    if isinstance(part, str):
        return {"text": part, "chip": False}
    if isinstance(part, Entity):
        return {"text": part.name, "chip": True}
    if isinstance(part, Region):
        where = part.bounds[:2] if part.kind == "point" else part.bounds
        name = {"point": "point", "box": "box", "mask": "scribble"}[part.kind]
        return {"text": f"{name} {', '.join(f'{number:.0f}' for number in where)}", "chip": True}
    return {"text": repr(part), "chip": True}
