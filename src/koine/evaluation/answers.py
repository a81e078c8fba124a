"""What a system said, in the light form that protocols score: strings and boxes, without pictures."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from koine.sentence import Region, Reply, Sentence

Box: TypeAlias = tuple[float, float, float, float]
"""(left, top, right, bottom) in pixels of the picture."""

BINS = 1000
"""Ferret writes coordinates as whole thousandths of the picture's sides."""

_BRACKETS = re.compile(r"\[([^\]]*)\]")
_DELIMITER = re.compile(r"[.,;!?]")


@dataclass(frozen=True)
class GroundedPhrase:
    """A phrase and the box that was given for it, in pixels."""

    phrase: str
    box: Box


@dataclass(frozen=True)
class Answer:
    """An answer.

    Attributes:
        parts: strings and boxes in the order they were said.
        size: (width, height) in pixels of the picture that the boxes lie in; None if there is no box.
    """

    parts: tuple[str | Box, ...]
    size: tuple[int, int] | None = None

    @classmethod
    def of_text(cls, text: str) -> Answer:
        """An answer without boxes."""
        return cls((text,))

    @classmethod
    def of_reply(cls, reply: Sentence) -> Answer:
        """A system's reply; regions become their bounds, and parts that are neither text nor region are left out."""
        parts: list[str | Box] = []
        for part in reply:
            if isinstance(part, str):
                parts.append(part)
            elif isinstance(part, Region):
                parts.append(part.bounds)
        regions = reply.regions
        return cls(tuple(parts), regions[0].image.size if regions else None)

    @classmethod
    def of_written(cls, text: str, width: int, height: int) -> Answer:
        """Text with boxes written in it as Ferret does, `a cube [310, 200, 500, 400].`, decoded by its scorer's rules.

        A coordinate v becomes the whole pixel int(v x side / 1000). If any bracket holds something else than
        numbers, no box of the answer counts, as in Ferret's scorer; so it is with fewer than four numbers, where that
        scorer stops with an error. Numbers beyond the fourth are ignored.
        """
        boxes = []
        for match in _BRACKETS.finditer(text):
            try:
                numbers = [int(number) for number in match[1].split(",")]
            except ValueError:
                return cls((text,))
            if len(numbers) < 4:
                return cls((text,))
            boxes.append(_pixels(numbers, width, height))
        pieces = _BRACKETS.split(text)[::2]
        parts: list[str | Box] = [pieces[0]]
        for box, piece in zip(boxes, pieces[1:], strict=True):
            parts += [box, piece]
        return cls(tuple(part for part in parts if part != ""), (width, height))

    @property
    def text(self) -> str:
        """The strings, joined as they are."""
        return "".join(part for part in self.parts if isinstance(part, str))

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The boxes in order, in pixels."""
        return tuple(part for part in self.parts if not isinstance(part, str))

    @property
    def phrases(self) -> tuple[GroundedPhrase, ...]:
        """The boxes, each with the phrase before it, by the rule of Ferret's scorer.

        The phrase of the first box is all text before it. Later ones begin after the first `. , ; ! ?` behind the box
        before; without one between two boxes the phrase is empty: in `The man [..] rides a horse [..].` the horse's
        box belongs to nothing.
        """
        return tuple(self._phrases())

    def written(self, write: Callable[[Box], str]) -> str:
        """The answer as one string, boxes written by `write` and set off from the word before them by a space.

        A box written as "" takes that space along.
        """
        text = ""
        for part in self.parts:
            if isinstance(part, str):
                text += part
            elif written := write(part):
                text += f"{' ' if text[-1:].isalnum() else ''}{written}"
            else:
                text = text.removesuffix(" ")
        return text

    def _phrases(self) -> Iterator[GroundedPhrase]:
        said, first = "", True
        for part in self.parts:
            if isinstance(part, str):
                said += part
                continue
            if not first:
                behind = _DELIMITER.split(said, maxsplit=1)
                said = behind[1] if len(behind) > 1 else ""
            yield GroundedPhrase(said.strip(), part)
            said, first = "", False


def answer_of(reply: Reply | Answer | str) -> Answer:
    """Whatever was answered as an `Answer`; a string is text without boxes."""
    if isinstance(reply, Answer):
        return reply
    return Answer.of_text(reply) if isinstance(reply, str) else Answer.of_reply(reply)


def _pixels(numbers: list[int], width: int, height: int) -> Box:
    """Thousandths to whole pixels; side / 1000 first and then the product, which is the published order of rounding."""
    ratios = (width / BINS, height / BINS, width / BINS, height / BINS)
    left, top, right, bottom = (float(int(number * ratio)) for number, ratio in zip(numbers, ratios, strict=False))
    return (left, top, right, bottom)
