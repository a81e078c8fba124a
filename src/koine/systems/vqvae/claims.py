"""VQ-VAE's claims at nano size: codebooks and commitment, priors, bits beside those of VAEs, latents that are used.

Every arm of a claim learns from the same scenes for the same number of steps and is judged on test scenes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from koine.evaluation.claims import Claim, Finding, Measurement, Reading, study
from koine.parts.quantize import code_counts, perplexity, usage
from koine.systems.vqvae import bits_experiment, latents_experiment
from koine.systems.vqvae.bits_experiment import COLDEST, HOW_CODES_LEARN, WARM_UP, WARMEST
from koine.systems.vqvae.bottlenecks import LatentKind
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
HOW_PRIORS_LEARN: dict[str, Any] = {
    "optimizer": "muon",
    "muon_scale": 1.5,
    "learning_rate": 1.5e-3,
    "schedule": "linear",
    "weight_decay": 0.01,
}
"""As `HOW_CODES_LEARN`."""
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
BETAS = (0.1, 0.5, 1.0, 2.0)
"""Weights of the commitment loss, of those that the paper names, beside its own 0.25."""
COMMITMENTS: dict[str, dict[str, Any]] = {
    f"beta {beta:g}": {**CODEBOOKS[REVIVED], "commitment": beta} for beta in BETAS
}
OWN_BETA = "beta 0.25"
READINGS = {
    **{
        arm: Reading(REVIVED, {"bits of a code": f"bits of a code, {arm}"})
        for arm in ("independent histograms", "PixelCNN", "PixelCNN that is told")
    },
    OWN_BETA: Reading(REVIVED, {"PSNR, dB": "PSNR, dB"}),
}

BITS_BUDGET = bits_experiment.Budget(
    SCENES,
    SINGLE_SCENES,
    steps=800,
    batch_size=BATCH,
    options={"width": 64, "block_width": 32, "codes": 128, "code_width": 8, "codes_per_cell": 8, "prior": "none"},
)
"""Eight codes to a cell of 8x8 pixels: the paper's codes for CIFAR-10 were 8x8x10."""
CODED = "VQ-VAE, 8x8x8 codes of 128"
RIVALS: dict[str, LatentKind] = {"Gaussian VAE": "gaussian", "Gumbel-softmax VAE": "categorical"}

LATENTS_BUDGET = latents_experiment.Budget(
    scenes=10_000, steps=600, batch_size=BATCH, probed=3_000, judged=JUDGED, network=latents_experiment.SMALL
)
GAUSSIAN, CODES, PLAIN = "Gaussian, PixelCNN decoder", "codes, PixelCNN decoder", "Gaussian, independent pixels"
DECODED: dict[str, dict[str, Any]] = {
    GAUSSIAN: {"latents": "gaussian", "painter": "pixelcnn"},
    CODES: {"latents": "codes", "painter": "pixelcnn"},
    PLAIN: {"latents": "gaussian", "painter": "independent"},
}
"""Latents and decoder; fields of `PaletteConfig`."""

_CODE_BUDGET = f"{SCENES + SINGLE_SCENES} scenes, {CODE_STEPS} steps of {BATCH}, {SMALL['codes']} codes."
_BITS_BUDGET = (
    f"{SCENES + SINGLE_SCENES} scenes, {BITS_BUDGET.steps} steps of {BATCH}, the same encoder and decoder. The VAEs "
    f"minimise their bound, in which latents get their full weight in {WARM_UP:.0%} of the steps. All bits are "
    "-log2 p(x | z) + KL(q(z | x) || p(z)) with one z, an upper bound of -log2 p(x); pixels are Gaussian, cut into 256 "
    "levels, and codes all as likely."
)
_LATENTS_BUDGET = (
    f"{LATENTS_BUDGET.scenes} scenes with one thing, of 16x16 pixels and 64 colours, {LATENTS_BUDGET.steps} steps of "
    f"{BATCH}, 4x4 latents. Colour and shape: read off draws of the latents by a linear probe that learnt from "
    f"{LATENTS_BUDGET.probed} training scenes; bits saved: what a picture's pixels cost more with another's latents."
)
_PRIOR_BUDGET = f"{_CODE_BUDGET} Then {PRIOR_STEPS} steps of {BATCH} grids for the prior."

