"""Pictures to tensors and back, words to codes and back; knows no weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from koine.errors import InputError
from koine.parts.residual_quantize import Pyramid
from koine.sentence import Image
from koine.systems.spae.vocabulary import token_names


class SpaeProcessor:
    """Prepares pictures of any size, and reads and writes the words that pictures are spelt with."""

    def __init__(self, tokenizer: Any, *, image_size: int, token_ids: Sequence[int], pyramid: Pyramid) -> None:
        """
        Args:
            tokenizer: the language model's.
            image_size: pixels of the square that the encoder takes.
            token_ids: the token of each row of the codebook.
            pyramid: the layers of codes.
        Raises:
            InputError: a token that the tokenizer doesn't have.
        """
        self.tokenizer = tokenizer
        self.image_size = image_size
        self.pyramid = pyramid
        names = token_names(tokenizer)
        if missing := [token for token in token_ids if token not in names]:
            raise InputError(
                f"the codebook has token {missing[0]}, which the tokenizer doesn't: give that of its language model"
            )
        self.words = [names[token] for token in token_ids]
        self._rows = {word: row for row, word in enumerate(self.words)}

    def pixel_values(self, images: Sequence[Image]) -> Tensor:
        """Pictures of any size, squeezed into the model's square, as [images, 3, size, size] float32 in [0, 1].

        Raises:
            InputError: there is no picture.
        """
        from PIL.Image import Resampling

        if not images:
            raise InputError("there is no picture: give at least one")
        side = self.image_size
        squares = [
            np.asarray(
                image.to_pil()
                if image.size == (side, side)
                else image.to_pil().resize((side, side), Resampling.BICUBIC)
            )
            for image in images
        ]
        return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float() / 255

    def image(self, pixels: Tensor, size: tuple[int, int] | None = None) -> Image:
        """The picture of [3, H, W] in about [0, 1].

        Args:
            size: (width, height) in pixels to bring it to; by default as it is.
        """
        from PIL.Image import Resampling

        levels = (pixels.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)
        picture = Image(levels.cpu().contiguous().numpy())
        if size is None or size == picture.size:
            return picture
        return Image.from_pil(picture.to_pil().resize(size, Resampling.BICUBIC))

    def words_of(self, tokens: Sequence[Tensor]) -> list[list[str]]:
        """The words of each layer of one picture, in raster order; tokens [h_l, w_l] for each layer."""
        return [[self.words[code] for code in layer.flatten().tolist()] for layer in tokens]

    def codes_of(self, text: str) -> list[Tensor]:
        """The layers of codes [1, h_l, w_l] that a text of words spells.

        Raises:
            InputError: a word that isn't in the codebook, or a number of words that doesn't end with a layer.
        """
        from difflib import get_close_matches

        words = text.split()
        for word in words:
            if word not in self._rows:
                near = " or ".join(map(repr, get_close_matches(word, self._rows, n=3, cutoff=0.5)))
                raise InputError(
                    f"there is no word of the codebook {word!r}{f': did you mean {near}?' if near else ''} "
                    f"(it has {len(self.words)}; give words that a picture was spelt with)"
                )
        return self.pyramid.split(torch.tensor([[self._rows[word] for word in words]], dtype=torch.int64))
