"""BEiT-3's claims at nano size: experts, mixed data, masking, visual tokens, contrastive training, resolution.

The paper has hardly any ablation; the claims are those of it and of its predecessors (VLMo, VL-BEiT, BEiT v2), as
hypotheses. Arms of a claim have the same data, steps and seeds, and are judged on test scenes that none has seen.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from koine.data.world_vision_language import plain_caption
from koine.evaluation.claims import Claim, Finding, Measurement, Reading, study
from koine.evaluation.linear_probe import linear_probe
from koine.foundations.clip import Clip
from koine.parts.moving_codebook import Averaging, EMAVectorQuantizer
from koine.parts.quantize import code_counts, perplexity, usage
from koine.registry import shipped_weights
from koine.systems.beit3.config import VisualTokenizerConfig
from koine.systems.beit3.model import Beit3Model
from koine.systems.beit3.pretraining import Masking
from koine.systems.beit3.processor import normalized
from koine.systems.beit3.recipe import NanoRecipe, visual_tokenizer
from koine.systems.beit3.system import Beit3
from koine.systems.beit3.visual_tokenizer_recipe import (
    VisualTokenizerRecipe,
    in_unit_range,
    patch_features,
    tokenize,
)
from koine.systems.beit3.vqkd import VisualTokenizer
from koine.systems.beit3.weights import load_folder
from koine.systems.beit3.world_figures import intervals
from koine.systems.beit3.world_texts import WorldData
from koine.training import run
from koine.world.cache import RenderedScenes, rendered_scenes
from koine.world.facts import ATTRIBUTES, VALUES, value

SCENES = 4_000
"""Of one thing: where there are more, so small a budget teaches nothing but to guess. (Codebooks learn from any.)"""
MASKED_STEPS, CONTRAST_STEPS, TUNED_STEPS, RANKED_STEPS, PROBED_STEPS = 300, 100, 450, 100, 500
"""Of pre-training, of a contrastive stage instead of its last steps, of fine-tuning for fusion and for retrieval, of
pre-training from nothing."""
MASKED_BATCH, TUNED_BATCH = 24, 4
"""Examples, and pairs of scenes, in a step: small ones, since steps are what teaches to look. Words are hidden in
captions, which are learnt many times sooner than whole documents."""
HOW_ALL_LEARN: dict[str, Any] = {"optimizer": "muon", "muon_scale": 1.5, "learning_rate": 1.2e-3, "schedule": "cosine"}
"""Settings of the stages, fixed here: the nano recipe may learn otherwise, and what was measured stays comparable."""
FEATURE_STEPS, TOKENIZER_STEPS, TOKENIZER_BATCH = 100, 100, 64
"""Of a visual tokenizer without codes, then with them."""
LARGER, LARGER_SCENES, LARGER_STEPS, LARGER_BATCH = 96, 2_000, 30, 8
"""Pixels of a larger picture's sides, and how the model is fine-tuned to them."""
HOW_LARGER_LEARNS: dict[str, Any] = {"optimizer": "adamw", "learning_rate": 3e-4}
JUDGED, JUDGED_CODES = 400, 1_000
"""Test scenes."""

FUSION, RETRIEVAL = ("questions", "statements"), ("retrieval",)


@dataclass(frozen=True)
class Arm:
    """How one arm is trained.

    Attributes:
        recipe: fields of `NanoRecipe` that differ.
        masked, contrast, tuned: steps of the stages; a stage without steps is left out.
        measured: the tasks that are fine-tuned and judged, or one of "masked words" and "probe".
    """

    recipe: dict[str, Any] = field(default_factory=dict)
    masked: int = MASKED_STEPS
    contrast: int = 0
    tuned: int = TUNED_STEPS
    measured: tuple[str, ...] = FUSION


