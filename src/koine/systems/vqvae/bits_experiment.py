"""Bits per dimension of a VQ-VAE and of its rivals, trained alike on the world: the measurements of two claims."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from koine.quiet_loading import without_bars
from koine.systems.vqvae.bottlenecks import BottleneckConfig, LatentKind
from koine.systems.vqvae.likelihood import NATS_PER_BIT, bits_per_dim, fitted_deviation, gaussian_bits, uniform_bits
from koine.systems.vqvae.processor import to_levels, to_model_range
from koine.systems.vqvae.recipe import NanoRecipe, nano_config
from koine.systems.vqvae.rivals import VariationalAutoencoder, bound
from koine.systems.vqvae.weights import load_folder
from koine.training import Recipe, Stage, TrainingData, run
from koine.training.data import Batch
from koine.world.cache import rendered_scenes

WARMEST, COLDEST = 1.0, 0.5
"""Temperatures of the relaxed choices at the first and at the last step, as in arXiv 1611.01144."""
WARM_UP = 0.3
"""Share of the steps in which the weight of the latents' nats rises to 1 (arXiv 1602.02282): from the start they would
cost before the decoder has learnt to make use of them."""
HOW_CODES_LEARN: dict[str, Any] = {"optimizer": "adamw", "muon_scale": 1.0, "learning_rate": 1.2e-3}
"""Settings of a stage, fixed here: the nano recipe may learn otherwise, and what was measured stays comparable."""
FITTING = 200
"""Validation scenes by which the deviation of the pixels is fitted."""
Rebuild = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Pictures uint8 [b, H, W, 3] -> levels [b, 3, H, W] that the decoder says, and nats [b, n] of their latents."""


@dataclass(frozen=True)
class Budget:
    """What each of the compared models learns from.

    Attributes:
        scenes, single_scenes: see `NanoRecipe`.
        steps, batch_size: of the only stage.
        options: of the networks, see `NanoRecipe`.
    """

    scenes: int
    single_scenes: int
    steps: int
    batch_size: int
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> dict[str, Any]:
        """The options, for models without a classifier of codes."""
        return {**self.options, "classifier_width": 0}

    def nano(self) -> NanoRecipe:
        """The recipe of the VQ-VAE, of which the rivals take data, rates and networks over."""
        return NanoRecipe(self.scenes, self.single_scenes, features_first=False, options=self.shape)


@dataclass
class RivalRecipe(Recipe):
    """A rival of a nano VQ-VAE: its first stage with other latents.

    Attributes:
        latents: see `BottleneckConfig`.
        budget: as the VQ-VAE's.
        seed: of the stage.
    """

    latents: LatentKind
    budget: Budget
    seed: int = 0

    name = "vqvae-rival"

    def __post_init__(self) -> None:
        self._nano = self.budget.nano()
        [codes] = [stage for stage in self._nano.stages if stage.name == "codes"]
        steps, batch_size = self.budget.steps, self.budget.batch_size
        own = {"steps": steps, "batch_size": batch_size, "seed": self.seed, **HOW_CODES_LEARN}
        self.stages = (replace(codes, trainable=("",), **own),)

    def build_model(self) -> VariationalAutoencoder:
        shaped = nano_config(**self.budget.shape).to_dict()
        return VariationalAutoencoder(BottleneckConfig.from_dict(shaped, latents=self.latents))

    def data(self, stage: Stage) -> TrainingData:
        return self._nano.data(stage)

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        return self.loss_at(model, batch, self.budget.steps)

    def loss_at(self, model: Any, batch: Batch, step: int) -> dict[str, Tensor]:
        """Relaxed choices get colder by the same share in each step, and latents their full weight by and by."""
        done, pixels = step / self.budget.steps, batch["pixels"]
        rebuilt = model(pixels, temperature=WARMEST * (COLDEST / WARMEST) ** done)
        return {
            "loss": bound(rebuilt, pixels, weight=min(1.0, done / WARM_UP)),
            "bits of latents": rebuilt.latents.nats.detach().mean() / NATS_PER_BIT,
        }


def rival_bits(latents: LatentKind, budget: Budget, seed: int, *, judged: int) -> dict[str, float]:
    """Trains a rival and measures its bits, see `bits`; latents of test scenes are drawn once, from the posterior."""
    recipe = RivalRecipe(latents, budget, seed)
    with tempfile.TemporaryDirectory() as folder, without_bars():
        model = VariationalAutoencoder.from_pretrained(run(recipe, folder, quiet=True)).eval()
    generator = torch.Generator().manual_seed(seed)

    def rebuild(images: Tensor) -> tuple[Tensor, Tensor]:
        rebuilt = model(to_model_range(images, model.config).to(model.device), generator=generator)
        return to_levels(rebuilt.pixels, model.config), rebuilt.latents.nats[:, None]

    return bits(rebuild, judged=judged)


def code_bits(budget: Budget, seed: int, *, judged: int) -> dict[str, float]:
    """Trains a VQ-VAE and measures its bits, see `bits`; its codes are as likely as each other, no prior is learnt."""
    overrides = {"codes.steps": budget.steps, "batch_size": budget.batch_size, "seed": seed, **HOW_CODES_LEARN}
    with tempfile.TemporaryDirectory() as folder:
        model = load_folder(run(budget.nano(), folder, stage="codes", overrides=overrides, quiet=True))

    def rebuild(images: Tensor) -> tuple[Tensor, Tensor]:
        grids = model.encode(to_model_range(images, model.config).to(model.device))
        nats = torch.full(grids[0].flatten(1).shape, uniform_bits(model.config.codes) * NATS_PER_BIT)
        return to_levels(model.decode(grids), model.config), nats

    return bits(rebuild, judged=judged)


@torch.inference_mode()
def bits(rebuild: Rebuild, *, judged: int) -> dict[str, float]:
    """Bits per pixel and channel of test scenes, an upper bound of -log2 p(x), and the pixels' part of them.

    The bound is the same for all: -log2 p(x | z) + KL(q(z | x) || p(z)) with one z of the posterior. Pixels are
    Gaussian, of one deviation that is fitted on validation scenes, and cut into the 256 levels.
    """
    fitting = torch.from_numpy(rendered_scenes("validation", FITTING).images)
    parts = [(_levels(part), rebuild(part)[0].cpu()) for part in fitting.split(100)]
    deviation = fitted_deviation([wanted for wanted, _ in parts], [said for _, said in parts])
    whole, of_pixels = [], []
    for part in torch.from_numpy(rendered_scenes("test", judged).images).split(100):
        said, nats = rebuild(part)
        pixel_bits = gaussian_bits(_levels(part), said.cpu(), deviation)
        whole.append(bits_per_dim(pixel_bits, nats.cpu()))
        of_pixels.append(pixel_bits.flatten(1).mean(dim=1))
    return {
        "bits per dimension": float(torch.cat(whole).mean()),
        "bits per dimension, of pixels": float(torch.cat(of_pixels).mean()),
        "deviation in levels": deviation,
    }


def _levels(images: Tensor) -> Tensor:
    """uint8 [b, H, W, 3] to [b, 3, H, W]."""
    return images.movedim(-1, 1).float()
