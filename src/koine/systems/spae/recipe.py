"""How SPAE is trained: the nano one on pictures of the world, with the nano language model's words and CLIP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from koine.data.world_captions import captions
from koine.data.world_text import documents
from koine.data.world_words import content_words, word_counts
from koine.foundations.clip import Clip
from koine.foundations.language_model import NANO_WEIGHTS as LANGUAGE_MODEL
from koine.foundations.language_model import load_language_model
from koine.foundations.tokenizer import FILE
from koine.systems.spae.config import SpaeConfig
from koine.systems.spae.guidance import similarities, word_vectors
from koine.systems.spae.model import SpaeModel
from koine.systems.spae.objective import Objective, draw_layers, spae_loss, wordless_loss
from koine.systems.spae.published_recipe import PublishedRecipe
from koine.systems.spae.vocabulary import Vocabulary, build_vocabulary, choose_words, input_table
from koine.training import Recipe, Stage, TrainingData
from koine.training.data import Batch
from koine.world.cache import RenderedScenes, rendered_scenes

TEMPLATES = ("{}", "a {}", "a {} thing", "something {}")
"""What the nano CLIP is asked about a word: the forms in which it has read words alone."""
OBJECTIVE = Objective(alpha=2.0, beta=0.002, prefix_share=0.5, entropy=0.02)
"""A commitment as strong as published drew the features of a small encoder to one word within 200 steps.