ARMS = {
    "experts": Arm(),
    "one network": Arm({"options": {"experts": "none"}}),
    "pairs only": Arm({"streams": ("pair",)}),
    "half of the words hidden": Arm({"streams": ("pair",)}, tuned=0, measured=("masked words",)),
    "a seventh of the words hidden": Arm(
        {"streams": ("pair",), "masking": Masking(pair_text=0.15)}, tuned=0, measured=("masked words",)
    ),
    "codes of features": Arm(
        {"streams": ("image",), "starts_from_clip": False}, masked=PROBED_STEPS, tuned=0, measured=("probe",)
    ),
    "codes of pixels": Arm(
        {"streams": ("image",), "starts_from_clip": False, "codes": "pixels"},
        masked=PROBED_STEPS,
        tuned=0,
        measured=("probe",),
    ),
    "contrastive stage, then retrieval": Arm(
        masked=MASKED_STEPS - CONTRAST_STEPS, contrast=CONTRAST_STEPS, tuned=RANKED_STEPS, measured=RETRIEVAL
    ),
    "masking only, then retrieval": Arm(tuned=RANKED_STEPS, measured=RETRIEVAL),
    "contrastive stage, then fusion": Arm(masked=MASKED_STEPS - CONTRAST_STEPS, contrast=CONTRAST_STEPS),
}
READINGS = {
    name: Reading("experts", {metric: metric for metric in FUSION})
    for name in ("pictures, texts and pairs", "masking only, then fusion")
}
"""What one training tells in other claims."""
CODEBOOKS = ("unit vectors", "vectors of any length")
POSITIONS = ("interpolated positions", "new positions")

_MASKED = f"{SCENES} scenes, {MASKED_STEPS} masked steps of {MASKED_BATCH}"
_BUDGET = f"{_MASKED}, {TUNED_STEPS} of {TUNED_BATCH} pairs of scenes."
_CONTRAST_BUDGET = (
    f"{_MASKED}, the last {CONTRAST_STEPS} of which the contrastive stage replaces with {CONTRAST_STEPS} of as many "
    "pictures with their descriptions"
)

