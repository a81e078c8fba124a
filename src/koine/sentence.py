"""The multimodal sentence: the parts that every system reads and writes, and the ordered sequence of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias, overload

from koine.errors import InputError
from koine.signals import EEG, Audio, State, same_arrays

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    from numpy.typing import ArrayLike, NDArray

RegionKind = Literal["point", "box", "mask"]


__all__ = ["EEG", "Audio", "Entity", "Example", "Image", "Part", "Region", "Reply", "Sentence", "State"]


@dataclass(frozen=True, eq=False)
class Image:
    """A picture.

    Attributes:
        pixels: [height, width, 3] uint8, RGB, row 0 at the top. Not to be written to: sentences share it.
        name: where it came from, for people; it doesn't take part in comparison.
    Raises:
        InputError: another shape or number type, or no pixels at all.
    """

    pixels: NDArray[np.uint8]
    name: str | None = None

    def __post_init__(self) -> None:
        import numpy as np

        pixels = np.asarray(self.pixels)
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            raise InputError(
                f"image pixels have shape {pixels.shape} and type {pixels.dtype}: "
                "give RGB uint8 [height, width, 3], or use Image.open or Image.from_pil"
            )
        if 0 in pixels.shape:
            raise InputError(f"the image is {pixels.shape[1]}x{pixels.shape[0]} and has no pixels: give at least 1x1")
        object.__setattr__(self, "pixels", pixels)

    @classmethod
    def open(cls, source: str | os.PathLike[str] | BinaryIO) -> Image:
        """Reads an image file in any format and colour mode that Pillow knows; EXIF rotation is applied.

        Raises:
            InputError: there is no such file, it isn't an image, or it is truncated.
        """
        from koine.images import read_pixels

        name = os.fspath(source) if isinstance(source, str | os.PathLike) else None
        return cls(read_pixels(source), name=name)

    @classmethod
    def from_pil(cls, image: PIL.Image.Image) -> Image:
        """A Pillow image of any mode, transparency laid over white."""
        from koine.images import pixels_of_pil

        return cls(pixels_of_pil(image))

    def to_pil(self) -> PIL.Image.Image:
        """A Pillow image of mode RGB that shares no memory with this one."""
        from PIL import Image as pil

        return pil.fromarray(self.pixels.copy())

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return int(self.pixels.shape[0])

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, in Pillow's order."""
        return self.width, self.height

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Image) and same_arrays(self.pixels, other.pixels)

    def __hash__(self) -> int:
        return hash((self.pixels.shape, self.pixels.tobytes()))

    def __repr__(self) -> str:
        return f"Image({self.width}x{self.height}{f', {self.name!r}' if self.name else ''})"


