"""How the nano BEiT-3 is trained: masked data modelling on the world, then all its uses together."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from koine.data.world_vision_language import pair_texts, scene_texts
from koine.foundations.clip import NANO_WEIGHTS as CLIP
from koine.foundations.clip import Clip
from koine.parts.contrastive import contrastive_loss
from koine.registry import weights_folder
from koine.systems.beit3.clip_start import start_from_clip
from koine.systems.beit3.config import Beit3Config
from koine.systems.beit3.losses import masked_loss
from koine.systems.beit3.model import Beit3Model
from koine.systems.beit3.nlvr_recipe import NlvrRecipe
from koine.systems.beit3.packing import Pictures, encode_pictures, encode_placeholders, encode_questions
from koine.systems.beit3.pretraining import MaskedImages, MaskedTexts, Masking, masked_data_losses
from koine.systems.beit3.processor import Beit3Processor, normalized
from koine.systems.beit3.published_recipe import FineTuningRecipe
from koine.systems.beit3.system import Beit3
from koine.systems.beit3.tokenizer import Beit3Tokenizer, train_pieces
from koine.systems.beit3.visual_tokenizer_recipe import Teacher, VisualTokenizerRecipe, tokenize
from koine.systems.beit3.vqkd import VisualTokenizer
from koine.systems.beit3.weights import load_tokenizer_folder
from koine.systems.beit3.world_figures import intervals
from koine.systems.beit3.world_tasks import MaskedWorld, WorldTasks
from koine.systems.beit3.world_texts import TASKS, TextKind, WorldData, common_answers, rendered
from koine.training import Recipe, Stage, TrainingData, run
from koine.training.data import Batch
from koine.world.cache import default_folder, rendered_scenes
from koine.world.questions import KINDS

NANO_WEIGHTS = weights_folder("beit3")
PIECES = 512
"""Sentencepiece pieces of the nano tokenizer."""
TOKENIZER_SCENES = 4_000
FITTED_PICTURES = 256
_OFTEN_ASKED = ("comparison", "relation")
"""Kinds of questions that are learnt last; the data set has twice as many of them as of others."""
_FUSED_QUESTIONS, _FUSED_STATEMENTS, _FUSED_SHARE, _FUSED_WEIGHT = 12, 6, 0.375, 0.25
"""Of a packed batch, so many pictures' questions and pairs' statements go the published way, too, at most this share of
them, and how much they count."""


@dataclass
class NanoRecipe(Recipe):
    """The nano BEiT-3, whose vision part starts from the nano CLIP.

    "pretrain" is masked data modelling on pictures, texts and pairs. "single", "few" and "tune" teach questions,
    captions, statements about two pictures and retrieval together, most texts in packed passes (`packing`): first about
    scenes of one thing, where nothing has to be found before it can be named, then of two or three, then of all kinds,
    of which "settle" sees more in smaller batches. "write" goes on with scenes that are new, and with more captions
    about each. The shipped model goes without one more: "contrast", the contrastive stage between pre-training and
    fine-tuning of the published `-itc` weights.

    The large batches are for a GPU, where the stages that have them took six minutes; two CPU cores, which see 22 pairs
    a second, would take four hours.

    Attributes:
        data_set: scenes and texts; of questions, what is learnt last is asked twice as often.
        masked_set, single_set, few_set, written_set: those of pre-training and of the stages of these names.
        options: fields of `Beit3Config` that differ from the nano's.
        plan: the stages, in order.
        tasks: what all stages but pre-training and "contrast" teach.
        masking: how much is hidden in pre-training.
        streams, masked_texts: of pre-training.
        codes: what the visual tokenizer's codes, the targets of masked patches, stand for.
        starts_from_clip: else all weights start from nothing.
        watched: validation scenes that a stage is measured on at its end.
        seed: of the weights that start from nothing.
    """

    data_set: WorldData = field(default_factory=lambda: WorldData(112_000, seed=2, questions=(*KINDS, *_OFTEN_ASKED)))
    masked_set: WorldData = field(default_factory=lambda: WorldData(16_000))
    single_set: WorldData = field(default_factory=lambda: WorldData(16_000, kind="single"))
    few_set: WorldData = field(default_factory=lambda: WorldData(48_000, most_things=3, seed=1))
    written_set: WorldData = field(
        default_factory=lambda: WorldData(112_000, captions=2, seed=3, questions=(*KINDS, *_OFTEN_ASKED), first=112_000)
    )
    options: dict[str, Any] = field(default_factory=dict)
    plan: tuple[str, ...] = ("pretrain", "single", "few", "tune", "settle", "write")
    tasks: tuple[str, ...] = TASKS
    masking: Masking = field(default_factory=Masking)
    streams: tuple[str, ...] = ("image", "text", "pair")
    masked_texts: TextKind = "documents"
    codes: Teacher = "features"
    starts_from_clip: bool = True
    watched: int = 200
    seed: int = 0

    name = "beit3-nano"

    def __post_init__(self) -> None:
        tune = Stage(
            "tune",
            steps=400,
            batch_size=384,
            learning_rate=1.2e-3,
            weight_decay=0.05,
            betas=(0.9, 0.98),
            prefetch=3,
            optimizer="muon",
            muon_scale=1.5,
        )
        masked = replace(tune, optimizer="adamw", muon_scale=1.0)
        known = {
            "pretrain": replace(masked, name="pretrain", steps=400, batch_size=192),
            "contrast": replace(masked, name="contrast", steps=200, batch_size=32),
            "single": replace(tune, name="single", steps=300, batch_size=128, schedule="constant"),
            "few": replace(tune, name="few", steps=400, batch_size=256, schedule="constant"),
            "tune": tune,
            "settle": replace(tune, name="settle", steps=3200, batch_size=32, learning_rate=6e-4),
            "write": replace(tune, name="write", steps=3200, batch_size=32, learning_rate=4e-4),
        }
        self.stages = tuple(known[name] for name in self.plan)

    @cached_property
    def tokenizer(self) -> Beit3Tokenizer:
        return nano_tokenizer()

    @cached_property
    def processor(self) -> Beit3Processor:
        return Beit3Processor(self.tokenizer, self._config(), answers=common_answers())

    def build_model(self) -> Beit3Model:
        torch.manual_seed(self.seed)
        model = Beit3Model(self._config())
        if self.starts_from_clip:
            images = torch.from_numpy(rendered_scenes("train", FITTED_PICTURES).images)
            start_from_clip(model, Clip.load().model, normalized(images))
        return model

    def data(self, stage: Stage) -> TrainingData:
        if stage.name == "pretrain":
            tokens = visual_tokenizer(VisualTokenizerRecipe(teacher=self.codes))
            shown = self.masked_set
            codes = tokenize(tokens, rendered(shown))
            streams, texts = self.streams, self.masked_texts
            return MaskedWorld(shown, self.tokenizer, codes, self.masking, self._config(), streams=streams, texts=texts)
        if stage.name == "contrast":
            return self._world_tasks(("retrieval",))
        special = {"single": self.single_set, "few": self.few_set, "write": self.written_set}
        tasks = self._world_tasks(self.tasks, special.get(stage.name))
        if stage.name == "write":
            tasks.asked, tasks.stated, tasks.told = 4, 2, 2
        return tasks

    def hidden(self, trained: dict[str, nn.Parameter]) -> list[nn.Parameter]:
        """The matrices of the encoder's layers."""
        return [parameter for name, parameter in trained.items() if ".encoder.layers." in name and parameter.ndim == 2]

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        with _plain_attention():
            return task_losses(model, batch) if "pixel_values" in batch else masked_losses(model, batch)

    def evaluate(self, model: Any, stage: Stage) -> dict[str, float]:
        """Quick figures on validation scenes."""
        if stage.name in ("pretrain", "contrast") or not self.watched:
            return {}
        beit3 = Beit3(model, self.processor)
        found = intervals(beit3, scenes=self.watched, split="validation", tasks=self.tasks)
        return {name: share.estimate for name, share in found.items()}

    def figures(self, folder: Path) -> dict[str, object]:
        """Every figure on 1,000 test scenes and 1,000 of held-out pairs, with its interval."""
        beit3 = Beit3.load(folder)
        found = intervals(beit3, scenes=1000)
        held_out = intervals(beit3, scenes=1000, split="heldout")
        found |= {f"held-out {name}": share for name, share in held_out.items()}
        return {name: [share.estimate, share.low, share.high, share.samples] for name, share in found.items()}

    def save(self, model: Any, folder: Path) -> None:
        model.save_pretrained(folder)
        self.processor.save_pretrained(folder)

    def _world_tasks(self, tasks: tuple[str, ...], data_set: WorldData | None = None) -> WorldTasks:
        return WorldTasks(data_set or self.data_set, self.tokenizer, self.processor.answers, tasks=tasks)

    def _config(self) -> Beit3Config:
        return nano_config(self.tokenizer.config, **self.options)


