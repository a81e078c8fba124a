"""How MetaCLIP is trained: the nano one on the world's small web, the published sizes on pairs that were curated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from koine.foundations.clip import encode_texts, pixel_values
from koine.foundations.language_model_recipe import nano_tokenizer
from koine.foundations.tokenizer import FILE
from koine.parts.contrastive import contrastive_loss
from koine.systems.metaclip.config import NANO_TEXT_LENGTH, nano_config
from koine.systems.metaclip.model import LARGEST_SCALE, image_features, text_features
from koine.systems.metaclip.processor import MetaClipProcessor, cut
from koine.systems.metaclip.published_recipe import PublishedRecipe
from koine.systems.metaclip.single_things import attributes, concept_accuracy, recall_of_names, single_things
from koine.systems.metaclip.system import MetaClip
from koine.systems.metaclip.world_web import CuratedPairs, Part, Pool, Subset, WebOptions, curate
from koine.training import Recipe, Stage, TrainingData
from koine.training.data import Batch
from koine.world.scene import Split


class WebPairs(TrainingData):
    """Pictures with one of their texts; half of them mirrored, since texts about a single thing tell no sides."""

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
        ids = encode_texts(tokenizer, pool.texts.take(curated.pairs).to_pylist())
        self.input_ids = cut(ids, NANO_TEXT_LENGTH).to(torch.int16)
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
        mirrored = torch.rand(len(pairs), generator=generator).numpy() < 0.5
        images[mirrored] = images[mirrored, :, ::-1]
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
        web: the pool; its pictures take the network's size.
        subset: what of the pool is trained on.
        threshold: texts per entry, t.
        others: further pools beside it, such as one in another language.
        image_size, width, layers: of the network (`config.nano_config`).
        seed: of the draws of balancing.
    """

    web: WebOptions = field(default_factory=WebOptions)
    subset: Subset = "online"
    threshold: float = 40
    others: tuple[Part, ...] = ()
    image_size: int = 64
    width: int = 128
    layers: int = 4
    seed: int = 0

    name = "metaclip-nano"
    stages = (
        Stage(
            "pretrain",
            steps=1800,
            batch_size=96,
            learning_rate=1.5e-3,
            weight_decay=0.1,
            betas=(0.9, 0.98),
            warmup=0.05,
        ),
    )

    @cached_property
    def tokenizer(self) -> Any:
        return nano_tokenizer()

    def build_model(self) -> Any:
        from transformers import CLIPModel

        # heads this small are twice as fast without the fused attention, whose backward pass is slow on CPUs
        config = nano_config(image_size=self.image_size, width=self.width, layers=self.layers)
        return CLIPModel._from_config(config, attn_implementation="eager")

    def data(self, stage: Stage) -> TrainingData:
        parts = (Part(self.web, self.subset, self.threshold), *self.others)
        sized = [replace(part, web=replace(part.web, side=self.image_size)) for part in parts]
        pool, curated = curate(sized, seed=self.seed)
        return WebPairs(pool, curated, self.tokenizer, online=self.subset == "online")

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        images = image_features(model, batch["pixel_values"])
        texts = text_features(model, batch["input_ids"])
        scale = model.logit_scale.clamp(0, LARGEST_SCALE).exp()
        return {"loss": contrastive_loss(images, texts, scale), "scale": scale.detach()}

    def evaluate(self, model: Any, stage: Stage) -> dict[str, float]:
        return concept_accuracy(self._system(model), single_things("validation", 1000, side=self.image_size))

    def figures(self, folder: Path) -> dict[str, object]:
        """Zero-shot names and retrieval of single things, near and as small as a whole scene shows them."""
        system = MetaClip.load(folder)
        found: dict[str, object] = {}
        views: tuple[tuple[str, Split, float | None], ...] = (
            ("photographs", "test", 1.3),
            ("whole scenes", "test", None),
            ("held-out pairs", "heldout", 1.3),
        )
        for view, split, margin in views:
            shown = single_things(split, 1000, side=self.image_size, margin=margin)
            measured = {
                **concept_accuracy(system, shown),
                **attributes(system, shown),
                **recall_of_names(system, shown),
            }
            found |= {f"{figure}, {view}": value for figure, value in measured.items()}
        found["scenes"] = (
            "1,000 single-thing test scenes and 1,000 of held-out pairs of colour and shape; concepts are all 48 "
            "pairs, each counting alike"
        )
        return found

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


RECIPES: dict[str, Callable[[], Recipe]] = {"nano": NanoRecipe, "published": PublishedRecipe}
