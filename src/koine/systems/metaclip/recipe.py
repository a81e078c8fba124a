"""How MetaCLIP is trained: the nano one on the world's small web, the published sizes on pairs that were curated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from koine.foundations.clip import encode_texts, nano_config, pixel_values
from koine.foundations.language_model_recipe import nano_tokenizer
from koine.foundations.tokenizer import FILE
from koine.systems.metaclip.model import LARGEST_SCALE, contrastive_loss, image_features, text_features
from koine.systems.metaclip.processor import MetaClipProcessor
from koine.systems.metaclip.published_recipe import PublishedRecipe
from koine.systems.metaclip.system import MetaClip
from koine.systems.metaclip.world_web import CuratedPairs, Pool, Subset, WebOptions, curate_pool, gather
from koine.systems.metaclip.zero_shot import Metric, ZeroShotTask, score
from koine.training import Recipe, Stage, TrainingData
from koine.training.data import Batch
from koine.world.alt_text import concept, concepts
from koine.world.cache import RenderedScenes, rendered_scenes

TEMPLATES = ("a {}", "photo of a {}", "a picture of a {}")
HEAD = 12
"""Concepts of colour and shape that count as head: the most mentioned ones."""


class WebPairs(TrainingData):
    """Pictures with one of their texts."""

    def __init__(self, pool: Pool, curated: CuratedPairs, tokenizer: Any, *, online: bool) -> None:
        """
        Args:
            online: draw each item anew: a picture at random, one of its texts at random, kept by its probability, as
                the online sampler does; else item i is the i-th curated pair.
        """
        self.images = pool.images
        self.online = online
        self.image_of = torch.from_numpy(pool.image_of[curated.pairs])
        self.probabilities = torch.from_numpy(curated.probabilities)
        self.input_ids = encode_texts(tokenizer, pool.texts.take(curated.pairs).to_pylist()).to(torch.int16)
        # Where each picture's texts begin, and how many there are.
        begins = np.flatnonzero(np.diff(self.image_of.numpy(), prepend=-1))
        self.begins = torch.from_numpy(begins)
        self.sizes = torch.from_numpy(np.diff(np.append(begins, len(self.image_of))))

    def __len__(self) -> int:
        return len(self.image_of)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """Returns pixel_values [b, 3, H, W] and input_ids [b, tokens]."""
        pairs = self._drawn(len(indices), generator) if self.online else indices
        ids = self.input_ids[pairs].long()
        images = self.images[self.image_of[pairs].numpy()]
        return {"pixel_values": pixel_values(images), "input_ids": ids[:, : int((ids != 0).sum(dim=1).max())]}

    def _drawn(self, count: int, generator: torch.Generator) -> Tensor:
        """Pairs as the online sampler would let them through one after the other, [count]."""
        found = torch.zeros(0, dtype=torch.int64)
        while len(found) < count:
            pictures = torch.randint(len(self.begins), (2 * count,), generator=generator)
            among = (torch.rand(2 * count, generator=generator) * self.sizes[pictures]).long()
            pairs = self.begins[pictures] + among
            kept = self.probabilities[pairs] >= torch.rand(2 * count, generator=generator, dtype=torch.float64)
            found = torch.cat([found, pairs[kept]])
        return found[:count]


@dataclass
class NanoRecipe(Recipe):
    """A nano CLIP from nothing, on the world's web.

    As published it sees a fixed number of pairs, however many there are to choose from (paper, section 4.1).

    Attributes:
        web: the pool.
        subset: what of the pool is trained on.
        threshold: texts per entry, t.
        seed: of the draws of balancing.
    """

    web: WebOptions = field(default_factory=WebOptions)
    subset: Subset = "balanced"
    threshold: int = 100
    seed: int = 0

    name = "metaclip-nano"
    stages = (
        Stage(
            "pretrain", steps=3000, batch_size=96, learning_rate=1e-3, weight_decay=0.1, betas=(0.9, 0.98), warmup=0.05
        ),
    )

    @cached_property
    def tokenizer(self) -> Any:
        return nano_tokenizer()

    def build_model(self) -> Any:
        from transformers import CLIPModel

        # heads this small are twice as fast without the fused attention, whose backward pass is slow on CPUs
        return CLIPModel._from_config(nano_config(), attn_implementation="eager")

    def data(self, stage: Stage) -> TrainingData:
        pool = gather(self.web)
        curated = curate_pool(pool, self.subset, threshold=self.threshold, seed=self.seed)
        return WebPairs(pool, curated, self.tokenizer, online=self.subset == "online")

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        images = image_features(model, batch["pixel_values"])
        texts = text_features(model, batch["input_ids"])
        scale = model.logit_scale.clamp(0, LARGEST_SCALE).exp()
        return {"loss": contrastive_loss(images, texts, scale), "scale": scale.detach()}

    def evaluate(self, model: Any, stage: Stage) -> dict[str, float]:
        return concept_accuracy(self._system(model), rendered_scenes("validation", 1000, kind="single"))

    def figures(self, folder: Path) -> dict[str, object]:
        """Zero-shot concepts of single things in test scenes and in those of held-out pairs."""
        system = MetaClip.load(folder)
        held_out = concept_accuracy(system, rendered_scenes("heldout", 1000, kind="single"))
        return {
            **concept_accuracy(system, rendered_scenes("test", 2000, kind="single")),
            "zero-shot concept, held-out pairs": held_out["zero-shot concept"],
            "scenes": "2,000 single-thing test scenes, 1,000 of held-out pairs; mean over concepts, 48 to choose from",
        }

    def save(self, model: Any, folder: Path) -> None:
        model.save_pretrained(folder)
        (folder / FILE).write_bytes(Path(self.tokenizer.vocab_file).read_bytes())

    def _system(self, model: Any) -> MetaClip:
        text = model.config.text_config
        size = model.config.vision_config.image_size
        processor = MetaClipProcessor(
            self.tokenizer, image_size=size, end_id=text.eos_token_id, text_length=text.max_position_embeddings
        )
        return MetaClip(model, processor)


def concept_accuracy(system: MetaClip, scenes: RenderedScenes) -> dict[str, float]:
    """Zero-shot accuracy over the 48 pairs of colour and shape, each concept counting alike; head and tail apart."""
    names = concepts()
    vectors = system.embed_classes(ZeroShotTask([[name] for name in names], TEMPLATES))
    pixels = pixel_values(scenes.images)
    with torch.inference_mode():
        images = torch.cat([image_features(system.model, part) for part in pixels.split(256)])
    labels = torch.tensor([names.index(concept(scenes.scene(place).things[0])) for place in range(len(scenes))])
    similarities = images @ vectors.T
    found = {"zero-shot concept": score(similarities, labels, Metric.MEAN_PER_CLASS)}
    for part, chosen in (("head", labels < HEAD), ("tail", labels >= HEAD)):
        if chosen.any():
            found[f"zero-shot concept, {part}"] = score(similarities[chosen], labels[chosen], Metric.MEAN_PER_CLASS)
    return found


RECIPES: dict[str, Callable[[], Recipe]] = {"nano": NanoRecipe, "published": PublishedRecipe}
