"""A VQ-VAE whose prior is told texts, on pictures with captions that lie on this machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from koine.data.captioned_pictures import CaptionedPictures, open_together
from koine.errors import InputError
from koine.parts.views import random_view
from koine.systems.vqvae.config import VQVAEConfig
from koine.systems.vqvae.model import VQVAEModel
from koine.systems.vqvae.published_recipe import CODES, IMAGENET, PRIOR, code_losses, frozen_codes, learns_codes
from koine.systems.vqvae.text_encoder import TextEncoder
from koine.training import Recipe, Stage, TrainingData
from koine.training.data import Batch

SMALLEST_CROP = 0.8
"""The least share of a picture's area that a view has: what a caption speaks of should be in it."""


class CaptionedViews(TrainingData):
    """Random views of pictures, never mirrored since captions say left and right, each with one of its captions."""

    def __init__(
        self, pictures: CaptionedPictures, size: int, config: VQVAEConfig, encoder: TextEncoder, nothing_said: float
    ) -> None:
        self.pictures, self.size, self.config, self.encoder = pictures, size, config, encoder
        self.nothing_said = nothing_said

    def __len__(self) -> int:
        return len(self.pictures)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """`pixels` [b, 3, size, size], `ids` [b, length] of the captions, `said` [b, 1] bool: whether they count."""
        low, high = self.config.pixel_range
        views, texts = [], []
        for index in indices.tolist():
            found = self.pictures.open(index)
            views.append(random_view(found.image, self.size, generator, smallest=SMALLEST_CROP))
            texts.append(found.captions[int(torch.randint(len(found.captions), (1,), generator=generator))])
        return {
            "pixels": torch.stack(views) * (high - low) + low,
            "ids": self.encoder.tokens(texts),
            "said": torch.rand(len(indices), 1, generator=generator) >= self.nothing_said,
        }


@dataclass
class CaptionsRecipe(Recipe):
    """Codes of pictures, then a prior that is told their captions (gated PixelCNN, arXiv 1606.05328, section 2.3).

    Neither paper has a prior that is told texts: the codes are trained as on ImageNet, the prior for as long as there,
    and the text's vector takes the place of the class.

    Attributes:
        data_files: lists of captions or parquet files (`koine.data.captioned_pictures`), or folders that hold them.
        images: the folder of the pictures, by default `data_files` themselves.
        text_encoder: folder of the CLIP whose vectors the prior is told; it stays as it is. "nano" knows the words of
            koine's world only.
        nothing_said: how often a caption is left away, so that the prior knows that case, too.
        options: fields of `VQVAEConfig` that differ from Sonnet's.
    """

    data_files: tuple[str, ...] = ()
    images: str | None = None
    text_encoder: str = ""
    nothing_said: float = 0.1
    options: dict[str, Any] = field(default_factory=lambda: dict(IMAGENET))

    name = "vqvae-captions"
    stages = (CODES, PRIOR)

    def __post_init__(self) -> None:
        self._encoder: TextEncoder | None = None

    def build_model(self) -> VQVAEModel:
        return VQVAEModel(self._config())

    def data(self, stage: Stage) -> TrainingData:
        if not self.data_files:
            raise InputError("this recipe trains on your pictures: name a list of them with captions with --data")
        config, pictures = self._config(), open_together(self.data_files, images=self.images)
        size = config.image_size or config.stride
        return CaptionedViews(pictures, size, config, self._text_encoder, self.nothing_said)

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        if learns_codes(model):
            return code_losses(model, batch["pixels"])
        with torch.autocast(batch["pixels"].device.type, enabled=False):
            text = self._text_encoder.vectors(batch["ids"]) * batch["said"]
        return {"loss": model.prior_nats(frozen_codes(model, batch["pixels"]), text=text).mean()}

    @property
    def _text_encoder(self) -> TextEncoder:
        if not self.text_encoder:
            raise InputError("what shall texts become? give the folder of a CLIP with --set text_encoder=FOLDER")
        if self._encoder is None:
            self._encoder = TextEncoder.load(self.text_encoder)
        return self._encoder

    def _config(self) -> VQVAEConfig:
        told = {"prior_text_width": self._text_encoder.width, "prior_text_encoder": self.text_encoder}
        return VQVAEConfig.published("sonnet", **{"prior": "pixelcnn", **told, **self.options})
