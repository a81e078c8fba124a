"""The paper's rivals: the same networks, and a bound that is a bound."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from koine import InputError
from koine.systems.vqvae import bits_experiment
from koine.systems.vqvae.bits_experiment import COLDEST, WARM_UP, WARMEST, Budget, RivalRecipe, bits
from koine.systems.vqvae.bottlenecks import BottleneckConfig, Latents
from koine.systems.vqvae.model import VQVAEModel
from koine.systems.vqvae.recipe import nano_config
from koine.systems.vqvae.rivals import Rebuilt, VariationalAutoencoder, bound
from tests.unit.systems.vqvae.conftest import TINY, noise_scenes

NETWORK: dict[str, Any] = {name: TINY[name] for name in TINY if name != "prior_labels"} | {"prior": "none"}
BUDGET = Budget(scenes=8, single_scenes=8, steps=4, batch_size=4, options=NETWORK)


@pytest.mark.parametrize("latents", ("gaussian", "categorical"))
def test_encoder_and_decoder_are_the_vqvaes(latents: Any) -> None:
    ours = RivalRecipe(latents, BUDGET).build_model()
    theirs = VQVAEModel(nano_config(**NETWORK)).autoencoder
    for part in ("encoder", "decoder"):
        one, other = (getattr(model, part).state_dict() for model in (ours, theirs))
        assert {name: tensor.shape for name, tensor in one.items()} == {
            name: tensor.shape for name, tensor in other.items()
        }
    pixels = torch.rand(2, 3, 16, 24) - 0.5
    rebuilt = ours(pixels)
    assert rebuilt.pixels.shape == pixels.shape and rebuilt.latents.nats.shape == (2,)
    with pytest.raises(InputError, match="multiples"):
        ours(torch.rand(2, 3, 17, 16))


def test_a_rival_is_saved_and_loaded(tmp_path: Any) -> None:
    model = VariationalAutoencoder(BottleneckConfig(**{**NETWORK, "latents": "categorical"}))
    model.save_pretrained(tmp_path)
    again, pixels = VariationalAutoencoder.from_pretrained(tmp_path), torch.rand(1, 3, 16, 16) - 0.5
    first, second = (one(pixels, generator=torch.Generator().manual_seed(0)).pixels for one in (model, again))
    assert torch.equal(first, second) and again.config.latents == "categorical"


def test_the_bound_adds_pixels_latents_and_commitment() -> None:
    """By hand: every pixel is 0.1 off, so half the logarithm of 0.01; 6 and 18 nats for 12 pixels and channels."""
    pixels = torch.zeros(2, 3, 2, 2)
    latents = Latents(torch.zeros(2, 1, 1, 1), torch.tensor([6.0, 18.0]), torch.tensor(0.25))
    found = bound(Rebuilt(pixels + 0.1, latents), pixels)
    assert float(found) == pytest.approx(0.5 * math.log(0.01) + 1.0 + 0.25)
    half = bound(Rebuilt(pixels + 0.1, latents), pixels, weight=0.5)
    assert float(half) == pytest.approx(0.5 * math.log(0.01) + 0.5 + 0.25)


def test_the_relaxation_gets_colder_and_latents_count_more_and_more() -> None:
    recipe, asked = RivalRecipe("categorical", BUDGET), []

    def model(pixels: Tensor, *, temperature: float) -> Rebuilt:
        asked.append(temperature)
        return Rebuilt(pixels + 0.1, Latents(pixels, torch.ones(len(pixels)), torch.tensor(0.0)))

    batch = {"pixels": torch.zeros(2, 3, 4, 4)}
    losses = [float(recipe.loss_at(model, batch, step)["loss"]) for step in (1, 2, 4)]
    losses.append(float(recipe.loss(model, batch)["loss"]))
    pixels, nats = 0.5 * math.log(0.01), 1 / 48
    assert losses == pytest.approx([pixels + nats * 0.25 / WARM_UP, *[pixels + nats] * 3], abs=1e-6)
    half = (WARMEST * COLDEST) ** 0.5
    assert asked[0] > asked[1] == pytest.approx(half) and asked[2:] == pytest.approx([COLDEST, COLDEST])


def test_rivals_learn_as_the_vqvae_does() -> None:
    recipe, theirs = RivalRecipe("gaussian", BUDGET, seed=3), BUDGET.nano().stages[0]
    [stage] = recipe.stages
    assert (stage.steps, stage.batch_size, stage.seed) == (4, 4, 3) and theirs.name == stage.name == "codes"
    for setting in ("learning_rate", "schedule", "warmup", "weight_decay", "betas", "max_grad_norm"):
        assert getattr(stage, setting) == getattr(theirs, setting)


@pytest.mark.parametrize("latents", ("gaussian", "categorical"))
def test_latents_are_not_ignored_from_the_start(latents: Any) -> None:
    """Pictures of one colour each, which only the latents can tell: variance 1/12."""
    budget = replace(BUDGET, steps=150, options={**NETWORK, "width": 16, "first_width": 8, "codes_per_cell": 2})
    recipe = RivalRecipe(latents, budget)
    model = recipe.build_model()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(1, budget.steps + 1):
        pixels = (torch.rand(16, 3, 1, 1) - 0.5).expand(16, 3, 16, 16)
        optimiser.zero_grad()
        recipe.loss_at(model, {"pixels": pixels}, step)["loss"].backward()
        optimiser.step()
    with torch.no_grad():
        pixels = (torch.rand(200, 3, 1, 1) - 0.5).expand(200, 3, 16, 16)
        rebuilt = model(pixels)
    assert float((rebuilt.pixels - pixels).square().mean()) < 0.9 / 12 and float(rebuilt.latents.nats.mean()) > 3


@pytest.mark.parametrize("offset", (0, 3))
def test_bits_are_those_of_pixels_and_of_latents(monkeypatch: pytest.MonkeyPatch, offset: int) -> None:
    """All levels are 100. Told right, they cost nothing; told 3 less, -log2 of what lies between 2.5 and 3.5.

    The deviation that fits is 3 then, of a Gaussian around 97. The latents cost one nat for every second pixel.
    """

    def grey(split: str, count: int) -> Any:
        scenes = noise_scenes(split, count)
        scenes.images[:] = 100
        return scenes

    def rebuild(images: Tensor) -> tuple[Tensor, Tensor]:
        levels = images.movedim(-1, 1).float() - offset
        return levels, torch.full((len(images), levels[0].numel() // 2), 1.0)

    monkeypatch.setattr(bits_experiment, "rendered_scenes", grey)
    found = bits(rebuild, judged=5)
    between = (math.erf(3.5 / 3 / 2**0.5) - math.erf(2.5 / 3 / 2**0.5)) / 2
    pixels = -math.log2(between) if offset else 0.0
    assert found["deviation in levels"] == pytest.approx(max(offset, 0.1))
    assert found["bits per dimension, of pixels"] == pytest.approx(pixels, abs=1e-5)
    assert found["bits per dimension"] == pytest.approx(pixels + 0.5 / math.log(2), abs=1e-5)