def nano_config(base: Beit3Config, **options: Any) -> Beit3Config:
    """The nano model: a layer deeper than the nano CLIP, attention shared by both modalities as in the paper.

    Its captions are searched for more widely than is published and without favour for long ones: each word more may be
    wrong.
    """
    settings = {
        "num_hidden_layers": 6,
        "intermediate_size": 320,
        "experts": "feed-forward",
        "num_answers": len(common_answers()),
        "mask_token_id": base.mask_token_id,
        "caption_beams": 8,
        "caption_length_penalty": 0.0,
    }
    return Beit3Config.nano(base.vocab_size, **{**settings, **options})


def masked_losses(model: Beit3Model, batch: Batch) -> dict[str, Tensor]:
    """Masked data modelling of the streams that a batch has."""

    def images(stream: str) -> MaskedImages:
        return MaskedImages(*(batch[f"{stream}.{name}"] for name in ("pixel_values", "patch_mask", "codes")))

    def texts(stream: str) -> MaskedTexts:
        ids = batch[f"{stream}.ids"]
        real = (ids != model.config.pad_token_id).long()
        return MaskedTexts(batch[f"{stream}.input_ids"], batch[f"{stream}.token_mask"], ids, real)

    return masked_data_losses(
        model,
        images=images("image") if "image.codes" in batch else None,
        texts=texts("text") if "text.ids" in batch else None,
        pairs=(images("pair"), texts("pair")) if "pair.codes" in batch else None,
    )