CLAIMS = {
    "experts": Claim(
        statement="An expert for each modality beats one network for both, at equal compute per token",
        source="VLMo's and BEiT-3's reason for the Multiway transformer (no ablation in the paper)",
        published="none",
        ours="experts",
        baseline="one network",
        metrics=FUSION,
        budget=f"{_BUDGET} Both start from the nano CLIP, whose network the one network is.",
    ),
    "mixed-data": Claim(
        statement="Pictures and texts alone beside pairs beat pairs only, with one masked objective",
        source="VL-BEiT's ablation of tasks",
        published="not at hand",
        ours="pictures, texts and pairs",
        baseline="pairs only",
        metrics=FUSION,
        budget=f"{_BUDGET} Pairs only: as many examples a step, three times as many of them pairs.",
    ),
    "half-masked": Claim(
        statement="Hiding half of a pair's words makes the model look at the picture more than hiding 15 %",
        source="the masking ratio of pairs in the paper's section 2.2 (no ablation there)",
        published="none",
        ours="half of the words hidden",
        baseline="a seventh of the words hidden",
        metrics=("gained by the picture", "colour words with the picture"),
        budget=f"{_MASKED} pairs. Judged on one hidden colour word of a caption: right answers with the picture minus "
        "right answers without it.",
    ),
    "feature-codes": Claim(
        statement="Codes of a teacher's features are better targets for masked patches than codes of pixels",
        source="BEiT v2, section 4.2",
        published="not at hand",
        ours="codes of features",
        baseline="codes of pixels",
        metrics=("probe",),
        budget=f"From nothing, {PROBED_STEPS} masked steps of {MASKED_BATCH} pictures; judged by a linear probe for "
        "the attributes of single things on the mean of the patches.",
    ),
    "unit-codes": Claim(
        statement="Codes and vectors of unit length keep the codebook in use",
        source="BEiT v2's table of tokenizers",
        published="usage of 95 to 100 % with unit vectors (base tokenizers: 100, 97, 100 %)",
        ours=CODEBOOKS[0],
        baseline=CODEBOOKS[1],
        metrics=("usage", "perplexity"),
        budget=f"{FEATURE_STEPS} steps without codes and {TOKENIZER_STEPS} with them, of {TOKENIZER_BATCH} pictures of "
        "scenes of any kind; k-means puts the first codes among the features.",
    ),
    "contrastive-for-retrieval": Claim(
        statement="A contrastive stage between pre-training and fine-tuning lifts retrieval",
        source="the -itc weights of the release",
        published="COCO and Flickr30k retrieval weights are fine-tuned from -itc; no figure without",
        ours="contrastive stage, then retrieval",
        baseline="masking only, then retrieval",
        metrics=("text to image R@1", "image to text R@1"),
        budget=f"{_CONTRAST_BUDGET}; {RANKED_STEPS} of {TUNED_BATCH} pairs of scenes. Among at most {JUDGED} pictures.",
    ),
    "contrastive-not-for-fusion": Claim(
        statement="For tasks of fusion, pre-training without a contrastive stage is the better start",
        source="advice in the release's README",
        published="none",
        ours="masking only, then fusion",
        baseline="contrastive stage, then fusion",
        metrics=FUSION,
        budget=f"{_CONTRAST_BUDGET}; {TUNED_STEPS} of {TUNED_BATCH} pairs of scenes.",
    ),
    "resolution": Claim(
        statement="Larger pictures need no new pre-training: interpolated positions do",
        source="fine-tuning at 384 and 480 pixels from 224 in the release",
        published="all released fine-tuned weights but ImageNet's and NLVR2's are made so",
        ours=POSITIONS[0],
        baseline=POSITIONS[1],
        metrics=FUSION,
        budget=f"The shipped nano weights at {LARGER} instead of 64 pixels, {LARGER_STEPS} steps of {LARGER_BATCH} "
        "pairs.",
    ),
}


def run_claims(names: Sequence[str], seeds: int, out: Path) -> list[Finding]:
    """Measure the arms that the named claims need (or read what an earlier run measured) and write the findings."""
    settings = {
        "scenes": SCENES,
        "steps": (FEATURE_STEPS, TOKENIZER_STEPS, LARGER_STEPS),
        "batches": (MASKED_BATCH, TUNED_BATCH, TOKENIZER_BATCH, LARGER_BATCH),
        "learning": (HOW_ALL_LEARN, HOW_LARGER_LEARNS),
        "judged": JUDGED,
        "arms": {name: asdict(arm) for name, arm in ARMS.items()},
    }
    setting = (
        f"{seeds} seeds; the budget stands with each claim. Scenes have one thing unless it says otherwise; judged on "
        f"{JUDGED} test scenes (codebooks on {JUDGED_CODES}) that no training saw."
    )
    _train_visual_tokenizers(names)
    return study(
        "beit3", CLAIMS, names, seeds, out, measure=_measure, settings=settings, setting=setting, readings=READINGS
    )


def _train_visual_tokenizers(names: Sequence[str]) -> None:
    """Those that are in no cache yet, before arms that run side by side ask for them at once."""
    arms = {arm for name in names for arm in (CLAIMS[name].ours, CLAIMS[name].baseline)}
    used = [ARMS[READINGS[arm].of if arm in READINGS else arm] for arm in arms - {*CODEBOOKS, *POSITIONS}]
    for teacher in {arm.recipe.get("codes", "features") for arm in used}:
        visual_tokenizer(VisualTokenizerRecipe(teacher=teacher))


def _measure(arm: str, seed: int) -> Measurement:
    if arm in CODEBOOKS:
        return codebook_use(arm == CODEBOOKS[0], seed)
    if arm in POSITIONS:
        return at_larger_size(arm == POSITIONS[0], seed)
    settings = ARMS[arm]
    beit3 = train_arm(settings, seed)
    if settings.measured == ("masked words",):
        return masked_colours(beit3)
    if settings.measured == ("probe",):
        return {"probe": probe(beit3.model)}
    return measure(beit3, settings.measured)


