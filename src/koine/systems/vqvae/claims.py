"""VQ-VAE's claims at nano size: moving codebooks, codes that revive, a learnt prior, and one that is told what to show.

Every arm of a claim learns from the same scenes for the same number of steps and is judged on test scenes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from koine.evaluation.claims import Claim, Finding, Measurement, Reading, study
from koine.parts.quantize import code_counts, perplexity, usage
from koine.systems.vqvae.likelihood import histogram_bits
from koine.systems.vqvae.model import VQVAEModel
from koine.systems.vqvae.processor import psnr
from koine.systems.vqvae.recipe import NanoRecipe, classes_of, decode_all, encode_all, prior_bits
from koine.systems.vqvae.weights import load_folder
from koine.training import run
from koine.world.cache import rendered_scenes

SCENES, SINGLE_SCENES, BATCH = 5_000, 10_000, 32
CODE_STEPS, PRIOR_STEPS = 500, 800
JUDGED = 500
SMALL: dict[str, Any] = {
    "width": 64,
    "block_width": 32,
    "codes": 512,
    "code_width": 32,
    "codes_per_cell": 1,
    "prior_width": 48,
    "prior_layers": 6,
    "prior_kernel": 3,
}
REVIVED = "k-means start and restarts"
"""The arm whose codes a prior learns, too."""
SONNET: dict[str, Any] = {"warm_start": False, "ema_restart_below": 0.0}
CODEBOOKS: dict[str, dict[str, Any]] = {
    "moving averages": SONNET,
    "gradients": {**SONNET, "codebook": "gradient"},
    REVIVED: {"warm_start": True, "ema_restart_below": 0.1},
}
"""Ways in which the codebook learns; fields of the configuration."""
READINGS = {
    arm: Reading(REVIVED, {"bits of a code": f"bits of a code, {arm}"})
    for arm in ("independent histograms", "PixelCNN", "PixelCNN that is told")
}

_CODE_BUDGET = f"{SCENES + SINGLE_SCENES} scenes, {CODE_STEPS} steps of {BATCH}, {SMALL['codes']} codes."
_PRIOR_BUDGET = f"{_CODE_BUDGET} Then {PRIOR_STEPS} steps of {BATCH} grids for the prior."

CLAIMS = {
    "moving-codebook": Claim(
        statement="A codebook that follows moving averages gives a smaller error in the same steps than one that "
        "follows gradients",
        source="appendix A.1, and the example of the authors' library, which says that it trains faster",
        published="no figure",
        ours="moving averages",
        baseline="gradients",
        metrics=("error / variance",),
        lower_is_better=True,
        budget=_CODE_BUDGET,
    ),
    "revived-codes": Claim(
        statement="Starting by k-means and restarting dead codes lets more of the codebook be used",
        source="a remedy from later work; the paper's own codebook has neither",
        published="no figure",
        ours=REVIVED,
        baseline="moving averages",
        metrics=("share of codes in use", "PSNR, dB"),
        budget=_CODE_BUDGET,
    ),
    "learnt-prior": Claim(
        statement="A PixelCNN over the codes needs fewer bits than independent histograms of each place",
        source="section 3.3: after training, an autoregressive distribution is fitted over the codes",
        published="no figure for codes",
        ours="PixelCNN",
        baseline="independent histograms",
        metrics=("bits of a code",),
        lower_is_better=True,
        budget=_PRIOR_BUDGET,
    ),
    "told-prior": Claim(
        statement="A prior that is told size, colour and shape needs fewer bits than when it isn't",
        source="gated PixelCNN (arXiv 1606.05328), section 2.3: conditional image models",
        published="no figure for codes; for pixels of ImageNet the authors saw little gain in bits but better samples",
        ours="PixelCNN that is told",
        baseline="PixelCNN",
        metrics=("bits of a code",),
        lower_is_better=True,
        budget=f"{_PRIOR_BUDGET} One prior, asked with and without the classes.",
    ),
}


def run_claims(names: Sequence[str], seeds: int, out: Path) -> list[Finding]:
    """Measures the arms that the named claims need (or reads what an earlier run measured) and writes the findings."""
    settings = {
        "scenes": [SCENES, SINGLE_SCENES],
        "steps": [CODE_STEPS, PRIOR_STEPS],
        "batch": BATCH,
        "options": SMALL,
        "arms": CODEBOOKS,
        "judged": JUDGED,
    }
    setting = f"{seeds} seeds; the budget stands with each claim. Judged on {JUDGED} test scenes that no training saw."
    return study(
        "vqvae", CLAIMS, names, seeds, out, measure=measure, settings=settings, setting=setting, readings=READINGS
    )


def measure(arm: str, seed: int) -> Measurement:
    """Trains one arm and measures it: its codes, and for `REVIVED` a prior over them as well."""
    recipe = NanoRecipe(SCENES, SINGLE_SCENES, features_first=False, options={**SMALL, **CODEBOOKS[arm]})
    overrides = {"codes.steps": CODE_STEPS, "prior.steps": PRIOR_STEPS, "batch_size": BATCH, "seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        finished = run(recipe, folder, stage=None if arm == REVIVED else "codes", overrides=overrides, quiet=True)
        model = load_folder(finished)
    return _measure_codes(model) | (_measure_prior(model) if arm == REVIVED else {})


def _measure_codes(model: VQVAEModel) -> dict[str, float]:
    images = torch.from_numpy(rendered_scenes("test", JUDGED).images)
    grids = encode_all(model, images)
    rebuilt = decode_all(model, grids)
    counts = code_counts(grids, model.config.codes)
    return {
        "error / variance": float((images.double() - rebuilt).square().mean() / images.double().var()),
        "PSNR, dB": psnr(rebuilt, images),
        "share of codes in use": float(usage(counts)),
        "perplexity": float(perplexity(counts)),
    }


def _measure_prior(model: VQVAEModel) -> dict[str, float]:
    judged = rendered_scenes("test", JUDGED, kind="single")
    trained = rendered_scenes("train", SINGLE_SCENES, kind="single")
    grids = encode_all(model, torch.from_numpy(judged.images))
    known = encode_all(model, torch.from_numpy(trained.images))
    return {
        "bits of a code, independent histograms": histogram_bits(known, grids, model.config.codes),
        "bits of a code, PixelCNN": prior_bits(model, grids, None),
        "bits of a code, PixelCNN that is told": prior_bits(model, grids, classes_of(judged)),
    }
