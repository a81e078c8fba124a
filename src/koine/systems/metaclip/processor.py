"""Pictures and texts as MetaCLIP's networks take them; knows no weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from koine.errors import InputError
from koine.foundations.clip import END_ID, MEAN, STD
from koine.foundations.clip import encode_texts as encode_nano
from koine.foundations.tokenizer import FILE
from koine.foundations.tokenizer import load_tokenizer as load_nano_tokenizer
from koine.sentence import Image
from koine.systems.metaclip.config import TEXT_LENGTH, Config
from koine.systems.metaclip.weights import load_tokenizer


def cut(input_ids: Tensor, length: int) -> Tensor:
    """Rows of nano token ids (int64 [texts, tokens], padded with 0) of at most `length`, each with its end token."""
    shorter = input_ids[:, :length].clone()
    if input_ids.shape[1] > length:
        shorter[input_ids[:, length] != 0, -1] = END_ID
    return shorter


class MetaClipProcessor:
    """Prepares pictures (shorter side resized, centre cut out, normalised) and texts (tokens with one end token)."""

    def __init__(self, tokenizer: Any, *, image_size: int, end_id: int, text_length: int = TEXT_LENGTH) -> None:
        """
        Args:
            tokenizer: transformers' tokenizer of the text encoder.
            image_size: pixels of the square that the picture encoder takes.
            end_id: the token at which a text's feature is taken.
            text_length: the most tokens that the text encoder takes.
        """
        self.tokenizer = tokenizer
        self.image_size = image_size
        self.end_id = end_id
        self.text_length = text_length

    @classmethod
    def from_pretrained(cls, folder: str | Path, config: Config) -> MetaClipProcessor:
        """The processor of a folder's tokenizer and a model's configuration.

        Raises:
            InputError: the folder has no tokenizer, or one without the model's end token.
        """
        vision: Any = config.vision_config
        text: Any = config.text_config
        nano = (Path(folder) / FILE).is_file() and text.eos_token_id == END_ID
        tokenizer = load_nano_tokenizer(Path(folder)) if nano else load_tokenizer(folder)
        if not nano and tokenizer.eos_token_id != text.eos_token_id and text.eos_token_id != 2:
            raise InputError(
                f"the tokenizer of {folder} ends texts with token {tokenizer.eos_token_id}, the model with "
                f"{text.eos_token_id}: convert with the tokenizer that belongs to it (--base)"
            )
        return cls(
            tokenizer,
            image_size=vision.image_size,
            end_id=text.eos_token_id,
            text_length=text.max_position_embeddings,
        )

    def pixel_values(self, images: Sequence[Image]) -> Tensor:
        """Pictures of any size as [images, 3, size, size] float32, normalised.

        Raises:
            InputError: there is no picture.
        """
        if not images:
            raise InputError("there is no picture: give at least one")
        return torch.stack([self._pixels(image) for image in images])

    def input_ids(self, texts: Sequence[str]) -> Tensor:
        """Token ids int64 [texts, tokens]; a text that is too long is cut, and ends with the end token nevertheless.

        Raises:
            InputError: there is no text.
        """
        if not texts:
            raise InputError("there is no text: give at least one")
        if self.end_id == END_ID:
            return cut(encode_nano(self.tokenizer, list(texts)), self.text_length)
        options = {"padding": "longest", "truncation": True, "max_length": self.text_length}
        ids: Tensor = self.tokenizer(list(texts), return_tensors="pt", **options)["input_ids"]
        return ids

    def _pixels(self, image: Image) -> Tensor:
        from PIL.Image import Resampling

        picture, side = image.to_pil(), self.image_size
        ratio = side / min(picture.size)
        # As torchvision's Resize: the longer side is cut off to a whole pixel.
        size = (
            (side, int(side * picture.height / picture.width))
            if picture.width <= picture.height
            else (int(side * picture.width / picture.height), side)
        )
        if ratio != 1:
            picture = picture.resize(size, Resampling.BICUBIC)
        left, top = round((picture.width - side) / 2), round((picture.height - side) / 2)
        square = np.asarray(picture.crop((left, top, left + side, top + side)), np.float32) / 255
        normal = (square - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
        return torch.from_numpy(normal).permute(2, 0, 1)