def train_arm(arm: Arm, seed: int) -> Beit3:
    """A nano BEiT-3 of that arm."""
    steps = {"pretrain": arm.masked, "contrast": arm.contrast, "tune": arm.tuned}
    tasks = arm.measured if arm.tuned else ()
    data = WorldData(scenes=SCENES, captions=1, descriptions=1, rounds=1, seed=seed, kind="single")
    plan = tuple(name for name, count in steps.items() if count)
    fields: dict[str, Any] = {
        "masked_set": data,
        "masked_texts": "captions",
        "plan": plan,
        "tasks": tasks,
        "seed": seed,
    }
    recipe = NanoRecipe(data, watched=0, **fields, **arm.recipe)
    overrides = {f"{name}.steps": steps[name] for name in plan} | {f"{name}.seed": seed for name in plan}
    sizes = {"pretrain": MASKED_BATCH, "contrast": MASKED_BATCH // 2, "tune": TUNED_BATCH}
    overrides |= {f"{name}.batch_size": sizes[name] for name in plan} | HOW_ALL_LEARN
    with tempfile.TemporaryDirectory() as folder:
        return Beit3.load(run(recipe, folder, overrides=overrides, quiet=True))


def measure(beit3: Beit3, tasks: Collection[str], *, size: int = 64) -> dict[str, float]:
    """Shares of right answers, 0..1."""
    found = intervals(beit3, scenes=JUDGED, kind="single", tasks=tasks, size=size)
    return {name: share.estimate for name, share in found.items()}


@torch.inference_mode()
def masked_colours(beit3: Beit3) -> dict[str, float]:
    """How often the model knows the one hidden colour word of a caption, with the picture and without it."""
    shown, rng = rendered_scenes("test", JUDGED * 2, kind="single"), np.random.default_rng(61)
    tokenizer, config = beit3.processor.tokenizer, beit3.model.config
    assert tokenizer is not None
    colours = {ids[0]: word for word in VALUES["colour"] for ids in tokenizer.segments([word]) if len(ids) == 1}
    ids = tokenizer.pad(tokenizer.segments([plain_caption(scene, view, rng) for scene, view in shown]))
    is_colour = torch.isin(ids, torch.tensor(list(colours)))
    has = is_colour.any(dim=1)
    ids, is_colour = ids[has], is_colour[has]
    # the last one: what stands before it may tell which are left
    places = is_colour.shape[1] - 1 - is_colour.flip(1).long().argmax(dim=1)
    hidden = torch.zeros_like(is_colour)
    hidden[torch.arange(len(ids)), places] = True
    masked, truth = ids.masked_fill(hidden, config.mask_token_id), ids[hidden]
    pixels = normalized(torch.from_numpy(shown.images)[has])
    real = ids != config.pad_token_id

    def share_right(pixel_values: Tensor | None) -> float:
        logits = beit3.model.predict_masked(pixel_values, masked, attention_mask=real, token_mask=hidden).text_logits
        assert logits is not None
        return float((logits.argmax(dim=1) == truth).float().mean())

    seen, guessed = share_right(pixels), share_right(None)
    return {
        "gained by the picture": seen - guessed,
        "colour words with the picture": seen,
        "colour words without it": guessed,
    }


def probe(model: Beit3Model) -> float:
    """Accuracy of linear readouts (ridge regression) of the attributes of single things, mean over attributes."""
    parts = [rendered_scenes("train", 1000, kind="single"), rendered_scenes("test", 500, kind="single")]
    (train, train_labels), (test, test_labels) = (_features_and_labels(model, part) for part in parts)
    shares = [
        linear_probe(train, train_labels[:, place], test, test_labels[:, place]) for place in range(len(ATTRIBUTES))
    ]
    return sum(shares) / len(shares)


@torch.inference_mode()
def _features_and_labels(model: Beit3Model, scenes: RenderedScenes) -> tuple[Tensor, Tensor]:
    """The mean patch of each picture, [scenes, width], and its thing's attributes, [scenes, 4] long."""
    pixels = normalized(torch.from_numpy(scenes.images))
    hidden = torch.cat([model.eval()(part).last_hidden_state[:, 1:].mean(dim=1) for part in pixels.split(256)])
    things = [scenes.scene(place).things[0] for place in range(len(scenes))]
    labels = [[VALUES[name].index(value(thing, name)) for name in ATTRIBUTES] for thing in things]
    return hidden.clone(), torch.tensor(labels)


def codebook_use(unit: bool, seed: int) -> dict[str, float]:
    """Shares of the codes that a tokenizer uses on test scenes, and how many it uses as if evenly."""
    torch.manual_seed(seed)
    config = VisualTokenizerConfig.nano()
    tokenizer = VisualTokenizer(config)
    if not unit:
        averaging = Averaging(decay=config.decay, debiased=False)
        tokenizer.quantizer = EMAVectorQuantizer(  # type: ignore[assignment]
            config.num_codes, config.code_width, commitment=1.0, averaging=averaging, warm_start=True
        )
    teacher: Any = Clip.load().model
    images = torch.from_numpy(rendered_scenes("train", SCENES).images)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(tokenizer.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=1e-4)
    tokenizer.train()
    for step in range(FEATURE_STEPS + TOKENIZER_STEPS):
        batch = in_unit_range(images[torch.randint(len(images), (TOKENIZER_BATCH,), generator=generator)])
        targets = patch_features(teacher, batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            if step < FEATURE_STEPS:
                vectors = tokenizer.encode(batch)
                predicted = tokenizer.decode(F.normalize(vectors, dim=-1) if unit else vectors).float()
                loss = 1 - F.cosine_similarity(predicted, targets, dim=-1).mean()
            else:
                loss = tokenizer(batch, targets).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    counts = code_counts(tokenize(tokenizer.eval(), rendered_scenes("test", JUDGED_CODES)).long(), config.num_codes)
    return {"usage": float(usage(counts)), "perplexity": float(perplexity(counts))}


def at_larger_size(interpolated: bool, seed: int) -> dict[str, float]:
    """The shipped model, fine-tuned at a larger size a little."""
    folder = shipped_weights("beit3")
    data = WorldData(LARGER_SCENES, captions=0, descriptions=0, rounds=1, size=LARGER, seed=seed, kind="single")
    recipe = LargerRecipe(data_set=data, plan=("tune",), tasks=FUSION, watched=0, seed=seed)
    recipe.folder, recipe.interpolated = folder, interpolated
    recipe.stages = tuple(
        replace(
            stage,
            steps=LARGER_STEPS,
            batch_size=LARGER_BATCH,
            seed=seed,
            **HOW_LARGER_LEARNS,
        )
        for stage in recipe.stages
    )
    with tempfile.TemporaryDirectory() as out:
        return measure(Beit3.load(run(recipe, out, quiet=True)), FUSION, size=LARGER)


class LargerRecipe(NanoRecipe):
    """Goes on from a finished model with larger pictures.

    Attributes:
        folder: of the finished model.
        interpolated: whether its image positions are interpolated, or drawn anew.
    """

    folder: Path
    interpolated: bool

    def build_model(self) -> Beit3Model:
        model = load_folder(self.folder)
        model.resize_images(LARGER)
        if not self.interpolated:
            torch.manual_seed(self.seed)
            table: Any = model.beit3.encoder.embed_positions["A"]
            with torch.no_grad():
                table.weight.normal_(std=float(table.weight.std()))
        self.processor.config = model.config
        return model
