"""What latents tell of a scene if the decoder is a PixelCNN, and if it isn't: the measurements of two claims."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from koine.evaluation.linear_probe import linear_probe
from koine.quiet_loading import without_bars
from koine.systems.vqvae.likelihood import NATS_PER_BIT
from koine.systems.vqvae.palette_autoencoder import PaletteAutoencoder, PaletteConfig, palette_grids
from koine.systems.vqvae.recipe import LABELS, classes_of
from koine.training import Recipe, Stage, TrainingData, run
from koine.training.data import Batch
from koine.world.cache import RenderedScenes, rendered_scenes

PROBED = ("colour", "shape")
"""What is read off latents; the second and third of `LABELS`."""


SMALL: dict[str, Any] = {
    "width": 32,
    "first_width": 32,
    "downsamplings": 2,
    "blocks": 1,
    "block_width": 32,
    "codes": 256,
    "code_width": 16,
    "ema_restart_below": 0.1,
    "warm_start": True,
    "image_size": 16,
    "prior_width": 32,
    "prior_layers": 5,
    "prior_head": 64,
    "prior_first_kernel": 7,
    "prior_kernel": 5,
}
"""4x4 pixels to each latent, so 16 of them to a picture of 16x16 and 64 colours; 256 codes."""


@dataclass(frozen=True)
class Budget:
    """What each of the compared models learns from and is judged on, scenes with one thing.

    Attributes:
        scenes: of the training split.
        steps, batch_size: of the only stage.
        probed: training scenes whose latents the probe learns from.
        judged: test scenes.
        network: fields of `PaletteConfig` that all of them have, such as `SMALL`.
    """

    scenes: int
    steps: int
    batch_size: int
    probed: int
    judged: int
    network: dict[str, Any]


class Grids(TrainingData):
    """Pictures as grids [n, rows, columns] of palette colours."""

    def __init__(self, grids: Tensor) -> None:
        self.grids = grids

    def __len__(self) -> int:
        return len(self.grids)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        return {"grids": self.grids[indices]}


@dataclass
class PaletteRecipe(Recipe):
    """A `PaletteAutoencoder` on scenes with one thing.

    Attributes:
        budget: data, steps and networks.
        options: fields of `PaletteConfig` that this one has of its own.
        seed: of the stage.
    """

    budget: Budget
    options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0

    name = "vqvae-palette"

    def __post_init__(self) -> None:
        steps, batch_size = self.budget.steps, self.budget.batch_size
        self.stages = (Stage("pixels", steps=steps, batch_size=batch_size, learning_rate=1.2e-3, seed=self.seed),)

    def build_model(self) -> PaletteAutoencoder:
        return PaletteAutoencoder(PaletteConfig(**{**self.budget.network, **self.options}))

    def data(self, stage: Stage) -> TrainingData:
        scenes = rendered_scenes("train", self.budget.scenes, kind="single")
        return Grids(_grids(scenes, PaletteConfig(**self.budget.network)))

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        """The bound in nats per pixel, and what the codebook adds. The nats of codes are the same for all of them."""
        grids = batch["grids"]
        pixel_nats, latents = model(grids)
        places = grids[0].numel()
        return {
            "loss": (pixel_nats + latents.nats).mean() / places + latents.commitment,
            "bits of pixels": pixel_nats.detach().mean() / NATS_PER_BIT,
            "bits of latents": latents.nats.detach().mean() / NATS_PER_BIT,
        }


def told_by_latents(options: dict[str, Any], budget: Budget, seed: int) -> dict[str, float]:
    """Trains a `PaletteAutoencoder` of these options and measures what its latents tell, see `told`."""
    with tempfile.TemporaryDirectory() as folder, without_bars():
        finished = run(PaletteRecipe(budget, options, seed), folder, quiet=True)
        model = PaletteAutoencoder.from_pretrained(finished).eval()
    return told(model, budget, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def told(model: PaletteAutoencoder, budget: Budget, *, generator: torch.Generator) -> dict[str, float]:
    """What the latents of test scenes with one thing tell, to a linear probe and to the decoder.

    Latents are what the decoder gets: draws from the posterior. Its mean would be read even where it moves by a
    thousandth of its deviation, of which no decoder sees anything.

    Returns:
        shares of things whose colour and shape are read off all latents of a picture; "bits saved": how many more bits
        its pixels need given the latents of another picture; bits of the latents, KL(q || p); and the bound, both
        parts together.
    """
    learnt = rendered_scenes("train", budget.probed, kind="single")
    judged = rendered_scenes("test", budget.judged, kind="single")
    wanted = _grids(judged, model.config)
    known, _ = _latents(model, _grids(learnt, model.config), generator)
    vectors, latent_nats = _latents(model, wanted, generator)
    own, others = _pixel_nats(model, wanted, vectors), _pixel_nats(model, wanted, vectors.roll(1, dims=0))
    learnt_classes, judged_classes = classes_of(learnt), classes_of(judged)
    shares = {
        name: linear_probe(
            known.flatten(1).numpy(),
            learnt_classes[:, place].numpy(),
            vectors.flatten(1).numpy(),
            judged_classes[:, place].numpy(),
        )
        for place, name in enumerate(PROBED, start=len(LABELS) - len(PROBED))
    }
    return {
        **shares,
        "bits saved": float((others - own).mean()) / NATS_PER_BIT,
        "bits of latents": float(latent_nats.mean()) / NATS_PER_BIT,
        "bits of a picture": float((own + latent_nats).mean()) / NATS_PER_BIT,
    }


def _grids(scenes: RenderedScenes, config: PaletteConfig) -> Tensor:
    """[n, side, side] of palette colours."""
    assert config.image_size is not None
    parts = torch.from_numpy(scenes.images).split(1000)
    return torch.cat([palette_grids(part, side=config.image_size, shades=config.shades) for part in parts])


def _latents(model: PaletteAutoencoder, grids: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A draw of the latents of each picture, [n, channels, *grid], and their nats [n]."""
    found = [model.encode(part.to(model.device), generator=generator) for part in grids.split(250)]
    return torch.cat([one.vectors for one in found]).cpu(), torch.cat([one.nats for one in found]).cpu()


def _pixel_nats(model: PaletteAutoencoder, grids: Tensor, vectors: Tensor) -> Tensor:
    """[n]."""
    pairs = zip(grids.split(250), vectors.split(250), strict=True)
    return torch.cat([model.pixel_nats(part.to(model.device), own.to(model.device)) for part, own in pairs]).cpu()