SLIGHTLY = 0.5
"""Decibels: half of what a start by k-means and restarts bring (0.93 dB), which is counted as a gain."""
CLOSE = 0.3
"""Bits per dimension: half of what lies between the paper's Gaussian VAE and VIMCO (4.51 and 5.14)."""

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
    **{
        f"commitment-{beta:g}": Claim(
            statement=f"Pictures are rebuilt with beta = {beta:g}, the weight of the commitment loss, less than "
            f"{SLIGHTLY:g} dB worse than with 0.25",
            source="section 3.2: results don't change from 0.1 to 2.0",
            published="no figure",
            ours=f"beta {beta:g}",
            baseline=OWN_BETA,
            metrics=("PSNR, dB",),
            budget=f"{_CODE_BUDGET} Codes start by k-means and are restarted. The margin is half of what these bring. "
            "Beta stands beside a squared error over the variance of pixels, and both are means over all elements.",
            margin=SLIGHTLY,
        )
        for beta in BETAS
    },
    "close-to-gaussian": Claim(
        statement=f"A VQ-VAE needs less than {CLOSE:g} bits per dimension more than a Gaussian VAE",
        source="section 4.1",
        published="CIFAR-10, bits per dimension: 4.67 against 4.51",
        ours=CODED,
        baseline="Gaussian VAE",
        metrics=("bits per dimension", "bits per dimension, of pixels"),
        lower_is_better=True,
        budget=f"{_BITS_BUDGET} The margin is half of what lies between the paper's VAE and VIMCO.",
        margin=CLOSE,
    ),
    "better-than-gumbel": Claim(
        statement="A VQ-VAE needs fewer bits per dimension than a discrete VAE that learns by a relaxation",
        source="section 4.1, where the other estimator is VIMCO",
        published="CIFAR-10, bits per dimension: 4.67 against 5.14 (VIMCO)",
        ours=CODED,
        baseline="Gumbel-softmax VAE",
        metrics=("bits per dimension", "bits per dimension, of pixels"),
        lower_is_better=True,
        budget=f"{_BITS_BUDGET} The relaxation's temperature falls from {WARMEST:g} to "
        f"{COLDEST:g}; judged with codes that are drawn.",
    ),
    "latents-used": Claim(
        statement="Under a PixelCNN decoder a VQ-VAE's latents tell more of the scene than a Gaussian VAE's",
        source="sections 1 and 4.1: latents aren't ignored where decoders are strong",
        published="no figure",
        ours=CODES,
        baseline=GAUSSIAN,
        metrics=("colour", "shape", "bits saved"),
        budget=_LATENTS_BUDGET,
    ),
    "latents-ignored": Claim(
        statement="A Gaussian VAE puts fewer bits into its latents if its decoder is a PixelCNN than if pixels are "
        "painted independently",
        source="section 1: posterior collapse, the reason for discrete latents",
        published="no figure",
        ours=PLAIN,
        baseline=GAUSSIAN,
        metrics=("bits of latents", "bits saved", "colour", "shape"),
        budget=f"{_LATENTS_BUDGET} Bits of latents: KL(q || p).",
    ),
}


def run_claims(names: Sequence[str], seeds: int, out: Path) -> list[Finding]:
    """Measures the arms that the named claims need (or reads what an earlier run measured) and writes the findings."""
    settings = {
        "scenes": [SCENES, SINGLE_SCENES],
        "steps": [CODE_STEPS, PRIOR_STEPS],
        "batch": BATCH,
        "options": SMALL,
        "arms": {
            **CODEBOOKS,
            REVIVED: {**CODEBOOKS[REVIVED], "prior": HOW_PRIORS_LEARN},
            **COMMITMENTS,
            CODED: asdict(BITS_BUDGET),
            **{
                arm: {**asdict(BITS_BUDGET), "latents": kind, "temperatures": [WARMEST, COLDEST], "warm-up": WARM_UP}
                for arm, kind in RIVALS.items()
            },
            **{arm: {**asdict(LATENTS_BUDGET), **options} for arm, options in DECODED.items()},
        },
        "judged": JUDGED,
    }
    setting = f"{seeds} seeds; the budget stands with each claim. Judged on {JUDGED} test scenes that no training saw."
    return study(
        "vqvae", CLAIMS, names, seeds, out, measure=measure, settings=settings, setting=setting, readings=READINGS
    )


def measure(arm: str, seed: int) -> Measurement:
    """Trains one arm and measures what its claims compare."""
    if arm == CODED:
        return bits_experiment.code_bits(BITS_BUDGET, seed, judged=JUDGED)
    if arm in RIVALS:
        return bits_experiment.rival_bits(RIVALS[arm], BITS_BUDGET, seed, judged=JUDGED)
    if arm in DECODED:
        return latents_experiment.told_by_latents(DECODED[arm], LATENTS_BUDGET, seed)
    return _measure_codebook(arm, seed)


def _measure_codebook(arm: str, seed: int) -> Measurement:
    """Codes, and for `REVIVED` a prior over them as well."""
    options = {**CODEBOOKS, **COMMITMENTS}[arm]
    unchosen = {**SMALL, **options, "classifier_width": 0}
    recipe = NanoRecipe(SCENES, SINGLE_SCENES, features_first=False, options=unchosen)
    overrides = {"codes.steps": CODE_STEPS, "prior.steps": PRIOR_STEPS, "batch_size": BATCH, "seed": seed}
    overrides |= {f"codes.{name}": setting for name, setting in HOW_CODES_LEARN.items()}
    overrides |= {f"prior.{name}": setting for name, setting in HOW_PRIORS_LEARN.items()}
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
