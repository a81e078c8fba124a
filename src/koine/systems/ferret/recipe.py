"""How Ferret is trained: the nano one on conversations about the world."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
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
from koine.systems.ferret.projector_start import start_projector
from koine.systems.ferret.prompt import TOKENIZER_FILE, load_tokenizer
from koine.systems.ferret.published_recipe import PublishedRecipe
from koine.systems.ferret.system import Ferret
from koine.training import Recipe, Stage, TrainingData
from koine.training.data import Batch
from koine.world.cache import rendered_scenes
from koine.world.scene import MAX_THINGS, Kind

ALIGNMENT_MIXTURE = Mixture(refer=0, purpose=0, locate=3.0, describe=1.0, exists=0.8, absent=0.4, ask=1.6, colourless=0)
"""Of the first two stages: to read a place off the picture comes before the questions about regions."""
MIXTURE = Mixture(refer=3.6, purpose=0.4, locate=3.4, describe=0.8, exists=0.6, absent=0.6, ask=0.6, colourless=0.25)
GROUNDING_MIXTURE = Mixture(
    refer=3.2,
    purpose=0.3,
    locate=4.0,
    describe=0.4,
    exists=1.0,
    absent=0.8,
    ask=0.5,
    colourless=0.2,
    located=(0.4, 0.2, 0.2, 0.2),
    one_word=0.6,
    colour=3.5,
)
"""Of the fourth stage: three boxes a picture, many of things that a single word names. A model that has seen little
else than expressions with a shape finds things by their shapes only (among three or more in validation scenes 64 % of
them, but 40 % by their colours, where chance is 26 %)."""
POLISHING_MIXTURE = replace(
    GROUNDING_MIXTURE,
    refer=3.6,
    describe=0.8,
    absent=0.9,
    one_word=0.2,
    involved=0.4,
    points=0.4,
    colour=3.0,
    named_alike=True,
)
"""Of the fifth stage, before which things called by one word were found (97 % of them) and single things always, but in
pictures of five 62 %, by relations 55 %, by pairs of words that name no shape half."""
SHARPENING_MIXTURE = replace(POLISHING_MIXTURE, refer=6.0, points=0.6)
"""Of the sixth stage, which trains the tower, too. What is at a point near an edge can't be read off features of
patches of 8 pixels that were learnt for whole pictures: on validation scenes the shape at a point was named in 97 %
where the point's window lies on one thing alone, in half where a fifth of it is another thing."""
POINTING_MIXTURE = replace(SHARPENING_MIXTURE, refer=12.0, points=0.8, edges=0.6)
"""Of the seventh stage, which trains the tower, too: mostly points, mostly near an edge. After the sixth a third of the
faults were still where more than a fifth of the point's window is another thing, which is one window in twenty."""
SETTLING_MIXTURE = replace(POINTING_MIXTURE, colour=2.0)
"""Of the last two stages, which go on with six turns a picture, so that one pass of the tower serves more points, and
ask less for colours, which are told best."""
TOWER = ("vision_tower.embeddings", "vision_tower.pre_layrnorm", "vision_tower.encoder")

STARTING_SCENES = 2000
"""Scenes from which the projector gets its start."""


