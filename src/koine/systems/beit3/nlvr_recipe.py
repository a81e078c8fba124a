"""The nano BEiT-3 on NLVR: statements that people wrote about drawings, true or false.

A thousand statements in the words of many writers are few, and the nano model has seen none of these words: this
recipe shows how real data goes in, with an honest division, not what BEiT-3 can do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from koine.data.annotated import AnnotatedExample
from koine.data.nlvr import examples
from koine.errors import InputError
from koine.evaluation.answers import Answer
from koine.evaluation.nlvr2 import score
from koine.registry import shipped_weights
from koine.systems.beit3.config import Beit3Config
from koine.systems.beit3.model import Beit3Model
from koine.systems.beit3.processor import Beit3Processor, normalized, squeezed
from koine.systems.beit3.system import Beit3
from koine.systems.beit3.tokenizer import Beit3Tokenizer
from koine.systems.beit3.weights import load_config, load_folder
from koine.training import Recipe, Stage, TrainingData
from koine.training.data import Batch

ANSWERS = ("false", "true")
ORDERS = 6
_WATCHED_GROUPS = 7
"""One group of so many is kept out of training while it is watched."""


class Statements(TrainingData):
    """Statements with the drawing in a random one of its six orders."""

    def __init__(self, statements: Sequence[AnnotatedExample], processor: Beit3Processor) -> None:
        """`statements`: the six orders of each in a row."""
        squares = [squeezed(example.prompt.images[0], processor.config.image_size) for example in statements]
        self.images = torch.from_numpy(np.stack(squares)).unflatten(0, (-1, ORDERS))
        asked = statements[::ORDERS]
        texts = processor.texts([example.prompt.text for example in asked])
        self.input_ids, self.mask = texts.input_ids, texts.attention_mask
        self.labels = torch.tensor([int(example.annotation.label) for example in asked])

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        order = torch.randint(ORDERS, (len(indices),), generator=generator)
        return {
            "pixel_values": normalized(self.images[indices, order]),
            "input_ids": self.input_ids[indices],
            "attention_mask": self.mask[indices],
            "labels": self.labels[indices],
        }


@dataclass
class NlvrRecipe(Recipe):
    """Fine-tuning of the nano BEiT-3 on `nlvr_dev.parquet`, as questions with the answers true and false.

    A drawing of 400 x 100 pixels is squeezed to a square of twice the nano's sides, so that its positions are
    interpolated. Statements about the same drawings stay together: `watch` keeps one in seven of these groups out of
    training, to look at; the figures of a finished model come from `nlvr_hidden.parquet`.

    Attributes:
        data_files: the folder that holds the two files.
        base: folder of the model to start from, by default the shipped nano weights.
        image_size: pixels of a square.
        watch: evaluate on groups kept out, instead of training on all.
        seed: of the head.
    """

    data_files: tuple[str, ...] = ()
    base: str | None = None
    image_size: int = 128
    watch: bool = False
    seed: int = 0

    name = "beit3-nlvr"
    stages = (
        Stage("tune", steps=250, batch_size=32, learning_rate=4e-4, weight_decay=0.1, betas=(0.9, 0.98), warmup=0.1),
    )

    @cached_property
    def folder(self) -> Path:
        """Where the files are.

        Raises:
            InputError: nobody said where.
        """
        if len(self.data_files) != 1:
            raise InputError("the recipe nlvr needs the folder of nlvr_dev.parquet and nlvr_hidden.parquet: --data DIR")
        return Path(self.data_files[0])

    @cached_property
    def processor(self) -> Beit3Processor:
        folder = self._base()
        config = load_config(folder)
        tokenizer = Beit3Tokenizer.from_folder(folder, config)
        return Beit3Processor(tokenizer, self._config(config), answers=ANSWERS)

    def build_model(self) -> Beit3Model:
        torch.manual_seed(self.seed)
        model = Beit3Model(self.processor.config)
        model.start_from(load_folder(self._base()))
        return model

    def data(self, stage: Stage) -> TrainingData:
        return Statements([one for one in self._development() if not self._watched(one)], self.processor)

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        logits = model.answer(batch["pixel_values"], batch["input_ids"], batch["attention_mask"]).float()
        right = logits.argmax(dim=1) == batch["labels"]
        return {"loss": F.cross_entropy(logits, batch["labels"]), "accuracy": right.float().mean()}

    def evaluate(self, model: Any, stage: Stage) -> dict[str, float]:
        watched = [one for one in self._development()[::ORDERS] if self._watched(one)]
        return judged(Beit3(model, self.processor), watched) if watched else {}

    def figures(self, folder: Path) -> dict[str, object]:
        """Accuracy and consistency on the hidden statements, and what others had with twelve times as many."""
        found = judged(Beit3.load(folder), list(examples(self.folder, split="hidden")))
        return {**found, "published accuracy, from pixels, with 12.4k statements": PUBLISHED}

    def save(self, model: Any, folder: Path) -> None:
        model.save_pretrained(folder)
        self.processor.save_pretrained(folder)

    def _base(self) -> Path:
        return Path(self.base) if self.base is not None else shipped_weights("beit3")

    def _config(self, base: Beit3Config) -> Beit3Config:
        changed = {"heads": ["vqa"], "num_answers": len(ANSWERS), "image_size": self.image_size}
        return Beit3Config.from_dict({**base.to_dict(), **changed})

    def _development(self) -> list[AnnotatedExample]:
        return list(examples(self.folder, split="dev", orders=ORDERS))

    def _watched(self, example: AnnotatedExample) -> bool:
        return self.watch and int(example.annotation.group) % _WATCHED_GROUPS == 0


PUBLISHED = {
    "majority": 56.2,
    "text only": 57.1,
    "image only": 55.4,
    "CNN+RNN": 56.6,
    "neural module network": 66.1,
}
"""Test-P accuracy in per cent as given in the NLVR paper and its leaderboard (from memory, not checked again)."""


def judged(beit3: Beit3, statements: Sequence[AnnotatedExample]) -> dict[str, float]:
    """Accuracy and consistency with their intervals, see `koine.evaluation.nlvr2`."""
    said = beit3.answers([(one.prompt.images[0], one.prompt.text) for one in statements])
    return score([Answer.of_text(text) for text in said], [one.annotation for one in statements])
