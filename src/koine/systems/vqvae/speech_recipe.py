"""A VQ-VAE of speech or other sounds that lie on this machine, and a prior over its codes (section 4.3)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from koine.data.labelled_files import LABEL
from koine.data.sound_folders import Sounds, open_together
from koine.errors import InputError
from koine.systems.vqvae.config import VQVAEConfig
from koine.systems.vqvae.model import VQVAEModel
from koine.systems.vqvae.processor import samples_to_model_range
from koine.systems.vqvae.published_recipe import CODES, PRIOR, classes_said, code_losses, frozen_codes, learns_codes
from koine.training import Recipe, Stage, TrainingData
from koine.training.data import Batch

SPEECH_OPTIONS: dict[str, Any] = {
    "data_variance": 0.01,
    "prior_width": 256,
    "prior_layers": 15,
    "prior_kernel": 15,
}
"""What the paper doesn't have: squared errors over the variance of speech at -20 dB of full scale, and a gated PixelCNN
that sees the 101 codes before each (0.4 s at 16 kHz) where the paper's prior is a WaveNet."""


class CroppedSounds(TrainingData):
    """Stretches of sounds at the model's rate, each from a random place; a shorter sound has silence after it."""

    def __init__(self, sounds: Sounds, length: int, config: VQVAEConfig, nothing_said: float) -> None:
        """
        Args:
            length: of a stretch, in samples.
            nothing_said: how often a sound's class is left unsaid.
        """
        self.sounds, self.length, self.config, self.nothing_said = sounds, length, config, nothing_said

    def __len__(self) -> int:
        return len(self.sounds)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """`pixels` [b, 1, length] in the model's range; `classes` [b, 1], -1 where there are none."""
        stretches = torch.stack([self._stretch(index, generator) for index in indices.tolist()])
        labels = [self.sounds.where(index).label for index in indices.tolist()]
        return {
            "pixels": samples_to_model_range(stretches, self.config)[:, None],
            "classes": classes_said(labels, self.nothing_said, generator),
        }

    def _stretch(self, index: int, generator: torch.Generator) -> Tensor:
        """[length] float32, full scale = 1."""
        sound = self.sounds.open(index)
        samples = torch.from_numpy(sound.resampled(self.config.sample_rate or sound.rate).samples)
        if len(samples) < self.config.stride:
            raise InputError(
                f"the sound {self.sounds.where(index).name} has {len(samples)} samples, fewer than the "
                f"{self.config.stride} of one code: leave it out"
            )
        spare = max(len(samples) - self.length, 0)
        begin = int(torch.randint(spare + 1, (1,), generator=generator))
        stretch = torch.zeros(self.length)
        stretch[: len(samples)] = samples[begin : begin + self.length]
        return stretch


@dataclass
class SpeechRecipe(Recipe):
    """Codes of 64 samples each, then the prior over them.

    Known are the encoder, the codebook, and the codes' steps, batch and rate of appendix A.1. Everything else is ours:
    the length and rate of the sounds, a squared error where the paper's decoder is a WaveNet, the prior and its
    training, and that the prior, not the decoder, is told the speaker.

    Attributes:
        data_files: folders of sounds, or parquet files that hold them; classes are those of the first.
        label: of parquet files, the column whose values are the classes, such as "speaker".
        crop: samples of the stretches that are learnt from, a multiple of a code's.
        nothing_said: how often a sound's class is left unsaid, so that the prior knows that case, too.
        options: fields of `VQVAEConfig` that differ from `VQVAEConfig.published("speech")`.
    """

    data_files: tuple[str, ...] = ()
    label: str = LABEL
    crop: int = 16_384
    nothing_said: float = 0.1
    options: dict[str, Any] = field(default_factory=lambda: dict(SPEECH_OPTIONS))

    name = "vqvae-speech"
    stages = (CODES, replace(PRIOR, steps=250_000, batch_size=64))

    def __post_init__(self) -> None:
        self._opened: Sounds | None = None

    def build_model(self) -> VQVAEModel:
        return VQVAEModel(self._config())

    def data(self, stage: Stage) -> TrainingData:
        return CroppedSounds(self._sounds(), self.crop, self._config(), self.nothing_said)

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        if learns_codes(model):
            return code_losses(model, batch["pixels"])
        classes = batch["classes"] if model.config.prior_labels else None
        return {"loss": model.prior_nats(frozen_codes(model, batch["pixels"]), classes=classes).mean()}

    def _sounds(self) -> Sounds:
        if not self.data_files:
            raise InputError("this recipe trains on your sounds: name a folder or parquet file of them with --data")
        if self._opened is None:
            self._opened = open_together(self.data_files, label=self.label)
        return self._opened

    def _config(self) -> VQVAEConfig:
        names = list(self._sounds().classes)
        settings = {"prior": "pixelcnn", "prior_labels": [names] if names else [], **self.options}
        config = VQVAEConfig.published("speech", **settings)
        if self.crop < 1 or self.crop % config.stride:
            raise InputError(f"crop {self.crop} isn't a multiple of the {config.stride} samples of one code: give one")
        config.prior_grid = [self.crop // config.stride * config.codes_per_cell]
        return config
