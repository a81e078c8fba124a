"""How Ferret is trained: the nano one on conversations about the world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from koine.data.world_probes import grounding_probes, referring_probes
from koine.data.world_regions import REGION_KINDS, Mixture, conversations
from koine.evaluation.world_regions import answers_by_task, grounding_accuracy
from koine.foundations.clip import Clip
from koine.foundations.clip import nano_config as clip_config
from koine.foundations.language_model import NANO_WEIGHTS as LANGUAGE_MODEL
from koine.foundations.language_model import load_language_model
from koine.foundations.language_model import nano_config as language_config
from koine.sentence import Example
from koine.systems.ferret.batches import PackedExamples, normalize
from koine.systems.ferret.config import FerretConfig
from koine.systems.ferret.model import FerretForConditionalGeneration
from koine.systems.ferret.processor import FerretProcessor
from koine.systems.ferret.prompt import TOKENIZER_FILE, load_tokenizer
from koine.systems.ferret.published_recipe import PublishedRecipe
from koine.systems.ferret.system import Ferret
from koine.training import Recipe, Stage, TrainingData
from koine.training.data import Batch
from koine.world.cache import rendered_scenes

NANO_MIXTURE = Mixture(
    refer=3.6, purpose=0.4, locate=3.6, describe=0.8, exists=0.6, absent=0.6, ask=0.4, colourless=0.3
)
"""Half of the turns write boxes: to read a place off the picture takes longer to learn than to name what is there."""


@dataclass(frozen=True)
class WorldData:
    """Which conversations a nano Ferret learns from; equal fields give equal data.

    Attributes:
        scenes, nested_scenes: of the training split, any kind and with one thing inside or under another.
        turns: in each conversation.
        mixture: kinds of turns.
        seed: of the conversations.
    """

    scenes: int = 40_000
    nested_scenes: int = 8_000
    turns: int = 2
    mixture: Mixture = field(default_factory=lambda: NANO_MIXTURE)
    seed: int = 0

    def examples(self) -> list[Example]:
        """One conversation a scene."""
        parts = [
            rendered_scenes("train", self.scenes),
            *([rendered_scenes("train", self.nested_scenes, kind="nested")] if self.nested_scenes else []),
        ]
        return [
            example
            for part in parts
            for example in conversations(iter(part), seed=self.seed, mixture=self.mixture, turns=self.turns)
        ]


class Conversations(TrainingData):
    """Packed conversations; with features of a frozen tower they carry these instead of pixels."""

    def __init__(self, packed: PackedExamples) -> None:
        self.packed = packed
        self.lengths = packed.token_offsets.diff()

    def __len__(self) -> int:
        return len(self.packed)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        return self.packed.batch(indices, generator).tensors()


@dataclass
class NanoRecipe(Recipe):
    """The nano Ferret, from the nano CLIP and the nano language model, in one stage with CLIP frozen (section 4).

    CLIP being frozen, its features are computed once. Patches carry their places (`image_positions`) from the start.

    Attributes:
        data_set: the conversations.
        options: fields of `FerretConfig` that differ from the nano's.
        seed: of the weights that start from nothing.
    """

    data_set: WorldData = field(default_factory=WorldData)
    options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0

    name = "ferret-nano"

    def __post_init__(self) -> None:
        trained = ("projector", "image_positions", "language_model", "region_sampler")
        self.stages = (
            Stage(
                "instruct",
                steps=3600,
                batch_size=48,
                learning_rate=1.5e-3,
                weight_decay=0.02,
                betas=(0.9, 0.98),
                trainable=trained[:3] if self.options.get("region_features") == "none" else trained,
            ),
        )

    @cached_property
    def processor(self) -> FerretProcessor:
        tokenizer = load_tokenizer(LANGUAGE_MODEL)
        return FerretProcessor(tokenizer, nano_config(len(tokenizer), **self.options))

    def build_model(self) -> FerretForConditionalGeneration:
        config = self.processor.config
        # heads this small are faster without the fused attention, whose backward pass is slow on CPUs
        config._attn_implementation = "eager"
        torch.manual_seed(self.seed)
        model = FerretForConditionalGeneration(config)
        ours = model.vision_tower.state_dict()  # CLIP has one layer more
        clip = Clip.load().model.vision_model.state_dict()
        model.vision_tower.load_state_dict({name: weight for name, weight in clip.items() if name in ours})
        language, _ = load_language_model()
        for name, weight in language.state_dict().items():
            target = model.language_model.get_parameter(name)
            with torch.no_grad():
                target[: len(weight)] = weight  # the row of the region token keeps its own start
        return model

    def data(self, stage: Stage) -> TrainingData:
        packed = self.processor.pack([self.processor.encode(example) for example in self.data_set.examples()])
        packed.vision_features = encode_all(self.build_model().eval(), packed.images)
        return Conversations(packed)

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        return {"loss": model(**batch).loss}

    def evaluate(self, model: Any, stage: Stage) -> dict[str, float]:
        """Quick figures on 200 validation scenes."""
        scenes = rendered_scenes("validation", 200)
        ferret = Ferret(model, self.processor)
        probes = [example for kind in REGION_KINDS for example in referring_probes(scenes, kind, seed=0)]
        found = answers_by_task(ferret.respond_batch([example.prompt for example in probes]), probes)
        located = list(grounding_probes(scenes, seed=0))
        replies = ferret.respond_batch([example.prompt for example in located])
        return {task: share.estimate for task, share in found.items()} | {
            "grounding": grounding_accuracy(replies, located).estimate
        }

    def figures(self, folder: Path) -> dict[str, object]:
        """Every share on 1,000 test scenes, 1,000 nested ones and 1,000 of held-out pairs, with its interval."""
        from koine.systems.ferret.claims import intervals

        found = intervals(Ferret.load(str(folder)), scenes=1000)
        return {name: [share.estimate, share.low, share.high, share.samples] for name, share in found.items()}

    def save(self, model: Any, folder: Path) -> None:
        model.save_pretrained(folder)
        (folder / TOKENIZER_FILE).write_bytes((LANGUAGE_MODEL / TOKENIZER_FILE).read_bytes())


def nano_config(tokens: int, **options: Any) -> FerretConfig:
    """The nano Ferret between the nano CLIP and the nano language model.

    The tower leaves out CLIP's last layer: it serves CLIP's own vector only, and Ferret reads the layer before it
    (paper, section 3.1).
    """
    vision: Any = clip_config().vision_config
    vision.num_hidden_layers -= 1
    settings = {"vision_config": vision, "feature_layer": -1, "text_config": language_config(tokens)}
    return FerretConfig.nano(tokens, **{**settings, **options})


@torch.inference_mode()
def encode_all(model: FerretForConditionalGeneration, images: Tensor) -> Tensor:
    """Features float32 [n, patches, width] of pictures uint8 [n, size, size, 3]."""
    return torch.cat([model.encode_images(normalize(part)) for part in images.split(256)]).clone()


RECIPES: dict[str, Callable[[], Recipe]] = {"nano": NanoRecipe, "published": PublishedRecipe}
