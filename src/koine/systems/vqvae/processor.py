"""Pictures and sounds to tensors and back, and words to what the prior was taught to draw."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from koine.errors import InputError
from koine.sentence import Audio, Image
from koine.systems.vqvae.config import VQVAEConfig
from koine.systems.vqvae.pixelcnn import UNSAID

LARGEST = 1024 * 1024
"""Pixels of the largest picture that is encoded as it is; a larger one is shrunk to that."""
FILLERS = frozenset(("a", "an", "and", "of", "one", "photo", "picture", "sound", "the", "thing", "with"))
"""Words of a request that say nothing that a prior could know."""


@dataclass(frozen=True)
class Padded:
    """A picture ready for the encoder.

    Attributes:
        pixels: float32 [1, channels, rows, columns] in the model's pixel range; sides are multiples of the stride.
        size: (width, height) of the picture inside of it, at the upper left.
    """

    pixels: Tensor
    size: tuple[int, int]


class VQVAEProcessor:
    """What lies between sentences and tensors for one configuration."""

    def __init__(self, config: VQVAEConfig) -> None:
        self.config = config

    def encode(self, image: Image) -> Padded:
        """A picture of any size for the fully convolutional encoder.

        It is not brought to the size that was trained on: codes keep the scale of their pixels. Right and lower edges
        are repeated up to a multiple of the stride, and what they fill is cut off again after decoding. A picture of
        more than `LARGEST` pixels is shrunk first, its proportions kept.

        Raises:
            InputError: it is smaller than the cell of one code, or the model doesn't take pictures in colour.
        """
        self._check_pictures()
        stride = self.config.stride
        if min(image.size) < stride:
            raise InputError(
                f"the picture is {image.width}x{image.height}, smaller than the {stride}x{stride} pixels of one code: "
                "give a larger one"
            )
        pixels = torch.from_numpy(np.array(_shrunk(image).pixels))[None]
        rows, columns = pixels.shape[1:3]
        padding = (0, -columns % stride, 0, -rows % stride)
        return Padded(F.pad(to_model_range(pixels, self.config), padding, mode="replicate"), (columns, rows))

    def decode(self, pixels: Tensor, size: tuple[int, int] | None = None) -> list[Image]:
        """Pictures of [b, channels, rows, columns] in the model's pixel range, cut to (width, height).

        Raises:
            InputError: the model doesn't make pictures in colour.
        """
        self._check_pictures()
        width, height = size or (pixels.shape[3], pixels.shape[2])
        return [
            Image(picture.numpy()) for picture in from_model_range(pixels[:, :, :height, :width], self.config).cpu()
        ]

    def at_rate(self, sound: Audio) -> Audio:
        """The sound at the rate that the model was trained on, if it has one."""
        return sound if self.config.sample_rate is None else sound.resampled(self.config.sample_rate)

    def encode_sound(self, sound: Audio) -> Tensor:
        """A sound of any length, at the model's rate, as float32 [1, 1, samples] in its range, as many as fill codes.

        The last sample is repeated up to a multiple of the stride.

        Raises:
            InputError: it is shorter than one code, or the model doesn't take sounds of one channel.
        """
        self._check_sounds()
        count, stride = len(sound.samples), self.config.stride
        if count < stride:
            raise InputError(f"the sound has {count} samples, fewer than the {stride} of one code: give more")
        samples = torch.from_numpy(np.array(sound.samples))[None, None]
        return F.pad(samples_to_model_range(samples, self.config), (0, -count % stride), mode="replicate")

    def decode_sounds(self, samples: Tensor, rate: int, length: int | None = None) -> list[Audio]:
        """Sounds of [b, 1, samples] in the model's range, cut to it and to a length.

        Raises:
            InputError: the model doesn't make sounds of one channel.
        """
        self._check_sounds()
        low, high = self.config.pixel_range
        full_scale = (samples[:, 0, :length].float() - low) * (2 / (high - low)) - 1
        return [Audio(sound.numpy(), rate) for sound in full_scale.clamp(-1, 1).cpu()]

    def classes(self, request: str) -> Tensor | None:
        """[1, attributes] long: what the words ask for, `UNSAID` where they leave it open; None for no words.

        Capitals don't count. The longest name counts where several fit, and of names with commas between, each does.

        Raises:
            InputError: a word that the prior wasn't taught, or two words for one attribute.
        """
        labels = self.config.prior_labels
        chosen = [UNSAID] * len(labels)
        words = _words(request)
        while words:
            length = next((some for some in range(self._longest, 0, -1) if tuple(words[:some]) in self._names), 0)
            if not length and words[0] not in FILLERS:
                raise InputError.unknown("word for this prior", words[0], [name for known in labels for name in known])
            if length:
                place, number = self._names[tuple(words[:length])]
                if chosen[place] != UNSAID:
                    first, second = labels[place][chosen[place]], labels[place][number]
                    raise InputError(f"{first!r} and {second!r} exclude each other: ask for one of them")
                chosen[place] = number
            words = words[max(length, 1) :]
        return torch.tensor([chosen]) if any(number != UNSAID for number in chosen) else None

    @cached_property
    def _names(self) -> dict[tuple[str, ...], tuple[int, int]]:
        """The words of each name that the prior knows -> its attribute and its number there."""
        names: dict[tuple[str, ...], tuple[int, int]] = {}
        for place, known in enumerate(self.config.prior_labels):
            for number, name in enumerate(known):
                names.setdefault(tuple(_words(name)), (place, number))
            for number, name in enumerate(known):
                for one in name.split(","):
                    names.setdefault(tuple(_words(one)), (place, number))
        return names

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._names), default=0)

    def _check_pictures(self) -> None:
        if self.config.dimensions != 2 or self.config.channels != 3:
            remedy = "give it a sound" if self._takes == (1, 1) else "give tensors to its model"
            raise InputError(
                f"this VQ-VAE takes {self.config.channels} channels in {self.config.dimensions} dimensions, no "
                f"pictures: {remedy}"
            )

    def _check_sounds(self) -> None:
        if self._takes != (1, 1):
            raise InputError(
                f"this VQ-VAE takes {self.config.channels} channels in {self.config.dimensions} dimensions, no "
                "sounds: take one of signals (koine train vqvae --recipe speech)"
            )

    @property
    def _takes(self) -> tuple[int, int]:
        return self.config.channels, self.config.dimensions


def to_model_range(images: Tensor, config: VQVAEConfig) -> Tensor:
    """uint8 [b, H, W, channels] to float32 [b, channels, H, W] in the model's pixel range."""
    low, high = config.pixel_range
    return images.movedim(-1, 1).float() * ((high - low) / 255) + low


