"""Pictures and texts as BEiT-3's network takes them, and what its numbers say; knows no weights."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from koine.errors import InputError
from koine.sentence import Image
from koine.systems.beit3.config import Beit3Config
from koine.systems.beit3.tokenizer import Beit3Tokenizer

ANSWERS = ("answers.json", "answer2label.txt")
"""Where the VQA head's answers are named, in order: a JSON list, or the published file."""
CLASSES = "classes.json"
"""A JSON list with the names of the classification head's classes, in order."""
TEXT_LENGTH = 64
"""Tokens of the longest text in the published recipes, special ones included."""
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Texts:
    """Tokenised texts.

    Attributes:
        input_ids: [texts, tokens] int64, padded on the right.
        attention_mask: [texts, tokens] int64, 0 for padding.
        cut: how many tokens each text lost since it was too long.
    """

    input_ids: Tensor
    attention_mask: Tensor
    cut: tuple[int, ...]


class Beit3Processor:
    """Prepares pictures (for classification and for all else) and texts, and names answers and classes."""

    def __init__(
        self,
        tokenizer: Beit3Tokenizer | None,
        config: Beit3Config,
        *,
        answers: Sequence[str] = (),
        classes: Sequence[str] = (),
    ) -> None:
        """
        Args:
            tokenizer: None for a model that classifies pictures only.
            answers, classes: names of the outputs of the heads "vqa" and "classification", in their order.
        Raises:
            InputError: there are another number of answers or classes than the head has outputs.
        """
        for names, count, what in (
            (answers, config.num_answers, ANSWERS[1]),
            (classes, config.num_classes, CLASSES),
        ):
            if names and len(names) != count:
                raise InputError(
                    f"{what} has {len(names)} names, but the head has {count} outputs: give the list that it was "
                    "trained with"
                )
        self.tokenizer = tokenizer
        self.config = config
        self.answers = tuple(answers)
        self.classes = tuple(classes)

    @classmethod
    def from_pretrained(cls, folder: str | Path, config: Beit3Config) -> Beit3Processor:
        """The processor of the files that lie beside a model's weights.

        Raises:
            InputError: a file that the model's heads need is missing or another model's.
        """
        path = Path(folder)
        pictures_only = list(config.heads) == ["classification"]
        tokenizer = None if pictures_only else Beit3Tokenizer.from_folder(path, config)
        return cls(tokenizer, config, answers=read_answers(path), classes=_read_list(path / CLASSES))

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes tokenizer, answers and classes beside a model's weights, which must be there already."""
        path = Path(folder)
        if self.tokenizer is not None:
            (path / "tokenizer.model").write_bytes(self.tokenizer.pieces.serialized_model_proto())
        for names, file in ((self.answers, ANSWERS[0]), (self.classes, CLASSES)):
            if names:
                (path / file).write_text(json.dumps(list(names), ensure_ascii=False, indent=0), encoding="utf-8")

    def pixel_values(self, images: Sequence[Image]) -> Tensor:
        """Pictures for every use but classification: squeezed to a square bicubically, float32 in [-1, 1].

        Returns:
            [images, 3, size, size].
        Raises:
            InputError: there is no picture.
        """
        size = self.config.image_size
        return normalized(_stacked([squeezed(image, size) for image in images]))

    def class_pixel_values(self, images: Sequence[Image]) -> Tensor:
        """Pictures for classification: shorter side resized bicubically, the middle cut out, ImageNet's mean and
        deviation; [images, 3, size, size] float32.

        Raises:
            InputError: there is no picture.
        """
        pixels = _stacked([_middle(image, self.config.image_size) for image in images])
        mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (_IMAGENET_MEAN, _IMAGENET_STD))
        return (pixels.permute(0, 3, 1, 2) / 255 - mean) / std

    def texts(self, texts: Sequence[str]) -> Texts:
        """Texts as `tokenize` makes them; one that is too long is cut, which is also announced by a warning.

        Raises:
            InputError: there is no text, or the model reads none.
        """
        read = self.tokenize(texts)
        for text, lost in zip(texts, read.cut, strict=True):
            if lost:
                longest = read.input_ids.shape[1] - 2
                warnings.warn(
                    f"the text {text[:40]!r}... has {longest + lost} tokens, of which BEiT-3 reads {longest}: "
                    f"the last {lost} are cut off",
                    stacklevel=3,
                )
        return read

    def tokenize(self, texts: Sequence[str], *, longest: int = TEXT_LENGTH) -> Texts:
        """Texts as ids, each with `<s>` before and `</s>` behind it.

        Args:
            longest: tokens of a text, these two included, beyond which it is cut (or beyond the model's positions).
        Raises:
            InputError: there is no text, or the model reads none.
        """
        if self.tokenizer is None:
            raise InputError("these weights classify pictures and read no text: leave the text out")
        if not texts or not all(text.strip() for text in texts):
            raise InputError("there is no text to read: give at least one word")
        segments = self.tokenizer.segments([text.strip() for text in texts])
        words = min(longest, self.config.max_text_tokens) - 2
        cut = tuple(max(0, len(segment) - words) for segment in segments)
        ids = self.tokenizer.pad([segment[:words] for segment in segments])
        return Texts(ids, (ids != self.config.pad_token_id).long(), cut)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        assert self.tokenizer is not None  # ids of texts come from a model with words
        return self.tokenizer.decode(ids)

    def answer(self, number: int) -> str:
        """The answer that an output of the VQA head stands for.

        Raises:
            InputError: nobody said what the outputs stand for.
        """
        if not self.answers:
            raise InputError(
                f"the answers of these weights have no names: put the {ANSWERS[1]} that they were trained with beside "
                "them"
            )
        return self.answers[number]

    def class_name(self, number: int) -> str:
        """The name of a class, or its number if there are no names."""
        return self.classes[number] if self.classes else str(number)


