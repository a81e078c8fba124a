"""Training of a nano visual tokenizer (VQ-KD) on the world's pictures, with the nano CLIP as the teacher."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from koine.foundations.clip import MEAN, STD, Clip
from koine.parts.quantize import code_counts, usage
from koine.systems.beit3.config import VisualTokenizerConfig
from koine.systems.beit3.vqkd import VisualTokenizer
from koine.training import Recipe, Stage, TrainingData
from koine.training.data import Batch
from koine.world.cache import RenderedScenes, rendered_scenes

if TYPE_CHECKING:
    from transformers import CLIPModel

Teacher = Literal["features", "pixels"]


class Pictures(TrainingData):
    """Pictures in 0..1, to be told from codes or from the features that codes are put among."""

    def __init__(self, scenes: RenderedScenes, *, coded: bool) -> None:
        self.images, self.coded = torch.from_numpy(scenes.images), coded

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        return {"images" if self.coded else "uncoded": in_unit_range(self.images[indices])}


@dataclass
class VisualTokenizerRecipe(Recipe):
    """Codes for patches from which a decoder can tell the teacher's features (BEiT v2, section 3.1).

    First the features learn without codes. K-means among features of an encoder that has learnt nothing puts nearly all
    codes where later no feature is, and a code that nobody chooses stays where it is.

    Attributes:
        scenes: of the training split.
        teacher: what a decoder is to tell from the codes: the nano CLIP's features of each patch before its last
            layer, where they say what the patch shows; or the patch's pixels (for comparison).
        seed: of the weights.
    """

    scenes: int = 20_000
    teacher: Teacher = "features"
    seed: int = 0

    name = "beit3-visual-tokenizer"
    _codes = Stage("pretrain", steps=300, batch_size=64, learning_rate=1e-3, weight_decay=1e-4, betas=(0.9, 0.99))
    stages = (replace(_codes, name="features", steps=150, schedule="constant"), _codes)

    @cached_property
    def clip(self) -> Any:
        return Clip.load().model

    def build_model(self) -> VisualTokenizer:
        torch.manual_seed(self.seed)
        config = VisualTokenizerConfig.nano()
        if self.teacher == "pixels":
            config.teacher_width = config.num_channels * config.patch_size**2
        return VisualTokenizer(config)

    def data(self, stage: Stage) -> TrainingData:
        return Pictures(rendered_scenes("train", self.scenes), coded=stage.name == "pretrain")

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        images = batch["images" if "images" in batch else "uncoded"]
        targets = (
            patch_features(self.clip.to(images.device), images)
            if self.teacher == "features"
            else pixel_targets(model, images)
        )
        if "uncoded" in batch:
            predicted = model.decode(F.normalize(model.encode(images), dim=-1)).float()
            return {"loss": 1 - F.cosine_similarity(predicted, targets.float(), dim=-1).mean()}
        output = model(images, targets)
        return {
            "loss": output.loss,
            "reconstruction": output.reconstruction_loss,
            "commitment": output.commitment_loss,
            "perplexity": output.perplexity,
        }

    def evaluate(self, model: Any, stage: Stage) -> dict[str, float]:
        if stage.name == "features":
            return {}
        codes = tokenize(model, rendered_scenes("validation", 1000))
        return {"usage": float(usage(code_counts(codes.long(), model.config.num_codes)))}


@torch.no_grad()
def patch_features(clip: CLIPModel, images: Tensor) -> Tensor:
    """The nano CLIP's features of patches before its last layer, [images, patches, width].

    The published teacher is read behind its last layer and in the space of texts (`vqkd.clip_targets`); the nano CLIP
    was asked what its patches show one layer earlier.
    """
    mean, deviation = (images.new_tensor(each).view(3, 1, 1) for each in (MEAN, STD))
    seen = clip.vision_model(pixel_values=(images - mean) / deviation, output_hidden_states=True)
    features: Tensor = seen.hidden_states[-2][:, 1:]
    return features


def pixel_targets(model: VisualTokenizer, images: Tensor) -> Tensor:
    """The pixels of each patch, [images, patches, 3 * patch * patch], around the mean of all."""
    return F.unfold(images - 0.5, model.config.patch_size, stride=model.config.patch_size).transpose(1, 2)


@torch.inference_mode()
def tokenize(model: VisualTokenizer, scenes: RenderedScenes, *, batch_size: int = 256) -> Tensor:
    """The codes of all pictures, [scenes, patches] int16."""
    parts = torch.from_numpy(scenes.images).split(batch_size)
    return torch.cat([model.tokenize(in_unit_range(part)).to(torch.int16) for part in parts]).clone()


def in_unit_range(images: Tensor) -> Tensor:
    """uint8 [images, H, W, 3] to float32 [images, 3, H, W] in 0..1."""
    return images.permute(0, 3, 1, 2).float() / 255