def task_losses(model: Beit3Model, batch: Batch) -> dict[str, Tensor]:
    """The loss of each task that a batch of `WorldTasks` has, and their sum.

    Questions and statements go in packed passes, and a few of them the published way, too.
    """
    hidden, pictures = encode_pictures(model.beit3, batch["pixel_values"])
    losses: dict[str, Tensor] = {}
    if "long_questions" in batch:
        losses["questions"] = _questions(model, batch, pictures)
    if "statements" in batch:
        losses["statements"] = _statements(model, batch, pictures)
    if "captions" in batch:
        losses["captions"] = _captions(model, batch["captions"], pictures)
    if "descriptions" in batch:
        head = model.require("retrieval")
        texts = batch["descriptions"]
        vectors = model.embed_texts(texts, _real(model, texts))
        scale = model.logit_scale.clamp(max=100)
        losses["retrieval"] = 0.5 * contrastive_loss(head.embed_images(hidden).float(), vectors.float(), scale)
    return losses | {"loss": torch.stack(list(losses.values())).sum()}


def _questions(model: Beit3Model, batch: Batch, pictures: Pictures) -> Tensor:
    """Each question of the world has one answer, so the published sum of binary losses is a plain choice here."""
    about = []
    for kind in ("short", "long"):
        ids = batch[f"{kind}_questions"]
        hidden = encode_questions(model.beit3, pictures, ids, _real(model, ids)).flatten(0, 1)
        logits = model.require("vqa")(hidden)
        about.append(F.cross_entropy(logits.float(), batch[f"{kind}_answers"].flatten()))
    chosen = slice(_fused(_FUSED_QUESTIONS, len(batch["pixel_values"])))
    ids = batch["long_questions"][chosen, 0]
    logits = model.answer(batch["pixel_values"][chosen], ids, _real(model, ids))
    fused = F.cross_entropy(logits.float(), batch["long_answers"][chosen, 0])
    return torch.stack(about).mean() + _FUSED_WEIGHT * fused


