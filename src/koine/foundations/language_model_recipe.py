"""Training of the nano tokenizer and the nano language model on the world's text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from koine.data.world_text import documents
from koine.foundations.language_model import NANO_WEIGHTS, load_language_model, nano_config
from koine.foundations.tokenizer import FILE, load_tokenizer, train_tokenizer
from koine.training import Recipe, Stage, TrainingData
from koine.training.data import Batch
from koine.world.cache import RenderedScenes, default_folder, rendered_scenes
from koine.world.questions import region_questions
from koine.world.scene import Split

TOKENIZER_SCENES = 8_000
_ROW = 128


@cache
def nano_tokenizer() -> Any:
    """The tokenizer that ships with the package; where it is missing (a training from scratch) it is trained anew."""
    if (NANO_WEIGHTS / FILE).is_file():
        return load_tokenizer(NANO_WEIGHTS)
    folder = default_folder() / "tokenizer"
    if not (folder / FILE).is_file():
        train_tokenizer(_tokenizer_lines(rendered_scenes("train", TOKENIZER_SCENES)), folder / FILE)
    return load_tokenizer(folder)


def _tokenizer_lines(scenes: RenderedScenes) -> Iterator[str]:
    """Turns of documents (`</s>` is a token, not text) and questions about regions, without the regions."""
    rng = np.random.default_rng(0)
    for text, (scene, view) in zip(documents(scenes, seed=0), scenes, strict=True):
        yield from text.split("</s>")
        for question in region_questions(scene, view, rng):
            yield question.text.replace("{region}", "")


class PackedText(TrainingData):
    """Documents one behind the other, cut into rows of equal length."""

    def __init__(self, texts: list[str], tokenizer: Any, *, length: int = _ROW) -> None:
        flat = np.concatenate([np.asarray(ids, np.int16) for ids in tokenizer(texts)["input_ids"]])
        rows = len(flat) // length
        self.rows = torch.from_numpy(flat[: rows * length].reshape(rows, length))

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        return {"input_ids": self.rows[indices].long()}


@dataclass
class LanguageModelRecipe(Recipe):
    """Next-token prediction on documents about scenes."""

    scenes: int = 40_000
    seed: int = 0

    name = "language-model"
    stages = (Stage("pretrain", steps=1200, batch_size=48, learning_rate=3e-3, weight_decay=0.05, betas=(0.9, 0.95)),)

    @cached_property
    def tokenizer(self) -> Any:
        return nano_tokenizer()

    def build_model(self) -> Any:
        from transformers import LlamaForCausalLM

        # heads this small are faster without the fused attention, whose backward pass is slow on CPUs
        return LlamaForCausalLM._from_config(nano_config(len(self.tokenizer)), attn_implementation="eager")

    def data(self, stage: Stage) -> TrainingData:
        return PackedText(list(documents(rendered_scenes("train", self.scenes), seed=self.seed)), self.tokenizer)

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        return {"loss": model(input_ids=batch["input_ids"], labels=batch["input_ids"]).loss}

    def figures(self, folder: Path) -> dict[str, object]:
        """Perplexity per token on documents about 1,000 test scenes."""
        model, _ = load_language_model(folder)
        with torch.inference_mode():
            return {"perplexity": self._perplexity(model, "test"), "documents": "1,000 about test scenes"}

    def evaluate(self, model: Any, stage: Stage) -> dict[str, float]:
        return {"perplexity": self._perplexity(model, "validation")}

    def _perplexity(self, model: Any, split: Split) -> float:
        texts = list(documents(rendered_scenes(split, 1000), seed=self.seed + 1))
        rows = PackedText(texts, self.tokenizer).rows[:256].long()
        losses = [model(input_ids=part, labels=part).loss for part in rows.split(64)]
        return float(torch.stack(losses).mean().exp())

    def save(self, model: Any, folder: Path) -> None:
        model.save_pretrained(folder)
        (folder / FILE).write_bytes(Path(self.tokenizer.vocab_file).read_bytes())
