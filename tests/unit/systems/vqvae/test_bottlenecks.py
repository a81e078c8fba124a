"""What latents cost, in closed form, and what the decoder gets of them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.distributions import Categorical, Normal, kl_divergence

from koine import InputError
from koine.systems.vqvae.bottlenecks import (
    BottleneckConfig,
    CategoricalLatents,
    build_latents,
    categorical_nats,
    gaussian_nats,
)
from tests.unit.systems.vqvae.conftest import TINY

KINDS = ("gaussian", "categorical", "codes")


def config(**options: Any) -> BottleneckConfig:
    """Three latents to a cell."""
    return BottleneckConfig(**{**TINY, "prior": "none", "codes_per_cell": 3, **options})


def test_gaussians_cost_their_divergence_from_the_standard_one() -> None:
    mean, log_variance = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    posterior = Normal(mean, (0.5 * log_variance).exp())
    expected = kl_divergence(posterior, Normal(0.0, 1.0)).flatten(1).sum(dim=1)
    torch.testing.assert_close(gaussian_nats(mean, log_variance), expected)
    # by hand: mean 2, deviation 1 costs 2 nats; mean 0, deviation e costs (e^2 - 1) / 2 - 1
    by_hand = gaussian_nats(torch.tensor([[2.0], [0.0]]), torch.tensor([[0.0], [2.0]]))
    torch.testing.assert_close(by_hand, torch.tensor([2.0, (math.e**2 - 1) / 2 - 1]))
    assert gaussian_nats(torch.zeros(1, 7), torch.zeros(1, 7)) == 0


def test_choices_cost_their_divergence_from_the_uniform_one() -> None:
    logits = torch.randn(2, 4, 3, 5)
    expected = kl_divergence(Categorical(logits=logits), Categorical(logits=torch.zeros(5))).flatten(1).sum(dim=1)
    torch.testing.assert_close(categorical_nats(logits), expected)
    sure = torch.tensor([[[0.0, 200.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]])
    torch.testing.assert_close(categorical_nats(sure), torch.tensor([math.log(4)]))  # one sure choice, one open


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_decoder_the_same_shape(kind: Any) -> None:
    latents = build_latents(config(latents=kind)).eval()
    found = latents(torch.randn(2, 8, 4, 5))
    assert found.vectors.shape == (2, 3 * 4, 4, 5) and found.nats.shape == (2,)
    assert (found.nats > 0).all() and (found.commitment > 0) == (kind == "codes")


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InputError, match="kind of latents"):
        build_latents(config(latents="laplace"))


@torch.no_grad()
def test_codes_cost_the_logarithm_of_their_number() -> None:
    latents = build_latents(config(latents="codes")).eval()
    found = latents(torch.randn(2, 8, 4, 5))
    torch.testing.assert_close(found.nats, torch.full((2,), 4 * 5 * 3 * math.log(12)))
    codebook = latents.quantizer.codebook  # type: ignore[union-attr]
    vectors = found.vectors.movedim(1, -1).unflatten(-1, (3, 4))
    assert (vectors[..., None, :] == codebook).all(dim=-1).any(dim=-1).all()  # type: ignore[index]


def test_draws_are_the_generators() -> None:
    for kind in ("gaussian", "categorical"):
        latents, features = build_latents(config(latents=kind)), torch.randn(2, 8, 4, 5)
        first, again, other = (
            latents(features, generator=torch.Generator().manual_seed(seed)).vectors for seed in (1, 1, 2)
        )
        assert torch.equal(first, again) and not torch.equal(first, other)


@torch.no_grad()
def test_gaussian_draws_have_mean_and_deviation_of_the_posterior() -> None:
    """Before training the logarithm of the variance is -4."""
    latents = build_latents(config(latents="gaussian", codes_per_cell=1, code_width=1))
    latents.projection.weight.zero_()
    latents.projection.bias.copy_(torch.tensor([3.0, 4 + 2 * math.log(0.5)]))  # type: ignore[union-attr]
    found = latents(torch.randn(1, 8, 100, 100), generator=torch.Generator().manual_seed(0)).vectors
    assert float(found.mean()) == pytest.approx(3, abs=0.02) and float(found.std()) == pytest.approx(0.5, abs=0.02)


def test_choices_at_temperature_zero_are_codes_by_their_probabilities() -> None:
    latents, share = sure_of_nothing((0.5, 0.3, 0.2))
    found = latents(torch.randn(1, 8, 100, 100), generator=torch.Generator().manual_seed(0)).vectors
    chosen = (found.movedim(1, -1)[..., None, :] == latents.codebook).all(dim=-1).flatten(0, 2).float()
    torch.testing.assert_close(chosen.sum(dim=1), torch.ones(10_000))  # one code, nothing mixed
    torch.testing.assert_close(chosen.mean(dim=0), share, atol=0.02, rtol=0)


def test_relaxed_choices_are_mixtures_that_gradients_pass() -> None:
    latents, _ = sure_of_nothing((0.5, 0.3, 0.2))
    warm = latents(torch.randn(1, 8, 2, 2), temperature=1.0).vectors
    assert not (warm.movedim(1, -1)[..., None, :] == latents.codebook).all(dim=-1).any()
    warm.square().sum().backward()
    assert latents.projection.weight.grad is not None and latents.projection.weight.grad.abs().sum() > 0
    draws = [torch.Generator().manual_seed(4) for _ in range(2)]
    features = torch.randn(1, 8, 5, 5)
    cold, hard = (
        latents(features, temperature=t, generator=g).vectors for t, g in zip((1e-3, 0.0), draws, strict=True)
    )
    torch.testing.assert_close(cold, hard, atol=1e-3, rtol=0)


def sure_of_nothing(probabilities: tuple[float, ...]) -> tuple[CategoricalLatents, torch.Tensor]:
    """Choices with these probabilities, whatever the features are."""
    share = torch.tensor(probabilities)
    latents = CategoricalLatents(config(codes=len(share), codes_per_cell=1))
    with torch.no_grad():
        latents.projection.weight.zero_()
        latents.projection.bias.copy_(share.log())  # type: ignore[union-attr]
    return latents, share
