"""RandAugment as the published fine-tuning on pictures and texts has it: no hue is changed, since texts name colours.

Two of ten operations are drawn for each picture, with replacement, and each is carried out with probability 1/2. They
are Pillow's here and OpenCV's there, which weigh the pixels between whose centres they read a little differently.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

STRENGTH = 0.7
"""Of the strongest change that there is, 7 of 10 in the original's terms."""
DRAWN = 2
PROBABILITY = 0.5
_FILL = (128, 128, 128)

Operation = Callable[["Image", int], "Image"]


def rand_augment(view: Tensor, generator: torch.Generator) -> Tensor:
    """A changed copy of a picture [3, height, width] in 0..1 (in steps of 1/255), float32."""
    from PIL import Image

    which = torch.randint(len(OPERATIONS), (DRAWN,), generator=generator).tolist()
    happens, turned = (torch.rand(2, DRAWN, generator=generator) < torch.tensor([[PROBABILITY], [0.5]])).tolist()
    operations = list(OPERATIONS.values())
    picture = Image.fromarray((view * 255).round().byte().permute(1, 2, 0).numpy())
    for number, carried_out, other_way in zip(which, happens, turned, strict=True):
        if carried_out:
            picture = operations[number](picture, -1 if other_way else 1)
    return torch.from_numpy(np.asarray(picture, np.float32) / 255).permute(2, 0, 1)


def _identity(picture: Image, sign: int) -> Image:
    return picture


def _auto_contrast(picture: Image, sign: int) -> Image:
    from PIL import ImageOps

    return ImageOps.autocontrast(picture)


def _equalize(picture: Image, sign: int) -> Image:
    from PIL import ImageOps

    return ImageOps.equalize(picture)


def _brightness(picture: Image, sign: int) -> Image:
    from PIL.ImageEnhance import Brightness

    return Brightness(picture).enhance(_FACTOR)


def _sharpness(picture: Image, sign: int) -> Image:
    from PIL.ImageEnhance import Sharpness

    return Sharpness(picture).enhance(_FACTOR)


def _rotate(picture: Image, sign: int) -> Image:
    from PIL.Image import Resampling

    return picture.rotate(sign * 30 * STRENGTH, Resampling.BILINEAR, fillcolor=_FILL)


def _moved(across: tuple[float, float], down: tuple[float, float]) -> Operation:
    """Each pixel comes from (x + across . (y, 1), y + down . (x, 1)) of the picture, each times the sign."""

    def move(picture: Image, sign: int) -> Image:
        from PIL.Image import Resampling, Transform

        matrix = (1, sign * across[0], sign * across[1], sign * down[0], 1, sign * down[1])
        return picture.transform(picture.size, Transform.AFFINE, matrix, Resampling.BILINEAR, fillcolor=_FILL)

    return move


_FACTOR = 0.1 + 1.8 * STRENGTH
_SHEAR, _PIXELS = 0.3 * STRENGTH, 10 * STRENGTH
OPERATIONS: dict[str, Operation] = {
    "identity": _identity,
    "auto contrast": _auto_contrast,
    "equalize": _equalize,
    "brightness": _brightness,
    "sharpness": _sharpness,
    "shear across": _moved((_SHEAR, 0), (0, 0)),
    "shear down": _moved((0, 0), (_SHEAR, 0)),
    "shift across": _moved((0, _PIXELS), (0, 0)),
    "shift down": _moved((0, 0), (0, _PIXELS)),
    "rotate": _rotate,
}
