"""Training of the nano CLIP on pictures of the world and their captions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from koine.data.world_captions import captions
from koine.foundations.clip import Clip, encode_texts, nano_config, pixel_values
from koine.foundations.language_model_recipe import nano_tokenizer
from koine.foundations.tokenizer import FILE
from koine.training import Recipe, Stage, TrainingData
from koine.training.data import Batch
from koine.world.cache import RenderedScenes, rendered_scenes
from koine.world.things import COLOURS, MATERIALS, SHAPES, SIZES

CAPTIONS_PER_SCENE = 4


class ImageTextPairs(TrainingData):
    """Scenes with several captions each, of which a batch draws one."""

    def __init__(self, parts: list[RenderedScenes], tokenizer: Any, *, seed: int) -> None:
        texts = [
            text
            for part in parts
            for scene in captions(part, per_scene=CAPTIONS_PER_SCENE, seed=seed)
            for text in scene
        ]
        self.images = torch.from_numpy(np.concatenate([part.images for part in parts]))
        self.input_ids = encode_texts(tokenizer, texts).view(len(self.images), CAPTIONS_PER_SCENE, -1).to(torch.int16)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        drawn = torch.randint(CAPTIONS_PER_SCENE, (len(indices),), generator=generator)
        ids = self.input_ids[indices, drawn].long()
        longest = int((ids != 0).sum(dim=1).max())
        return {"pixel_values": pixel_values(self.images[indices]), "input_ids": ids[:, :longest]}


@dataclass
class ClipRecipe(Recipe):
    """Contrastive training (Radford et al. 2021, section 2.3) of the nano CLIP.

    Pairs whose captions are the same are no negatives of each other: short captions repeat in a batch.
    """

    scenes: int = 40_000
    single_scenes: int = 4_000
    seed: int = 0

    name = "clip"
    stages = (Stage("pretrain", steps=4000, batch_size=128, learning_rate=1e-3, weight_decay=0.05, betas=(0.9, 0.98)),)

    @cached_property
    def tokenizer(self) -> Any:
        return nano_tokenizer()

    def build_model(self) -> Any:
        from transformers import CLIPModel

        # heads this small are twice as fast without the fused attention, whose backward pass is slow on CPUs
        return CLIPModel._from_config(nano_config(), attn_implementation="eager")

    def data(self, stage: Stage) -> TrainingData:
        parts = [
            rendered_scenes("train", self.scenes),
            rendered_scenes("train", self.single_scenes, kind="single"),
        ]
        return ImageTextPairs(parts, self.tokenizer, seed=self.seed)

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        ids = batch["input_ids"]
        mask = (ids != 0).long()
        image = model.get_image_features(pixel_values=batch["pixel_values"]).pooler_output.float()
        text = model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output.float()
        image, text = torch.nn.functional.normalize(image, dim=-1), torch.nn.functional.normalize(text, dim=-1)
        logits = image @ text.T * model.logit_scale.exp().clamp(max=100.0)
        same = (ids[:, None] == ids[None]).all(dim=-1)
        same.fill_diagonal_(False)
        logits = logits.masked_fill(same, -torch.inf)
        target = torch.arange(len(ids))
        loss = (
            torch.nn.functional.cross_entropy(logits, target) + torch.nn.functional.cross_entropy(logits.T, target)
        ) / 2
        return {"loss": loss, "accuracy": (logits.argmax(dim=1) == target).float().mean()}

    def evaluate(self, model: Any, stage: Stage) -> dict[str, float]:
        return zero_shot(Clip(model, self.tokenizer), rendered_scenes("validation", 1000, kind="single"))

    def save(self, model: Any, folder: Path) -> None:
        model.save_pretrained(folder)
        (folder / FILE).write_bytes(Path(self.tokenizer.vocab_file).read_bytes())


PROMPTS = {
    "colour": [[f"something {word}", f"a {word} thing", f"a picture of a {word} thing"] for word in COLOURS],
    "shape": [[f"a {word}", f"a picture of a {word}", f"there is a {word}"] for word in SHAPES],
    "material": [[f"a {word} thing", f"a picture of a {word} thing"] for word in ("rubber", "metal", "wooden")],
    "size": [[f"a {word} thing", f"a picture of a {word} thing"] for word in SIZES],
}
"""Prompt ensembles of the zero-shot protocol, in the order of the vocabularies."""
_WORDS = {"colour": tuple(COLOURS), "shape": SHAPES, "material": MATERIALS, "size": tuple(SIZES)}


def zero_shot(clip: Clip, scenes: RenderedScenes) -> dict[str, float]:
    """Zero-shot accuracy for each attribute of the single thing in each scene."""
    vectors = clip.embed_pixels(scenes.images)
    found = {}
    for attribute, words in _WORDS.items():
        truth = torch.tensor([words.index(getattr(scenes.scene(i).things[0], attribute)) for i in range(len(scenes))])
        found[attribute] = float((clip.classify(vectors, PROMPTS[attribute]) == truth).float().mean())
    return found


def retrieval(clip: Clip, scenes: RenderedScenes, *, seed: int = 0) -> dict[str, float]:
    """Recall at 1 both ways among scenes with one full caption each, all captions distinct."""
    texts, chosen = [], []
    for index, (text,) in enumerate(captions(scenes, per_scene=1, seed=seed)):
        if text not in texts:
            texts.append(text)
            chosen.append(index)
    similarity = clip.embed_pixels(scenes.images[chosen]) @ clip.embed_texts(texts).T
    target = torch.arange(len(chosen))
    return {
        "image to text R@1": float((similarity.argmax(dim=1) == target).float().mean()),
        "text to image R@1": float((similarity.argmax(dim=0) == target).float().mean()),
        "pairs": float(len(chosen)),
    }
