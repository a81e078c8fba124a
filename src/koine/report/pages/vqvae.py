"""VQ-VAE's part of the tour: scenes as codes and back, and new scenes for a size, a colour and a shape asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image as pil

from koine.data.world_exhibits import FIRST_SEED
from koine.report.contents import Figure, Section, Table
from koine.sentence import Image
from koine.systems.vqvae.system import VQVAE
from koine.world.render import render
from koine.world.scene import Kind, sample_scene

PAPER = "https://arxiv.org/abs/1711.00937"
REBUILT: tuple[Kind, ...] = ("single", "scatter", "nested", "stacked")
ASKED = ("a large red cube", "a yellow ball", "a large blue cylinder", "a white ring", "a cyan cone", "an orange arch")
"""Words of the prior; none of these pairs of colour and shape was held out of its training."""
SAMPLES = 4
SIDE = 256
"""Pixels of one picture on the page."""


def page(vqvae: VQVAE, seed: int) -> Section:
    """Reconstructions beside their originals, on scenes that no training saw, and drawings; all drawn by `seed`."""
    rebuilt, rows = [], []
    size = vqvae.model.config.image_size or 64
    for number, kind in enumerate(REBUILT):
        scene = sample_scene(FIRST_SEED + 100 * seed + number, split="test", kind=kind)
        original = Image(render(scene, size).image)
        reply = vqvae.respond(original)
        assert reply.image is not None  # a picture is answered with one
        rebuilt.append(Figure(strip([original, reply.image]), f"{kind}: the original, and what its codes keep"))
        rows.append(_row(kind, reply.details))
    return Section(
        title="VQ-VAE: pictures as grids of codes",
        lead="The encoder keeps one of a codebook's vectors for each square of the picture, and the decoder paints the "
        "picture from these alone. A prior has learnt which codes go together: what it draws, code by code, is painted "
        f"below as new scenes{_choice(vqvae)}.",
        link=PAPER,
        figures=[*rebuilt, *_drawings(vqvae, seed)],
        tables=[
            Table(
                "What the codes cost and keep",
                ("scene", "codes", "bits", "bits under the prior", "PSNR, dB"),
                rows,
                "Bits at log2 of the codebook's size, and under the prior when it isn't told what is shown; it has "
                "seen scenes with one thing only.",
            )
        ],
    )


def _choice(vqvae: VQVAE) -> str:
    if vqvae.candidates == 1:
        return ""
    return f", each the one of {vqvae.candidates} whose codes look most like what was asked for to a classifier"


def _row(kind: str, details: dict[str, object]) -> tuple[str, ...]:
    [grid] = details["codes"]  # type: ignore[misc]
    figures = (f"{len(grid)} x {len(grid[0])}", f"{details['bits']:.0f}", f"{details['prior_bits']:.0f}")  # type: ignore[has-type]
    return (kind, *figures, f"{details['psnr']:.1f}")


def _drawings(vqvae: VQVAE, seed: int) -> list[Figure]:
    figures = []
    for words in ASKED:
        drawn = [one for one in vqvae.sample(SAMPLES, words, seed=seed) if isinstance(one, Image)]
        figures.append(Figure(strip(drawn), f"drawn for the words “{words}”"))
    return figures


def strip(pictures: Sequence[Image]) -> Image:
    """Pictures side by side, each enlarged to a height of `SIDE` pixels, with a gap between them."""
    large = [
        np.asarray(one.to_pil().resize((one.width * SIDE // one.height, SIDE), pil.Resampling.BICUBIC))
        for one in pictures
    ]
    gap = np.full((SIDE, SIDE // 32, 3), 255, np.uint8)
    parts = [part for one in large for part in (gap, one)][1:]
    return Image(np.concatenate(parts, axis=1))