@dataclass(frozen=True, eq=False, repr=False)
class Region:
    """A place in an image: a point, a box or a free-form mask. Made by `Region.point`, `.box` or `.scribble`.

    Coordinates are pixels of the image, continuous, x to the right and y down: the image covers [0, width] x
    [0, height], and the pixel in row r and column c covers [c, c + 1] x [r, r + 1].

    Attributes:
        image: the image that the region is part of.
        kind: "point", "box" or "mask".
        bounds: (left, top, right, bottom); a point has left = right and top = bottom.
        mask: [height, width] bool for the kind "mask", else None.
    """

    image: Image
    kind: RegionKind
    bounds: tuple[float, float, float, float]
    mask: NDArray[np.bool_] | None = None

    @classmethod
    def point(cls, image: Image, x: float, y: float) -> Region:
        """The point (x, y).

        Raises:
            InputError: no pixel of the image holds it, i.e. not 0 <= x < width and 0 <= y < height.
        """
        x, y = _numbers("region point", (x, y))
        if not (0 <= x < image.width and 0 <= y < image.height):
            raise InputError(
                f"region point ({x:g}, {y:g}) lies outside the {image.width}x{image.height} image: "
                f"give 0 <= x < {image.width} and 0 <= y < {image.height} in pixels"
            )
        return cls(image, "point", (x, y, x, y))

    @classmethod
    def box(cls, image: Image, x0: float, y0: float, x1: float, y1: float) -> Region:
        """The box with these left, top, right and bottom edges.

        Raises:
            InputError: x1 <= x0 or y1 <= y0, or an edge lies outside the image.
        """
        return cls(image, "box", _checked_box(image, (x0, y0, x1, y1)))

    @classmethod
    def scribble(cls, image: Image, mask: ArrayLike, box: tuple[float, float, float, float] | None = None) -> Region:
        """The free-form region that `mask` covers.

        Args:
            mask: [height, width], of the image's size; non-zero where the region is.
            box: (left, top, right, bottom), a looser box drawn around the mask; by default the tightest one.
        Raises:
            InputError: the mask is empty or of another size; the box is invalid or holds nothing of the mask.
        """
        import numpy as np

        covered = np.asarray(mask)
        if covered.shape != (image.height, image.width):
            shape = "x".join(map(str, covered.shape[::-1])) if covered.ndim == 2 else str(covered.shape)
            raise InputError(
                f"region mask of size {shape} does not fit the {image.width}x{image.height} image: "
                f"give one of the image's size, as an array [{image.height}, {image.width}]"
            )
        covered = covered != 0
        if not covered.any():
            raise InputError(
                f"region mask of the {image.width}x{image.height} image is empty: mark at least one pixel of it"
            )
        if box is None:
            return cls(image, "mask", _tight_box(covered), covered)
        bounds = _checked_box(image, box)
        if not covered[_slices(bounds, image)].any():
            raise InputError(
                f"region box {_written(bounds)} holds no pixel of the mask, which lies in "
                f"{_written(_tight_box(covered))}: draw the box around the mask"
            )
        return cls(image, "mask", bounds, covered)

    @property
    def center(self) -> tuple[float, float]:
        """(x, y) of the middle of the bounds, in pixels; for a mask it need not lie on the mask."""
        x0, y0, x1, y1 = self.bounds
        return (x0 + x1) / 2, (y0 + y1) / 2

    def to_mask(self) -> NDArray[np.bool_]:
        """[height, width] bool: the mask itself, the pixels that the box touches, or the pixel that holds the point."""
        import numpy as np

        if self.mask is not None:
            return self.mask.copy()
        covered = np.zeros((self.image.height, self.image.width), dtype=bool)
        covered[_slices(self.bounds, self.image)] = True
        return covered

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Region)
            and (self.kind, self.bounds) == (other.kind, other.bounds)
            and self.image == other.image
            and same_arrays(self.mask, other.mask)
        )

    def __hash__(self) -> int:
        return hash((self.kind, self.bounds, None if self.mask is None else self.mask.tobytes()))

    def __repr__(self) -> str:
        where = self.bounds[:2] if self.kind == "point" else self.bounds
        return f"Region({self.kind} {_written(where)} of {self.image!r})"


@dataclass(frozen=True)
class Entity:
    """A part with a name, so that text can refer to it: `Entity("obj1", image)`, then "put <obj1> on the table"."""

    name: str
    part: Image | Region | Audio | EEG | State


Part: TypeAlias = str | Image | Region | Audio | EEG | State | Entity
_PART_TYPES = (str, Image, Region, Audio, EEG, State, Entity)


class Sentence(Sequence[Part]):
    """An immutable sequence of parts.

    Strings stay as they were given: no spaces are added, neighbours aren't joined. A sentence among the parts is
    spliced in. Two sentences are equal if their parts are.

    Raises:
        InputError: something that isn't a part.
    """

    __slots__ = ("_parts",)
    _parts: tuple[Part, ...]

    def __init__(self, *parts: Part | Sentence) -> None:
        flat: list[Part] = []
        for part in parts:
            if isinstance(part, Sentence):
                flat.extend(part)
            elif isinstance(part, _PART_TYPES):
                flat.append(part)
            else:
                raise InputError(
                    f"{type(part).__name__} {str(part)[:40]!r} is not a part of a sentence: "
                    f"give {', '.join(kind.__name__ for kind in _PART_TYPES)}"
                )
        self._parts = tuple(flat)

    @classmethod
    def from_messages(cls, messages: Sequence[Mapping[str, Any]]) -> Sentence:
        """The content of chat messages in the OpenAI format; see `koine.messages.sentence_of_messages`."""
        from koine.messages import sentence_of_messages

        return sentence_of_messages(messages)

    def to_messages(self, role: str = "user") -> list[dict[str, Any]]:
        """One chat message in the OpenAI format; see `koine.messages.messages_of_sentence`."""
        from koine.messages import messages_of_sentence

        return messages_of_sentence(self, role)

    @property
    def text(self) -> str:
        """The strings, joined as they are."""
        return "".join(part for part in self._parts if isinstance(part, str))

    @property
    def images(self) -> tuple[Image, ...]:
        """The different pictures that the sentence shows or that its regions lie in, in order of first appearance."""
        different: list[Image] = []
        for part in self._named_parts():
            image = part.image if isinstance(part, Region) else part
            if isinstance(image, Image) and image not in different:
                different.append(image)
        return tuple(different)

    @property
    def regions(self) -> tuple[Region, ...]:
        """The regions in order, those of entities included."""
        return tuple(part for part in self._named_parts() if isinstance(part, Region))

    @property
    def audio(self) -> tuple[Audio, ...]:
        """The sounds in order, those of entities included."""
        return tuple(part for part in self._named_parts() if isinstance(part, Audio))

    def _named_parts(self) -> Iterator[Part]:
        """The parts, an entity replaced by what it names."""
        return (part.part if isinstance(part, Entity) else part for part in self._parts)

    @overload
    def __getitem__(self, index: int) -> Part: ...
    @overload
    def __getitem__(self, index: slice) -> Sentence: ...
    def __getitem__(self, index: int | slice) -> Part | Sentence:
        return Sentence(*self._parts[index]) if isinstance(index, slice) else self._parts[index]

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[Part]:
        return iter(self._parts)

    def __add__(self, other: Part | Sentence) -> Sentence:
        return Sentence(*self, other)

    def __radd__(self, other: Part) -> Sentence:
        return Sentence(other, *self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sentence) and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(self._parts)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self._parts))})"


