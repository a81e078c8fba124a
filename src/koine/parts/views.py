"""Random views of pictures for training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from koine.sentence import Image


def random_view(
    image: Image, size: int, generator: torch.Generator, *, smallest: float = 0.5, flips: float = 0.0
) -> Tensor:
    """A random crop of a picture as a square, resized bicubically: [3, size, size] float32 in 0..1.

    Args:
        smallest: least share of the picture's area that the crop has; the most is all of it.
        flips: probability that left and right change places.
    """
    from PIL.Image import Resampling

    share, ratio, right, down, flip = torch.rand(5, generator=generator).tolist()
    area = image.width * image.height * (smallest + (1 - smallest) * share)
    # The ratio of the sides is drawn evenly in its logarithm, from 3:4 to 4:3. Where a side would be longer than the
    # picture's, the area is kept rather than the ratio.
    width = min(image.width, (area * (4 / 3) ** (2 * ratio - 1)) ** 0.5)
    height = min(image.height, area / width)
    width = min(image.width, area / height)
    left, top = right * (image.width - width), down * (image.height - height)
    box = (left, top, left + width, top + height)
    pixels = np.asarray(image.to_pil().resize((size, size), Resampling.BICUBIC, box=box), np.float32) / 255
    view = torch.from_numpy(pixels).permute(2, 0, 1)
    return view.flip(-1) if flip < flips else view


def random_square(image: Image, size: int, generator: torch.Generator) -> np.ndarray:
    """The largest square at a random place, resized bicubically, mirrored half the time: uint8 [size, size, 3]."""
    from PIL.Image import Resampling

    across, down, turn = torch.rand(3, generator=generator).tolist()
    side = min(image.size)
    left, top = across * (image.width - side), down * (image.height - side)
    square = image.to_pil().resize((size, size), Resampling.BICUBIC, box=(left, top, left + side, top + side))
    pixels = np.asarray(square)
    return pixels[:, ::-1] if turn < 0.5 else pixels