def _statements(model: Beit3Model, batch: Batch, pictures: Pictures) -> Tensor:
    statements, labels = batch["statements"], batch["labels"]
    both = torch.cat((statements, statements))
    hidden = encode_questions(model.beit3, pictures, both, _real(model, both)).flatten(0, 1)
    about = F.cross_entropy(model.require("nlvr2")(hidden, 1).float(), labels.flatten())
    chosen = slice(_fused(_FUSED_STATEMENTS, len(statements)))
    left, right = (pixels[chosen] for pixels in batch["pixel_values"].chunk(2))
    ids = statements[chosen, 0]
    logits = model.judge(left, right, ids, _real(model, ids))
    return about + _FUSED_WEIGHT * F.cross_entropy(logits.float(), labels[chosen, 0])


def _fused(most: int, there: int) -> int:
    return min(most, math.ceil(_FUSED_SHARE * there))


def _captions(model: Beit3Model, ids: Tensor, pictures: Pictures) -> Tensor:
    """Each of a picture's captions counts as much as one does where it is alone."""
    hidden = encode_placeholders(model.beit3, pictures, ids, model.config.mask_token_id)[:, :, 1:]
    wanted = ids[:, :, 1:]
    real = wanted != model.config.pad_token_id
    return ids.shape[1] * masked_loss(model.require("captioning")(hidden[real]).float(), wanted[real])


def _real(model: Beit3Model, ids: Tensor) -> Tensor:
    return (ids != model.config.pad_token_id).long()


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention as plain products: heads this small are twice as fast on CPUs without the fused kernel."""
    if torch.accelerator.is_available():
        yield
        return
    before = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)  # despite its name, CPUs heed it, too
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(before)


def nano_tokenizer() -> Beit3Tokenizer:
    """The tokenizer that ships with the package; where it is missing (a training from scratch) it is trained anew."""
    shipped = (NANO_WEIGHTS / "tokenizer.model").is_file()
    folder = NANO_WEIGHTS if shipped else default_folder() / f"beit3-tokenizer-{PIECES}"
    if not (folder / "tokenizer.model").is_file():
        train_pieces(_tokenizer_lines(), folder / "tokenizer.model", pieces=PIECES)
    return _tokenizer_in(folder, PIECES)


@lru_cache(maxsize=1)
def _tokenizer_in(folder: Path, pieces: int) -> Beit3Tokenizer:
    """One object for all recipes, since texts that it tokenised are kept by it."""
    return Beit3Tokenizer.from_folder(folder, Beit3Config.nano(pieces + 2, mask_token_id=pieces + 1))


def _tokenizer_lines() -> Iterator[str]:
    scenes = list(rendered_scenes("train", TOKENIZER_SCENES))
    for here in scene_texts(scenes, captions=1, descriptions=1, seed=0):
        yield from (*here.captions, *here.descriptions)
        for text, other in (*here.questions, *here.statements):
            yield text
            if isinstance(other, str):
                yield other
    for pair in pair_texts(scenes, rounds=1, seed=0):
        yield from (text for text, _ in pair)


def visual_tokenizer(recipe: VisualTokenizerRecipe | None = None) -> VisualTokenizer:
    """The nano visual tokenizer, trained if it isn't in the cache."""
    recipe = recipe or VisualTokenizerRecipe()
    # codes belong to their teacher and to how they were trained, and either may change
    origin = hashlib.sha256((CLIP / "model.safetensors").read_bytes() + repr(recipe.stages).encode())
    folder = default_folder() / recipe.name / f"{recipe.scenes}-{recipe.teacher}-{recipe.seed}-{origin.hexdigest()[:8]}"
    return load_tokenizer_folder(run(recipe, folder, quiet=True))


RECIPES: dict[str, Callable[[], Recipe]] = {
    "nano": NanoRecipe,
    "visual-tokenizer": VisualTokenizerRecipe,
    "nlvr": NlvrRecipe,
    "published": FineTuningRecipe,
}
