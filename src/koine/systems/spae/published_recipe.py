"""SPAE trained as published, on pictures that lie on this machine, with any language model's words and any CLIP.

Settings are those of the paper's section 4 as far as they are known: 128 pixels, 256 pictures in a step, 450,000 steps,
Adam with a peak rate of 1e-4. The discriminator's are MAGVIT's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import interpolate, normalize
from transformers import PreTrainedModel

from koine.data.image_folders import Pictures, open_together
from koine.errors import InputError
from koine.parts.views import random_square
from koine.systems.spae.config import PUBLISHED_FILTERS, THRESHOLDS, SpaeConfig
from koine.systems.spae.discriminator import (
    Discriminator,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    lecam_loss,
)
from koine.systems.spae.guidance import Rescaling, similarities, word_vectors
from koine.systems.spae.model import SpaeModel, SpaeOutput
from koine.systems.spae.objective import Objective, perceptual_loss, spae_loss
from koine.systems.spae.vocabulary import Candidates, Vocabulary, build_vocabulary, choose_words, input_table
from koine.training import Recipe, Stage, TrainingData
from koine.training.data import Batch

TEMPLATES = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)
"""The seven templates that CLIP's authors found to be nearly as good as the 80 that the paper averages over."""
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
AVERAGING = 0.999
"""Decay of the moving averages that LeCam compares with."""


class Photographs(TrainingData):
    """Pictures as squares: shrunk until the shorter side fits, cropped at random, mirrored half the time."""

    def __init__(self, pictures: Pictures, size: int) -> None:
        self.pictures, self.size = pictures, size

    def __len__(self) -> int:
        return len(self.pictures)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """Returns pixel_values [b, 3, size, size] in [0, 1]."""
        squares = [random_square(self.pictures.open(place), self.size, generator) for place in indices.tolist()]
        return {"pixel_values": torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float() / 255}


class AdversarialSpae(PreTrainedModel):
    """A SPAE beside its discriminator, and the moving averages of the discriminator's logits."""

    config: SpaeConfig
    config_class = SpaeConfig
    mean_real: Tensor
    mean_fake: Tensor

    def __init__(self, config: SpaeConfig) -> None:
        super().__init__(config)
        self.spae = SpaeModel(config)
        self.discriminator = Discriminator(config.image_size, filters=config.filters)
        self.register_buffer("mean_real", torch.zeros(()))
        self.register_buffer("mean_fake", torch.zeros(()))

    def judge_kindly(self, pixels: Tensor) -> Tensor:
        """The discriminator's logits of reconstructions; gradients reach the pictures but not the discriminator."""
        frozen = {name: parameter.detach() for name, parameter in self.discriminator.named_parameters()}
        logits: Tensor = functional_call(self.discriminator, frozen, (pixels,))
        return logits

    def discriminate(self, real: Tensor, fake: Tensor, lecam: float) -> Tensor:
        """The discriminator's own loss, with R1 and LeCam; gradients reach the discriminator only."""
        of_real, of_fake = self.discriminator(real).float(), self.discriminator(fake.detach()).float()
        with torch.no_grad():
            self.mean_real.lerp_(of_real.mean(), 1 - AVERAGING)
            self.mean_fake.lerp_(of_fake.mean(), 1 - AVERAGING)
        regular = lecam_loss(of_real.mean(), of_fake.mean(), self.mean_real, self.mean_fake)
        return discriminator_loss(of_real, of_fake) + gradient_penalty(self.discriminator, real) + lecam * regular


