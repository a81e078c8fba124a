"""Reading Ferret's answers: the boxes that they hold, the words that the boxes belong to.

`read_answer` is for people and never fails. The others read as the published demonstrations do, each with its own idea
of which words a box belongs to; pixels are truncated as theirs are. How the published evaluation reads is
`koine.evaluation.answers.Answer.of_written`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from koine.sentence import Image, Part, Region, Reply
from koine.systems.ferret.prompt import from_bin

PixelBox = tuple[int, int, int, int]
Grounded = tuple[str, PixelBox]

PUBLISHED_BINS = 1000
_BOX = re.compile(r"\[(\d+), (\d+), (\d+), (\d+)\]")
_LOOSE_BOX = re.compile(r"\[\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\]")
_WORDS_AND_BOX = re.compile(r"([a-zA-Z\s]+)\s+(\[[\d,\s]+\])")
_LAST_CLAUSE = re.compile(r"[^.,;!?\n\]]*$")


def read_answer(text: str, image: Image | None, bins: int = PUBLISHED_BINS) -> Reply:
    """An answer as a sentence in which each box is a `Region` of the image.

    A box belongs to the words before it, back to the last punctuation mark or box. Brackets that aren't boxes of the
    image (three numbers, no area, beyond the last bin) stay text.

    Args:
        text: as the model wrote it.
        image: that the answer is about; without one everything stays text.
        bins: coordinates run from 0 to this.
    Returns:
        The sentence; `details["raw"]` is `text`, `details["phrases"]` lists (phrase, (x0, y0, x1, y1) in pixels).
    """
    parts: list[Part] = []
    phrases: list[tuple[str, tuple[float, float, float, float]]] = []
    cursor = 0
    for match in _LOOSE_BOX.finditer(text) if image is not None else ():
        region = _region(image, [int(number) for number in match.groups()], bins)  # type: ignore[arg-type]
        if region is None:
            continue
        before = text[cursor : match.start()]
        phrase = _LAST_CLAUSE.search(before)
        phrases.append((phrase.group().strip() if phrase else "", region.bounds))
        parts += [before.rstrip(), region] if before.strip() else [region]
        cursor = match.end()
    if text[cursor:] or not parts:
        parts.append(text[cursor:])
    return Reply(*parts, details={"raw": text, "phrases": phrases})


def _region(image: Image, numbers: list[int], bins: int) -> Region | None:
    """The box of these bins, if it has an area inside the image."""
    if max(numbers) > bins or numbers[2] <= numbers[0] or numbers[3] <= numbers[1]:
        return None
    x0, y0, x1, y1 = (number * image.size[axis % 2] / bins for axis, number in enumerate(numbers))
    return Region.box(image, x0, y0, x1, y1)


def to_pixels(numbers: Sequence[float], size: tuple[int, int], bins: int = PUBLISHED_BINS) -> PixelBox:
    """Four coordinate bins as truncated pixels of an image of `size` (width, height).

    Raises:
        ValueError: there aren't four.
    """
    if len(numbers) != 4:
        raise ValueError(f"a box has four coordinates, not {len(numbers)}: {list(numbers)}")
    width, height = size
    x0, y0, x1, y1 = numbers
    return from_bin(x0, width, bins), from_bin(y0, height, bins), from_bin(x1, width, bins), from_bin(y1, height, bins)


def read_referring(text: str, size: tuple[int, int]) -> tuple[list[str], list[PixelBox]]:
    """As the RefCOCO demonstration reads: the sentences without boxes, and the different boxes in order."""
    sentences = (sentence.strip() for sentence in _BOX.sub("", text).split(" ."))
    return [sentence for sentence in sentences if sentence], _different_boxes(text, size)


def read_phrases(text: str, size: tuple[int, int]) -> list[Grounded]:
    """As the Flickr30k demonstration reads: a run of letters and spaces followed by a bracket of numbers.

    Raises:
        ValueError: a bracket holds other than four numbers.
    """
    return [
        (words.strip(), to_pixels([int(number) for number in bracket[1:-1].split(",")], size))
        for words, bracket in _WORDS_AND_BOX.findall(text)
    ]


def read_numbered(text: str, size: tuple[int, int]) -> tuple[str, list[PixelBox]]:
    """As the POPE demonstration reads: boxes replaced by `[obj0]`, `[obj1]`, ..., and the different boxes in order."""
    order = list(dict.fromkeys(match.group() for match in _BOX.finditer(text)))
    numbered = _BOX.sub(lambda match: f"[obj{order.index(match.group())}]", text)
    return numbered, _different_boxes(text, size)


def _different_boxes(text: str, size: tuple[int, int]) -> list[PixelBox]:
    numbers = dict.fromkeys(tuple(map(int, match)) for match in _BOX.findall(text))
    return [to_pixels(box, size) for box in numbers]
