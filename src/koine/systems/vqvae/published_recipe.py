"""VQ-VAEs trained as published, on pictures that lie on this machine: ImageNet at 128 pixels, faces at 256."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from koine.data.image_folders import Pictures, open_together
from koine.errors import InputError
from koine.parts.views import random_square
from koine.systems.vqvae.config import VQVAEConfig
from koine.systems.vqvae.model import VQVAEModel
from koine.systems.vqvae.pixelcnn import UNSAID
from koine.systems.vqvae.processor import to_model_range
from koine.training import Recipe, Stage, TrainingData
from koine.training.data import Batch

IMAGENET = {"width": 256, "first_width": 256, "block_width": 256, "image_size": 128}
"""128x128 pictures as 32x32 codes (VQ-VAE, section 4.2), layers as in section 4.1."""


CODES = Stage(
    "codes", steps=250_000, batch_size=128, learning_rate=2e-4, schedule="constant", trainable=("autoencoder",)
)
"""As in appendix A.1."""
PRIOR = Stage("prior", steps=1_000_000, batch_size=128, learning_rate=3e-4, schedule="constant", trainable=("priors",))
"""As in the port of the gated PixelCNN, for ImageNet's 1.28 million pictures: 100 epochs."""


def learns_codes(model: Any) -> bool:
    """Whether it's the autoencoder that the stage trains, and not the priors."""
    return not any(weight.requires_grad for weight in model.priors.parameters())


def code_losses(model: Any, pixels: Tensor) -> dict[str, Tensor]:
    """What the autoencoder minimises, and how many codes it uses."""
    found = model(pixels)
    used = torch.stack([grid.perplexity for grid in found.quantized])
    return {"loss": found.loss, "reconstruction_loss": found.reconstruction_loss, "perplexity": used.mean()}


def frozen_codes(model: Any, pixels: Tensor) -> list[Tensor]:
    """The grids that a prior learns from; codes that lie close together are told apart in float32 only."""
    with torch.no_grad(), torch.autocast(pixels.device.type, enabled=False):
        return [grid.clone() for grid in model.encode(pixels)]


def classes_said(labels: Sequence[int | None], nothing_said: float, generator: torch.Generator) -> Tensor:
    """Classes [b, 1] that a prior is told; `UNSAID` where there is none, and by chance so often as `nothing_said`."""
    classes = torch.tensor([[UNSAID if label is None else label] for label in labels])
    return classes.masked_fill(torch.rand(classes.shape, generator=generator) < nothing_said, UNSAID)


class CroppedPictures(TrainingData):
    """Pictures as squares of a size: shrunk until the shorter side fits, cropped at random, mirrored half the time."""

    def __init__(self, pictures: Pictures, size: int, config: VQVAEConfig, nothing_said: float) -> None:
        """
        Args:
            size: of a square, in pixels.
            nothing_said: how often a picture's class is left unsaid.
        """
        self.pictures, self.size, self.config, self.nothing_said = pictures, size, config, nothing_said

    def __len__(self) -> int:
        return len(self.pictures)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """`pixels` [b, 3, size, size]; `classes` [b, 1], -1 where there are none."""
        images = [random_square(self.pictures.open(index), self.size, generator) for index in indices.tolist()]
        labels = [self.pictures.where(index).label for index in indices.tolist()]
        pixels = to_model_range(torch.from_numpy(np.stack(images)), self.config)
        return {"pixels": pixels, "classes": classes_said(labels, self.nothing_said, generator)}


@dataclass
class PicturesRecipe(Recipe):
    """Codes of pictures, then the prior over the codes of pictures that are encoded as they come.

    The codes' batch size, rate and steps are the paper's (appendix A.1); the prior's are those of the port that its
    layout is from, for ImageNet's 1.28 million pictures: 100 epochs.

    Attributes:
        data_files: folders of pictures, or parquet files of image data sets; classes are those of the first.
        layout: which published network (`koine.systems.vqvae.config.PUBLISHED`).
        nothing_said: how often a picture's class is left unsaid. Guidance goes away from what the prior draws then, so
            it has to know that; the port has no guidance and always says it.
        options: fields of its configuration that differ.
    """

    data_files: tuple[str, ...] = ()
    layout: str = "sonnet"
    nothing_said: float = 0.1
    options: dict[str, Any] = field(default_factory=lambda: dict(IMAGENET))
    seed: int = 0

    name = "vqvae-imagenet"
    stages = (CODES, PRIOR)

    def __post_init__(self) -> None:
        self._opened: Pictures | None = None

    def build_model(self) -> VQVAEModel:
        return VQVAEModel(self._config())

    def data(self, stage: Stage) -> TrainingData:
        config = self._config()
        return CroppedPictures(self._pictures(), config.image_size or config.stride, config, self.nothing_said)

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        if learns_codes(model):
            return code_losses(model, batch["pixels"])
        classes = batch["classes"] if model.config.prior_labels else None
        return {"loss": model.prior_nats(frozen_codes(model, batch["pixels"]), classes=classes).mean()}

    def _pictures(self) -> Pictures:
        if not self.data_files:
            raise InputError("this recipe trains on your pictures: name a folder or parquet file of them with --data")
        if self._opened is None:
            self._opened = open_together(self.data_files)
        return self._opened

    def _config(self) -> VQVAEConfig:
        options = dict(self.options)
        if self.layout == "vq-vae-2":
            options.setdefault("prior", "pixelsnail")
        else:
            names = list(self._pictures().classes)
            options |= {"prior": "pixelcnn", "prior_labels": [names] if names else []}
        return VQVAEConfig.published(self.layout, **options)


@dataclass
class FacesRecipe(PicturesRecipe):
    """VQ-VAE-2 of 256x256 faces with PixelSNAILs over its two grids, by the settings of the port that was published."""

    layout: str = "vq-vae-2"
    options: dict[str, Any] = field(default_factory=dict)

    name = "vqvae-ffhq"
    stages = (
        # 560 and 420 epochs of 70,000 pictures
        Stage(
            "codes",
            steps=306_250,
            batch_size=128,
            learning_rate=3e-4,
            schedule="constant",
            trainable=("autoencoder",),
        ),
        Stage("prior", steps=918_750, batch_size=32, learning_rate=3e-4, schedule="constant", trainable=("priors",)),
    )
