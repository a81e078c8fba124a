"""From the words on the command line to a prompt: files become parts, and parts find their place in the text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from koine.errors import InputError
from koine.sentence import Image, Part, Region, Sentence

# A question about a region reads naturally with the region last; pictures, sounds and signals come before it.
PLACED_AFTER_THE_TEXT = ("region",)


def compose(ask: str, parts: Mapping[str, Sequence[Part]]) -> Sentence:
    """The sentence with all parts in it.

    Args:
        ask: the text. `{kind}` marks the place of a part of that kind: the first mark that of the first, and so on.
        parts: kind -> parts, such as {"image": [picture], "region": [first, second]}. Those that have no mark come
            before the text in the order of this mapping, regions after it.
    Raises:
        InputError: more marks of a kind than parts, or nothing at all was given.
    """
    waiting = {kind: list(given) for kind, given in parts.items()}
    placed: list[Part] = []
    for piece in re.split(rf"({'|'.join(re.escape(_mark(kind)) for kind in waiting)})", ask) if waiting else [ask]:
        kind = piece[1:-1]
        if piece == _mark(kind) and kind in waiting:
            if not waiting[kind]:
                raise InputError(
                    f"the text {ask!r} has {ask.count(piece)} places {piece}, but {len(parts[kind])} were given: "
                    f"give one {kind} for each place"
                )
            placed.append(waiting[kind].pop(0))
        elif piece:
            placed.append(piece)
    before = [part for kind, left in waiting.items() if kind not in PLACED_AFTER_THE_TEXT for part in left]
    after = [part for kind in PLACED_AFTER_THE_TEXT for part in waiting.get(kind, ())]
    if after and ask:
        after = [part for region in after for part in (" ", region)]
    sentence = Sentence(*before, *placed, *after)
    if not sentence:
        raise InputError("there is nothing to respond to: give --ask TEXT, --image FILE or another part")
    return sentence


def read_regions(
    image: Image | None, points: Sequence[str], boxes: Sequence[str], masks: Sequence[Path]
) -> list[Region]:
    """The regions of one picture: the points, then the boxes, then the masks, each in the order given.

    Raises:
        InputError: a region without a picture, coordinates that aren't numbers, a region that doesn't fit the picture.
    """
    if not (points or boxes or masks):
        return []
    if image is None:
        raise InputError("a region needs the picture that it is part of: give --image FILE")

    from koine.images import read_mask

    return [
        *(Region.point(image, *_numbers("--point", text, "X,Y")) for text in points),
        *(Region.box(image, *_numbers("--box", text, "X0,Y0,X1,Y1")) for text in boxes),
        *(Region.scribble(image, read_mask(path)) for path in masks),
    ]


def read_settings(settings: Sequence[str]) -> dict[str, str]:
    """`key=value` words as a mapping; what a value means is for the reader of the key to say.

    Raises:
        InputError: a word without "=" or without a key.
    """
    read = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not (equals and key.strip()):
            raise InputError(f"--set {setting!r} is not a setting: write it as key=value")
        read[key.strip()] = value.strip()
    return read


def _mark(kind: str) -> str:
    return f"{{{kind}}}"


def _numbers(option: str, text: str, form: str) -> list[float]:
    """The comma-separated numbers in `text`, as many as in `form`."""
    words = text.split(",")
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != len(form.split(",")):
        raise InputError(f"{option} {text!r} is not of the form {form}: give numbers in pixels of the image")
    return numbers
