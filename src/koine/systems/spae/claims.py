"""SPAE's claims at nano size: words against codes, averages against residuals, meaning against none, layer by layer.

Every arm is the nano recipe with fewer steps: the same scenes, words, CLIP and budget, and one thing changed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from koine.data.world_words import content_words, true_words
from koine.evaluation.claims import Claim, Finding, Measurement, Reading, study
from koine.foundations.clip import Clip
from koine.foundations.language_model import IN_CONTEXT_WEIGHTS, load_language_model
from koine.sentence import Image
from koine.systems.spae.episodes import Protocol, sample_episodes
from koine.systems.spae.guidance import similarities, word_vectors
from koine.systems.spae.in_context import InContextModel
from koine.systems.spae.model import SpaeModel
from koine.systems.spae.recipe import OBJECTIVE, TEMPLATES, NanoRecipe
from koine.systems.spae.system import Spae, Spelling, processor_of, read_tokenizer
from koine.systems.spae.weights import load_folder
from koine.training import run
from koine.world.cache import RenderedScenes, rendered_scenes
from koine.world.scene import Split


@dataclass(frozen=True)
class Arm:
    """How one arm differs from the nano recipe.

    Attributes:
        options: fields of `SpaeConfig`.
        objective: weights of the loss's terms.
        words_judged: whether a claim asks if its words are true, and what a language model makes of them.
    """

    options: dict[str, Any] = field(default_factory=dict)
    objective: dict[str, Any] = field(default_factory=dict)
    words_judged: bool = False


_ONE_LAYER: dict[str, Any] = {"pyramid": (8,), "thresholds": ()}
_UNGUIDED: dict[str, Any] = {"alpha": 0.0}
ARMS = {
    "guided": Arm(words_judged=True),
    "unguided": Arm(objective=_UNGUIDED, words_judged=True),
    "residual": Arm({"rule": "residual"}, _UNGUIDED),
    "one frozen layer": Arm(_ONE_LAYER, _UNGUIDED),
    "one learnt layer": Arm({**_ONE_LAYER, "codebook": "learnt"}, _UNGUIDED),
}
READINGS = {
    f"guided: {layers}": Reading("guided", {"psnr": f"psnr, {layers}"}) for layers in ("all layers", "upper half")
}
"""One model, painted from all of its words or from those of its upper layers."""
SCENES, SINGLE_SCENES, STEPS, BATCH = 3_000, 2_000, (150, 350), 32
FILTERS = 32
"""Channels of the arms' first level: two thirds of the shipped model's."""
JUDGED = 200
EPISODES = 200
WAYS = ("shape", "colour")
"""Attributes whose values are the classes of episodes."""
FEW_SHOT = {"2-way 1-shot": Protocol(), "2-way 5-shot": Protocol(shots=5), "5-way 1-shot": Protocol(ways=5)}
_BUDGET = f"{SCENES + SINGLE_SCENES} pictures, {sum(STEPS)} steps of {BATCH}."

CLAIMS = {
    "average-against-residual": Claim(
        statement="Streaming average quantisation beats residual quantisation with a frozen codebook at equal tokens",
        source="section 3.2 and the ablation of the quantiser",
        published="no number is known with certainty",
        ours="unguided",
        baseline="residual",
        metrics=("psnr, all layers",),
        budget=f"{_BUDGET} Both without guidance, 213 words a picture.",
    ),
    "layers-add-appearance": Claim(
        statement="More layers of words give a better picture",
        source="figures of reconstruction by layers, and the table of 5 and 6 layers",
        published="FID 9.49 with 5 layers, 4.41 with 6 (from memory, uncertain)",
        ours="guided: all layers",
        baseline="guided: upper half",
        metrics=("psnr",),
        budget=f"{_BUDGET} One model; 213 words against 21.",
    ),
    "guidance-gives-meaning": Claim(
        statement="Semantic guidance makes the upper words true of the picture",
        source="section 3.3 and the ablation without semantic guidance",
        published="no number is known with certainty",
        ours="guided",
        baseline="unguided",
        metrics=("true words, 5 tokens", "true words, 21 tokens", "relative similarity, 5 tokens"),
        budget=f"{_BUDGET} A word is true if it names something in the scene, its table or its light.",
    ),
    "guidance-helps-few-shot": Claim(
        statement="Semantic guidance helps a frozen language model to name pictures from examples",
        source="table 1, against codebooks without guidance",
        published="2-way average 79.03 (SPAE, 21 tokens) against 53.97 (LQAE, unguided)",
        ours="guided",
        baseline="unguided",
        metrics=("2-way 1-shot", "2-way 5-shot", "5-way 1-shot"),
        budget=f"{_BUDGET} {EPISODES} episodes for each of shape and colour, 5 words a picture, with induction.",
    ),
    "guidance-costs-pixels": Claim(
        statement="Without semantic guidance pixels are better",
        source="the ablation without semantic guidance",
        published="no number is known with certainty",
        ours="unguided",
        baseline="guided",
        metrics=("psnr, all layers",),
        budget=_BUDGET,
    ),
    "words-cost-pixels": Claim(
        statement="A learnt codebook beats a frozen one of words at equal tokens",
        source="the ablation that begins with a learnt codebook",
        published="no number is known with certainty",
        ours="one learnt layer",
        baseline="one frozen layer",
        metrics=("psnr, all layers",),
        budget=f"{_BUDGET} 64 tokens a picture.",
    ),
    "more-words-win-back": Claim(
        statement="With more layers of words a frozen codebook is as good as a learnt one of one layer",
        source="the table against VQGAN",
        published="FID 4.41 (6 layers, 597 words) against 5.48 (VQGAN, 256 codes) (from memory, uncertain)",
        ours="unguided",
        baseline="one learnt layer",
        metrics=("psnr, all layers",),
        budget=f"{_BUDGET} 213 words against 64 codes.",
    ),
}


def run_claims(names: Sequence[str], seeds: int, out: Path) -> list[Finding]:
    """Measures the arms that the named claims need (or reads what an earlier run measured) and writes the findings.

    Raises:
        InputError: there is no language model that learns in context.
    """
    load_language_model(IN_CONTEXT_WEIGHTS)  # without it an arm would fail at its end
    settings = {
        "scenes": SCENES,
        "single scenes": SINGLE_SCENES,
        "steps": STEPS,
        "batch": BATCH,
        "filters": FILTERS,
        "objective": asdict(OBJECTIVE),
        "arms": {name: asdict(arm) for name, arm in ARMS.items()},
        "judged": JUDGED,
        "episodes": EPISODES,
    }
    setting = (
        f"{seeds} seeds; the budget stands with each claim. Judged on {JUDGED} test scenes that no training saw; "
        "few-shot episodes on scenes with one thing. PSNR in dB, other figures are shares."
    )
    return study(
        "spae", CLAIMS, names, seeds, out, measure=_measure, settings=settings, setting=setting, readings=READINGS
    )


def _measure(arm: str, seed: int) -> Measurement:
    """Everything that the claims compare, of one arm."""
    spae = ARMS[arm]
    recipe = NanoRecipe(
        scenes=SCENES,
        single_scenes=SINGLE_SCENES,
        objective=replace(OBJECTIVE, **spae.objective),
        options={"filters": FILTERS, **spae.options},
        seed=seed,
    )
    overrides = {"appearance.steps": STEPS[0], "words.steps": STEPS[1], "batch_size": BATCH, "seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        finished = run(recipe, folder, overrides=overrides, quiet=True)
        model, tokenizer = load_folder(finished), read_tokenizer(finished)
    scenes = rendered_scenes("test", JUDGED)
    found = layer_errors(model, scenes.images)
    if spae.words_judged:
        speller = Spae(model, processor_of(model, tokenizer))
        found |= word_figures(speller, scenes) | few_shot(speller, "test", FEW_SHOT, seed=seed)
    return found


def figures(spae: Spae) -> dict[str, object]:
    """What the manifest of shipped weights says: on 1,000 test scenes, and on scenes of held-out pairs."""
    scenes, held_out = rendered_scenes("test", 1000), rendered_scenes("heldout", 1000)
    untaught = Spae(spae.model, spae.processor, language_model=InContextModel(*load_language_model()))
    protocols = {**FEW_SHOT, "2-way 1-shot, no induction": Protocol(induction=False)}
    return {
        **layer_errors(spae.model, scenes.images),
        **{f"held-out {name}": value for name, value in layer_errors(spae.model, held_out.images).items()},
        **word_figures(spae, scenes),
        **{f"held-out {name}": value for name, value in word_figures(spae, held_out).items()},
        **few_shot(spae, "test", protocols),
        **{
            f"{name}, by the plain language model": value
            for name, value in few_shot(untaught, "test", protocols).items()
        },
        "scenes": f"1,000 test scenes, 1,000 of held-out pairs; {EPISODES} episodes for each of {' and '.join(WAYS)}",
    }


@torch.inference_mode()
def layer_errors(model: SpaeModel, images: np.ndarray, *, batch_size: int = 100) -> dict[str, float]:
    """PSNR in dB of pictures uint8 [n, H, W, 3] from the first 1, 2, .. layers, and the error of the features.

    "feature error" is the mean squared difference between the features and what all layers stand for, over the
    features' own mean square.
    """
    parts: list[dict[str, Tensor]] = []
    for begin in range(0, len(images), batch_size):
        pixels = torch.from_numpy(images[begin : begin + batch_size]).permute(0, 3, 1, 2).float() / 255
        parts.append(_errors(model, pixels.to(model.device)))
    return {name: float(torch.cat([part[name] for part in parts]).mean()) for name in parts[0]}


def _errors(model: SpaeModel, pixels: Tensor) -> dict[str, Tensor]:
    """Each figure of `layer_errors` for each of [batch, 3, H, W]."""
    features = model.encode(pixels)
    if model.config.codebook == "learnt":
        vectors = model.quantizer(features).vectors
        return {"psnr, all layers": _psnr(model.decode(vectors), pixels), "feature error": _relative(vectors, features)}
    codes = model.quantize(features)
    layers = len(codes.tokens)
    found = {}
    for count in range(1, layers + 1):
        chosen = model.partial(codes, torch.full((len(pixels),), count, device=pixels.device))
        found[f"psnr, {count} layers"] = _psnr(model.decode(chosen), pixels)
    found["psnr, all layers"] = found[f"psnr, {layers} layers"]
    found["psnr, upper half"] = found[f"psnr, {max(1, layers // 2)} layers"]
    found["feature error"] = _relative(codes.reconstructions[-1], features)
    return found


def _psnr(found: Tensor, wanted: Tensor) -> Tensor:
    """[batch] dB; colours outside of [0, 1] are cut off as in a picture."""
    return -10 * (found.clamp(0, 1) - wanted).square().mean(dim=(1, 2, 3)).clamp(min=1e-10).log10()


def _relative(vectors: Tensor, features: Tensor) -> Tensor:
    return (vectors - features).square().mean(dim=(1, 2, 3)) / features.square().mean(dim=(1, 2, 3))


def word_figures(spae: Spae, scenes: RenderedScenes) -> dict[str, float]:
    """Shares of upper words that are true of their scene, and how they do by CLIP's measure.

    "true words": of all words; those that can't be true of anything, such as "the", count as false. What is true of
    the next picture is so by chance. "relative similarity": a word's similarity, 1 for the picture's best word and 0
    for its worst.
    """
    spelling = spae.spell([Image(pixels) for pixels in scenes.images])
    words = spae.processor.words
    truth = torch.zeros(len(scenes), len(words))
    for place, (scene, view) in enumerate(scenes):
        true = true_words(scene, view)
        truth[place] = torch.tensor([word in true for word in words])
    clip = Clip.load()
    pictures, of_words = clip.embed_pixels(scenes.images), word_vectors(clip.embed_texts, words, TEMPLATES)
    content = content_words()
    guided = torch.tensor([word in content for word in words])
    fitting = similarities(pictures, of_words, guided=guided, usual=(pictures @ of_words.T).mean(dim=0)).clamp(min=0)
    found = {}
    for length in spae.processor.pyramid.lengths[1:3]:
        codes = spelling.flat[:, :length]
        found[f"true words, {length} tokens"] = float(truth.gather(1, codes).mean())
        found[f"true of the next picture, {length} tokens"] = float(truth.roll(1, dims=0).gather(1, codes).mean())
        found[f"relative similarity, {length} tokens"] = float(fitting.gather(1, codes).mean())
    counts = torch.bincount(spelling.flat.flatten(), minlength=len(words))
    found["usage"] = float((counts > 0).float().mean())
    return found


def few_shot(
    spae: Spae, split: Split, protocols: Mapping[str, Protocol], *, seed: int = 0, layers: int = 2
) -> dict[str, float]:
    """Shares of episodes that the frozen language model names rightly, meaned over shape and colour."""
    scenes = rendered_scenes(split, 1000, kind="single")
    spelling = spae.spell([Image(pixels) for pixels in scenes.images])
    things = [scenes.scene(place).things[0] for place in range(len(scenes))]
    found = {}
    for name, protocol in protocols.items():
        rng = np.random.default_rng((seed, 7))
        right = [
            _right(spae, spelling, [getattr(thing, attribute) for thing in things], protocol, rng, layers)
            for attribute in WAYS
        ]
        found[name] = float(np.mean(right))
    return found


def _right(
    spae: Spae, spelling: Spelling, labels: list[str], protocol: Protocol, rng: np.random.Generator, layers: int
) -> float:
    episodes = sample_episodes(labels, protocol, EPISODES, rng)
    names = spae.classify(episodes, spelling, layers=layers, induction=protocol.induction)
    return float(np.mean([name.startswith(episode.answer) for name, episode in zip(names, episodes, strict=True)]))