def samples_to_model_range(samples: Tensor, config: VQVAEConfig) -> Tensor:
    """Samples of any shape, full scale = 1, in the model's range."""
    low, high = config.pixel_range
    return (samples + 1) * ((high - low) / 2) + low


def to_levels(pixels: Tensor, config: VQVAEConfig) -> Tensor:
    """[b, channels, H, W] in the model's pixel range to levels from 0 to 255, neither cut nor rounded."""
    low, high = config.pixel_range
    return (pixels.float() - low) * (255 / (high - low))


def from_model_range(pixels: Tensor, config: VQVAEConfig) -> Tensor:
    """[b, channels, H, W] in the model's pixel range, cut to it, to uint8 [b, H, W, channels]."""
    return to_levels(pixels, config).round().clamp(0, 255).to(torch.uint8).movedim(1, -1).contiguous()


def psnr(first: Tensor | np.ndarray, second: Tensor | np.ndarray) -> float:
    """Peak signal-to-noise ratio in decibels of uint8 pictures of the same shape; infinite if they are equal."""
    difference = torch.as_tensor(first).double() - torch.as_tensor(second).double()
    error = float(difference.square().mean())
    return 10 * float(np.log10(255**2 / error)) if error else float("inf")


def snr(signal: np.ndarray, found: np.ndarray) -> float:
    """Signal-to-noise ratio in decibels of samples of the same shape; infinite if they are equal."""
    noise = float(np.square(signal.astype(np.float64) - found).sum())
    power = float(np.square(signal.astype(np.float64)).sum())
    return 10 * float(np.log10(power / noise)) if noise and power else float("inf" if not noise else "-inf")


def _words(text: str) -> list[str]:
    return re.findall(r"[\w-]+", text.lower())


def _shrunk(image: Image) -> Image:
    from PIL.Image import Resampling

    share = LARGEST / (image.width * image.height)
    if share >= 1:
        return image
    sides = [max(1, int(side * share**0.5)) for side in image.size]
    return Image.from_pil(image.to_pil().resize((sides[0], sides[1]), Resampling.BICUBIC))


def request_of(texts: Sequence[str]) -> str:
    """The text parts of a sentence as one request."""
    return " ".join(text.strip() for text in texts).strip()