Beside words of length 4, `beta` is what 0.03 would be beside words of length 1.
"""
READ_SCENES = 1000
"""Scenes whose texts say which words there are."""


class Pictures(TrainingData):
    """Pictures of the world."""

    def __init__(self, parts: list[RenderedScenes]) -> None:
        self.images = torch.from_numpy(np.concatenate([part.images for part in parts]))

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """Returns pixel_values [b, 3, H, W] in [0, 1]."""
        return {"pixel_values": self.images[indices].permute(0, 3, 1, 2).float() / 255}


class LayeredPictures(Pictures):
    """Pictures, and how many layers of words each is to be decoded from."""

    def __init__(self, parts: list[RenderedScenes], *, layers: int, share: float) -> None:
        """
        Args:
            share: of pictures that are decoded from fewer layers than `layers`.
        """
        super().__init__(parts)
        self.layers, self.share = layers, share

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """Returns pixel_values [b, 3, H, W] in [0, 1] and layers [b]."""
        layers = draw_layers(len(indices), self.layers, self.share, generator)
        return {**super().batch(indices, generator), "layers": layers}


class GuidedPictures(LayeredPictures):
    """These, and how well each word of the codebook fits each picture."""

    def __init__(
        self, parts: list[RenderedScenes], words: Sequence[str], *, guided: Tensor, layers: int, share: float
    ) -> None:
        """
        Args:
            words: of the codebook.
            guided: bool [codes], the words that may guide.
        """
        super().__init__(parts, layers=layers, share=share)
        clip = Clip.load()
        self.vectors = clip.embed_pixels(self.images)
        self.words = word_vectors(clip.embed_texts, words, TEMPLATES)
        self.usual = (self.vectors @ self.words.T).mean(dim=0)
        self.guided = guided

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """Returns pixel_values [b, 3, H, W] in [0, 1], layers [b] and similarity [b, codes]."""
        similarity = similarities(self.vectors[indices], self.words, guided=self.guided, usual=self.usual)
        return {**super().batch(indices, generator), "similarity": similarity}


@dataclass
class NanoRecipe(Recipe):
    """The nano SPAE: a plain autoencoder for a start, then words.

    Features that say something from the beginning are drawn to different words; those of a fresh encoder, which the
    paper can afford to begin with, all go to one.

    Attributes:
        scenes, single_scenes: pictures with any number of things, and with one.
        objective: weights of the loss's terms.
        options: fields of `SpaeConfig` that differ from the nano's.
        width: principal directions that the language model's table is projected to: in fewer dimensions the mean of a
            few words comes nearer to anything.
        scale: length of the codebook's rows, which are normalised first. Words of one kind, such as colours, lie close
            together; at length 1 the semantic loss hardly tells them apart, and the commitment holds each upper word
            where it began.
        seed: of the initial weights.
    """

    scenes: int = 12_000
    single_scenes: int = 6_000
    objective: Objective = field(default_factory=lambda: OBJECTIVE)
    options: dict[str, Any] = field(default_factory=dict)
    width: int = 16
    scale: float = 4.0
    seed: int = 0

    name = "spae-nano"
    stages = (
        Stage("appearance", steps=300, batch_size=32, learning_rate=3e-3, weight_decay=0.01, betas=(0.9, 0.99)),
        Stage("words", steps=1500, batch_size=32, learning_rate=2e-3, weight_decay=0.01, betas=(0.9, 0.99)),
    )

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The whole words among the nano language model's pieces, normalised."""
        model, tokenizer = load_language_model()
        words = choose_words(tokenizer, known=_read_words())
        return build_vocabulary(input_table(model), words, normalized=True, scale=self.scale, width=self.width)

    @property
    def guided(self) -> Tensor:
        """bool [codes]: the words that can be true of a scene, as captions have them."""
        usable = content_words() & _captioned_words()
        return torch.tensor([word in usable for word in self.vocabulary.words])

    @cached_property
    def config(self) -> SpaeConfig:
        return SpaeConfig.nano(*self.vocabulary.table.shape, **self.options)

    def build_model(self) -> SpaeModel:
        torch.manual_seed(self.seed)
        model = SpaeModel(self.config)
        if self.config.codebook == "frozen":
            model.set_table(self.vocabulary.table, self.vocabulary.token_ids)
            model.start_at_scale_of_table()
        return model

    def data(self, stage: Stage) -> TrainingData:
        parts = [
            *([rendered_scenes("train", self.scenes)] if self.scenes else []),
            *([rendered_scenes("train", self.single_scenes, kind="single")] if self.single_scenes else []),
        ]
        if stage.name == "appearance":
            return Pictures(parts)
        prefixes: dict[str, Any] = {"layers": len(self.config.pyramid), "share": self.objective.prefix_share}
        if self.objective.alpha == 0:  # what CLIP sees isn't asked for
            return LayeredPictures(parts, **prefixes)
        return GuidedPictures(parts, self.vocabulary.words, guided=self.guided, **prefixes)

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        if "layers" not in batch:
            return wordless_loss(model, batch["pixel_values"])
        return spae_loss(
            model,
            batch["pixel_values"],
            objective=self.objective,
            similarity=batch.get("similarity"),
            layers=batch["layers"],
        )

    def evaluate(self, model: Any, stage: Stage) -> dict[str, float]:
        """Quick figures on 200 validation scenes."""
        from koine.systems.spae.claims import layer_errors

        return layer_errors(model, rendered_scenes("validation", 200).images)

    def figures(self, folder: Path) -> dict[str, object]:
        """Errors by layers, words and few-shot accuracy on test scenes and scenes of held-out pairs."""
        from koine.systems.spae.claims import figures
        from koine.systems.spae.system import Spae

        return figures(Spae.load(folder))

    def save(self, model: Any, folder: Path) -> None:
        model.save_pretrained(folder)
        (folder / FILE).write_bytes((LANGUAGE_MODEL / FILE).read_bytes())


@lru_cache(maxsize=1)
def _read_words() -> frozenset[str]:
    """Words of the world's documents; a piece such as "▁lar" isn't among them."""
    return frozenset(word_counts(documents(rendered_scenes("train", READ_SCENES), seed=0)))


@lru_cache(maxsize=1)
def _captioned_words() -> frozenset[str]:
    scenes = rendered_scenes("train", READ_SCENES)
    return frozenset(word_counts(text for of_scene in captions(scenes, per_scene=2, seed=0) for text in of_scene))


RECIPES: dict[str, Callable[[], Recipe]] = {"nano": NanoRecipe, "published": PublishedRecipe}
