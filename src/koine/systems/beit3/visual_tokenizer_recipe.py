"""Training of a nano visual tokenizer (VQ-KD) on the world's pictures, with the nano CLIP as the teacher."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from koine.foundations.clip import Clip
from koine.parts.quantize import code_counts, usage
from koine.systems.beit3.config import VisualTokenizerConfig
from koine.systems.beit3.vqkd import VisualTokenizer, clip_targets
from koine.training import Recipe, Stage, TrainingData
from koine.training.data import Batch
from koine.world.cache import RenderedScenes, rendered_scenes


class Pictures(TrainingData):
    """Pictures in 0..1."""

    def __init__(self, scenes: RenderedScenes) -> None:
        self.images = torch.from_numpy(scenes.images)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        return {"images": in_unit_range(self.images[indices])}


@dataclass
class VisualTokenizerRecipe(Recipe):
    """Codes for patches from which a decoder can tell the teacher's features (BEiT v2, section 3.1).

    Attributes:
        scenes: of the training split.
        seed: of the weights.
    """

    scenes: int = 20_000
    seed: int = 0

    name = "beit3-visual-tokenizer"
    stages = (Stage("pretrain", steps=300, batch_size=96, learning_rate=1e-3, weight_decay=1e-4, betas=(0.9, 0.99)),)

    @cached_property
    def teacher(self) -> Any:
        return Clip.load().model

    def build_model(self) -> VisualTokenizer:
        torch.manual_seed(self.seed)
        return VisualTokenizer(VisualTokenizerConfig.nano())

    def data(self, stage: Stage) -> TrainingData:
        return Pictures(rendered_scenes("train", self.scenes))

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        output = model(batch["images"], clip_targets(self.teacher, batch["images"]))
        return {
            "loss": output.loss,
            "reconstruction": output.reconstruction_loss,
            "commitment": output.commitment_loss,
            "perplexity": output.perplexity,
        }

    def evaluate(self, model: Any, stage: Stage) -> dict[str, float]:
        codes = tokenize(model, rendered_scenes("validation", 1000))
        return {"usage": float(usage(code_counts(codes.long(), model.config.num_codes)))}


@torch.inference_mode()
def tokenize(model: VisualTokenizer, scenes: RenderedScenes, *, batch_size: int = 256) -> Tensor:
    """The codes of all pictures, [scenes, patches] int16."""
    parts = torch.from_numpy(scenes.images).split(batch_size)
    return torch.cat([model.tokenize(in_unit_range(part)).to(torch.int16) for part in parts]).clone()


def in_unit_range(images: Tensor) -> Tensor:
    """uint8 [images, H, W, 3] to float32 [images, 3, H, W] in 0..1."""
    return images.permute(0, 3, 1, 2).float() / 255