class Reply(Sentence):
    """What a system answers: a sentence, and what else there is to tell about how it came about.

    Attributes:
        plan: the actions that the system would take, in order.
        steps: the intermediate results of a system that works in steps, in order.
        details: anything else, by name: scores, token counts, the raw text before parsing, ...
    """

    __slots__ = ("details", "plan", "steps")

    def __init__(
        self,
        *parts: Part | Sentence,
        plan: Sequence[str] = (),
        steps: Sequence[Any] = (),
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(*parts)
        self.plan = tuple(plan)
        self.steps = tuple(steps)
        self.details = dict(details or {})

    @property
    def image(self) -> Image | None:
        """The first picture that the reply itself shows, if any; pictures that its regions lie in don't count."""
        return next((part for part in self._named_parts() if isinstance(part, Image)), None)


@dataclass(frozen=True)
class Example:
    """One exercise: what every data set, real or synthetic, is made of.

    Attributes:
        prompt: what is asked.
        target: what should be answered; a region in it is written as its box by a system that grounds.
        id: unique within its data set.
        task: the kind of exercise, such as "refer" or "ground".
        history: earlier (question, answer) pairs of the same conversation, oldest first.
    """

    prompt: Sentence
    target: Sentence
    id: str = ""
    task: str = ""
    history: tuple[tuple[Sentence, Sentence], ...] = ()


def _numbers(thing: str, values: tuple[float, ...]) -> tuple[float, ...]:
    """The values as finite floats."""
    from math import isfinite

    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise InputError(f"{thing} {values} is not made of numbers: give pixels") from error
    if not all(map(isfinite, numbers)):
        raise InputError(f"{thing} {_written(numbers)} is not finite: give pixels")
    return numbers


def _checked_box(image: Image, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """The box as floats if it has an area and lies within the image."""
    x0, y0, x1, y1 = _numbers("region box", box)
    remedy = f"give (left, top, right, bottom) in pixels of the {image.width}x{image.height} image"
    if x1 <= x0:
        raise InputError(f"region box {_written((x0, y0, x1, y1))} has x1 <= x0: {remedy}")
    if y1 <= y0:
        raise InputError(f"region box {_written((x0, y0, x1, y1))} has y1 <= y0: {remedy}")
    if x0 < 0 or y0 < 0 or x1 > image.width or y1 > image.height:
        raise InputError(f"region box {_written((x0, y0, x1, y1))} lies outside: {remedy}")
    return x0, y0, x1, y1


def _tight_box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of the True elements of a mask [height, width]; at least one must be True."""
    import numpy as np

    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _slices(bounds: tuple[float, float, float, float], image: Image) -> tuple[slice, slice]:
    """Rows and columns of the pixels that the bounds touch: at least one of each, even for a point."""
    from math import ceil, floor

    x0, y0, x1, y1 = bounds
    return (
        slice(floor(y0), min(image.height, max(ceil(y1), floor(y0) + 1))),
        slice(floor(x0), min(image.width, max(ceil(x1), floor(x0) + 1))),
    )


def _written(numbers: tuple[float, ...]) -> str:
    """Coordinates as people write them: (12, 40, 8.5, 60)."""
    return f"({', '.join(f'{number:g}' for number in numbers)})"