@dataclass(frozen=True)
class WorldData:
    """Which conversations a nano Ferret learns from; equal fields give equal data.

    Attributes:
        scenes, nested_scenes, single_scenes: of the training split: any kind, with one thing inside or under another,
            with one thing only.
        most_things: scenes with more are left out.
        least_things: scenes of any kind with fewer are left out.
        turns: in each conversation.
        mixture: kinds of turns.
        seed: of the conversations.
    """

    scenes: int = 40_000
    nested_scenes: int = 8_000
    single_scenes: int = 8_000
    most_things: int = MAX_THINGS
    turns: int = 2
    mixture: Mixture = MIXTURE
    seed: int = 0
    least_things: int = 1

    def examples(self) -> Iterator[Example]:
        """One conversation a scene."""
        kinds: dict[Kind, int] = {"any": self.scenes, "nested": self.nested_scenes, "single": self.single_scenes}
        for kind, count in kinds.items():
            if count:
                least = self.least_things if kind == "any" else 1
                scenes = rendered_scenes("train", count, kind=kind)
                few = (seen for seen in scenes if least <= len(seen[0].things) <= self.most_things)
                yield from conversations(few, seed=self.seed, mixture=self.mixture, turns=self.turns)


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
    """The nano Ferret, from the nano CLIP and the nano language model.

    In the first five stages CLIP is frozen, as in the paper (section 4), and its features are computed once. Patches
    carry their places (`image_positions`) from the start, and begin near the words for what they show
    (`projector_start`).
    The projector and the language model learn to read pictures of single things, as LLaVA's do from captions, which the
    paper starts from; then to choose one of two or three; then everything is asked, later with many boxes a picture,
    then about what is still hard. In the last four stages, which come to be about points near an edge, CLIP learns
    along, which the paper's doesn't: patches are coarse here.

    Attributes:
        alignment_set, choosing_set: the conversations of the first two stages, without regions in the questions.
        data_set, grounding_set, polishing_set, sharpening_set, pointing_set, settling_set, closing_set: those of the
            others.
        options: fields of `FerretConfig` that differ from the nano's.
        plan: the stages, in order.
        seed: of the weights that start from nothing.
    """

    alignment_set: WorldData = field(
        default_factory=lambda: WorldData(scenes=0, nested_scenes=0, single_scenes=16_000, mixture=ALIGNMENT_MIXTURE)
    )
    choosing_set: WorldData = field(
        default_factory=lambda: WorldData(single_scenes=2_000, most_things=3, mixture=ALIGNMENT_MIXTURE, seed=1)
    )
    data_set: WorldData = field(default_factory=WorldData)
    grounding_set: WorldData = field(
        default_factory=lambda: WorldData(single_scenes=2_000, turns=4, mixture=GROUNDING_MIXTURE, seed=2)
    )
    polishing_set: WorldData = field(
        default_factory=lambda: WorldData(
            scenes=60_000, single_scenes=3_000, least_things=3, turns=4, mixture=POLISHING_MIXTURE, seed=3
        )
    )
    sharpening_set: WorldData = field(
        default_factory=lambda: WorldData(
            scenes=60_000, single_scenes=3_000, least_things=2, turns=4, mixture=SHARPENING_MIXTURE, seed=4
        )
    )
    pointing_set: WorldData = field(
        default_factory=lambda: WorldData(
            scenes=60_000, single_scenes=3_000, least_things=2, turns=4, mixture=POINTING_MIXTURE, seed=5
        )
    )
    settling_set: WorldData = field(
        default_factory=lambda: WorldData(
            scenes=60_000, single_scenes=3_000, least_things=2, turns=6, mixture=SETTLING_MIXTURE, seed=6
        )
    )
    closing_set: WorldData = field(
        default_factory=lambda: WorldData(
            scenes=60_000, single_scenes=3_000, least_things=2, turns=6, mixture=SETTLING_MIXTURE, seed=7
        )
    )
    options: dict[str, Any] = field(default_factory=dict)
    plan: tuple[str, ...] = ("align", "choose", "instruct", "ground", "polish", "sharpen", "point", "settle", "close")
    seed: int = 0

    name = "ferret-nano"

    def __post_init__(self) -> None:
        trained = ("projector", "image_positions", "language_model")
        sampler = () if self.options.get("region_features") == "none" else ("region_sampler",)
        align = Stage("align", steps=600, batch_size=48, learning_rate=1.5e-3, weight_decay=0.02, betas=(0.9, 0.98))
        instruct = replace(align, name="instruct", steps=2600, learning_rate=1.2e-3, trainable=(*trained, *sampler))
        sharpen = replace(
            instruct,
            name="sharpen",
            steps=2000,
            batch_size=64,
            learning_rate=6e-4,
            trainable=(*trained, *sampler, *TOWER),
        )
        known = (
            replace(align, trainable=trained),
            replace(align, name="choose", steps=1200, trainable=trained),
            instruct,
            replace(instruct, name="ground", steps=4000, batch_size=64),
            replace(instruct, name="polish", steps=3000, batch_size=64, learning_rate=8e-4),
            sharpen,
            replace(sharpen, name="point", steps=3000, learning_rate=5e-4),
            replace(sharpen, name="settle", steps=2600, learning_rate=5e-4),
            replace(sharpen, name="close", learning_rate=5e-4),
        )
        self.stages = tuple(stage for stage in known if stage.name in self.plan)

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
        start_projector(model, rendered_scenes("train", STARTING_SCENES), self.processor.tokenizer)
        return model

    def data(self, stage: Stage) -> TrainingData:
        examples = self.examples(self.data_set_of(stage))
        packed = self.processor.pack([self.processor.encode(example) for example in examples])
        if not set(TOWER) & set(stage.trainable):
            packed.vision_features = encode_all(self.build_model().eval(), packed.images)
        return Conversations(packed)

    def data_set_of(self, stage: Stage) -> WorldData:
        """What a stage learns from."""
        return {
            "align": self.alignment_set,
            "choose": self.choosing_set,
            "instruct": self.data_set,
            "ground": self.grounding_set,
            "polish": self.polishing_set,
            "sharpen": self.sharpening_set,
            "point": self.pointing_set,
            "settle": self.settling_set,
            "close": self.closing_set,
        }[stage.name]

    def examples(self, data_set: WorldData) -> Iterable[Example]:
        """The conversations of a stage."""
        return data_set.examples()

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