def normalized(pixels: Tensor) -> Tensor:
    """uint8 [images, height, width, 3] as float32 [images, 3, height, width] in [-1, 1]."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def squeezed(image: Image, size: int) -> np.ndarray:
    """[size, size, 3] uint8; the ratio of the sides is lost, as in the published preprocessing."""
    from PIL.Image import Resampling

    if image.size == (size, size):
        return np.array(image.pixels)
    return np.asarray(image.to_pil().resize((size, size), Resampling.BICUBIC))


def read_answers(folder: Path) -> tuple[str, ...]:
    """The answers in a folder, in the order of the head's outputs; none if there is no list.

    Raises:
        InputError: a list that can't be read, or labels in it that don't count from 0.
    """
    if names := _read_list(folder / ANSWERS[0]):
        return names
    file = folder / ANSWERS[1]
    return read_labels(file) if file.is_file() else ()


def read_labels(file: Path) -> tuple[str, ...]:
    """The answers of a published answer2label.txt, in the order of the head's outputs.

    Raises:
        InputError: it can't be read, or its labels don't count from 0.
    """
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        named = {int(row["label"]): str(row["answer"]) for row in rows}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f'{file} has a line that is not {{"answer": .., "label": ..}}: fetch it again') from error
    if sorted(named) != list(range(len(rows))):
        raise InputError(f"{file} has labels that don't count from 0 to {len(rows) - 1}: fetch it again")
    return tuple(named[label] for label in range(len(rows)))


def _read_list(file: Path) -> tuple[str, ...]:
    if not file.is_file():
        return ()
    try:
        names = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file} is not JSON ({error}): give a list of names") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{file} is not a list of names: write it as a JSON list of strings")
    return tuple(names)


def _stacked(squares: Sequence[np.ndarray]) -> Tensor:
    if not squares:
        raise InputError("there is no picture: give at least one")
    return torch.from_numpy(np.stack(squares))


def _middle(image: Image, size: int) -> np.ndarray:
    """[size, size, 3] uint8, the middle of the picture whose shorter side has that size."""
    from PIL.Image import Resampling

    picture = image.to_pil()
    short = min(picture.size)
    picture = picture.resize((size * picture.width // short, size * picture.height // short), Resampling.BICUBIC)
    left, top = round((picture.width - size) / 2), round((picture.height - size) / 2)
    return np.asarray(picture.crop((left, top, left + size, top + size)))