@dataclass
class PublishedRecipe(Recipe):
    """A SPAE of MAGVIT's sizes with the words of a language model.

    Attributes:
        data_files: folders of pictures, or parquet files of image data sets.
        language_model: folder or hub id of the causal language model whose table is the codebook.
        clip: folder or hub id of the CLIP that guides.
        classifier: folder or hub id of an ImageNet classifier of transformers for the perceptual loss; "" for none.
        size: MAGVIT's, "B" or "L".
        codebook_size: the first so many words in the order of the language model's tokens, which for most tokenizers
            is that of their frequency; the paper takes 65,000.
        candidates, normalized, scale, rescaling: undocumented in the paper; see `vocabulary` and `guidance`.
        templates: sentences that words are put into for CLIP.
        objective: weights of the terms; adversarial 0 trains without a discriminator.
    """

    data_files: tuple[str, ...] = ()
    language_model: str = ""
    clip: str = "openai/clip-vit-large-patch14"
    classifier: str = "microsoft/resnet-50"
    size: str = "B"
    image_size: int = 128
    codebook_size: int = 65_000
    candidates: Candidates = "words"
    normalized: bool = False
    scale: float = 1.0
    width: int | None = None
    rescaling: Rescaling = "minmax"
    templates: tuple[str, ...] = TEMPLATES
    objective: Objective = field(default_factory=Objective)

    name = "spae"
    stages = (
        Stage(
            "pretrain",
            steps=450_000,
            batch_size=256,
            learning_rate=1e-4,
            betas=(0.0, 0.99),
            warmup=0.02,
            schedule="linear",
            max_grad_norm=0.0,
            ema=AVERAGING,
        ),
    )

    def __post_init__(self) -> None:
        if self.size not in PUBLISHED_FILTERS:
            raise InputError.unknown("size of SPAE", self.size, PUBLISHED_FILTERS)

    @cached_property
    def tokenizer(self) -> Any:
        from koine.systems.spae.system import read_language_model

        if not self.language_model:
            raise InputError("whose words shall pictures be spelt in? give --set language_model=FOLDER or a hub id")
        self._reader = read_language_model(self.language_model)
        return self._reader.tokenizer

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The codebook's words."""
        words = choose_words(self.tokenizer, candidates=self.candidates)[: self.codebook_size]
        table = input_table(self._reader.model)
        return build_vocabulary(table, words, normalized=self.normalized, scale=self.scale, width=self.width)

    @cached_property
    def config(self) -> SpaeConfig:
        codes, width = self.vocabulary.table.shape
        grid = self.image_size // 8
        sides = [side for side in (1, 2, 4, 8, 16, 32) if side < grid and grid % side == 0]
        return SpaeConfig(
            image_size=self.image_size,
            filters=PUBLISHED_FILTERS[self.size],
            width=width,
            codebook_size=codes,
            pyramid=(*sides, grid, grid),
            thresholds=THRESHOLDS[: len(sides) + 1],
        )

    @cached_property
    def guide(self) -> nn.Module:
        """The frozen CLIP."""
        from transformers import CLIPModel

        return _frozen(CLIPModel, self.clip, "CLIP (clip)")

    @cached_property
    def words(self) -> Tensor:
        """Unit vectors [codes, dim] of the codebook's words."""
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(self.clip)
        except (OSError, ValueError) as error:
            raise InputError(f"the CLIP at {self.clip} has no tokenizer: put its files there") from error

        def embed(texts: list[str]) -> Tensor:
            ids = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
            guide: Any = self.guide
            return normalize(guide.get_text_features(**ids.to(guide.device)).pooler_output.float(), dim=-1)

        return word_vectors(embed, self.vocabulary.words, self.templates)

    @cached_property
    def judge(self) -> nn.Module | None:
        """The frozen classifier of the perceptual loss."""
        if not self.classifier or self.objective.perceptual == 0:
            return None
        from transformers import AutoModelForImageClassification

        return _frozen(AutoModelForImageClassification, self.classifier, "classifier (classifier)")

    def build_model(self) -> AdversarialSpae:
        model = AdversarialSpae(self.config)
        model.spae.set_table(self.vocabulary.table, self.vocabulary.token_ids)
        model.spae.start_at_scale_of_table()
        return model

    def data(self, stage: Stage) -> TrainingData:
        if not self.data_files:
            raise InputError("there is nothing to train on: name a folder of pictures, or parquet files, with --data")
        return Photographs(open_together(self.data_files), self.image_size)

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        pixels = batch["pixel_values"]
        made: list[Tensor] = []

        def extra(output: SpaeOutput) -> Tensor:
            made.append(output.pixels)
            terms = pixels.new_zeros(())
            if self.judge is not None:
                judge: Any = self.judge.to(pixels.device)
                seen = perceptual_loss(lambda pictures: judge(pictures).logits, pixels, output.pixels)
                terms = terms + self.objective.perceptual * seen
            if self.objective.adversarial:
                terms = terms + self.objective.adversarial * generator_loss(model.judge_kindly(output.pixels))
            return terms

        similarity = self._similarity(pixels)
        found = spae_loss(model.spae, pixels, objective=self.objective, similarity=similarity, extra=extra)
        if self.objective.adversarial:
            told_apart = model.discriminate(pixels, made[0].float(), self.objective.lecam)
            found |= {"loss": found["loss"] + told_apart, "discriminator": told_apart}
        return found

    def rebuilt(self, model: Any) -> frozenset[str]:
        """The language model's table, up to a gigabyte that checkpoints and other processes need not be sent."""
        return frozenset({"spae.table", "spae.token_ids"})

    def save(self, model: Any, folder: Path) -> None:
        """The SPAE with its tokenizer for use; the discriminator beside it, to go on from."""
        from safetensors.torch import save_file

        model.spae.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        save_file(model.discriminator.state_dict(), folder / "discriminator.safetensors")

    def load(self, model: Any, folder: Path) -> None:
        from safetensors.torch import load_file

        model.spae.load_state_dict(SpaeModel.from_pretrained(folder).state_dict())
        model.discriminator.load_state_dict(load_file(folder / "discriminator.safetensors"))

    @torch.no_grad()
    def _similarity(self, pixels: Tensor) -> Tensor | None:
        if self.objective.alpha == 0:
            return None
        guide: Any = self.guide.to(pixels.device)
        side = guide.config.vision_config.image_size
        mean, std = (torch.tensor(values, device=pixels.device)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
        seen = interpolate(pixels, (side, side), mode="bicubic", antialias=True)
        features = guide.get_image_features(pixel_values=(seen - mean) / std).pooler_output
        return similarities(normalize(features.float(), dim=-1), self.words.to(pixels.device), rescaling=self.rescaling)


def _frozen(kind: Any, source: str, thing: str) -> nn.Module:
    """A model of transformers that judges and isn't trained.

    Raises:
        InputError: it isn't there, or lacks weights, which would be drawn at random.
    """
    try:
        loaded: Any = kind.from_pretrained(source, output_loading_info=True)
    except (SafetensorError, ImportError, OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"there is no {thing} to be read at {source} ({reason}): give a folder or hub id") from error
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise InputError(f"the {thing} at {source} lacks {missing[0]}: give another, or get its files again")
    frozen: nn.Module = model.eval().requires_grad_(False)
    return frozen
