"""Bits: worked out by hand where hands can, and summing to one where they can't."""

from __future__ import annotations

import math

import pytest
import torch

from koine.systems.vqvae.likelihood import (
    bits_per_dim,
    fitted_deviation,
    gaussian_bits,
    histogram_bits,
    uniform_bits,
)


def test_uniform_codes_cost_the_logarithm_of_their_number() -> None:
    assert uniform_bits(512) == 9


def test_each_place_has_its_own_histogram() -> None:
    # The first place always holds code 0, the second each of two as often; four codes in all.
    trained = torch.tensor([[0, 1], [0, 1], [0, 2], [0, 2]])
    judged = torch.tensor([[0, 1]])
    expected = (-math.log2(5 / 8) - math.log2(3 / 8)) / 2  # counts with one more each: 5, 1, 1, 1 and 1, 3, 3, 1
    assert histogram_bits(trained, judged, 4) == pytest.approx(expected)


@pytest.mark.parametrize("mean", [-20.0, 0.0, 100.3, 255.0, 300.0])
@pytest.mark.parametrize("deviation", [0.3, 5.0, 60.0])
def test_the_256_levels_are_all_that_can_happen(mean: float, deviation: float) -> None:
    levels = torch.arange(256.0)
    total = torch.exp2(-gaussian_bits(levels, torch.full((256,), mean), deviation)).sum()
    assert total.item() == pytest.approx(1, abs=1e-6)


def test_far_levels_cost_finite_bits_on_both_sides() -> None:
    low, high = gaussian_bits(torch.tensor([100.0, 140.0]), torch.tensor([120.0, 120.0]), 1.0)
    assert torch.isfinite(low) and low.item() == pytest.approx(high.item(), rel=1e-9)
    # -log2 of the density there, to a few bits
    assert low.item() == pytest.approx(20**2 / 2 / math.log(2), rel=0.06)


def test_a_pictures_bits_are_those_of_its_pixels_and_of_its_codes() -> None:
    pixel_bits = torch.full((2, 3, 4, 4), 2.0)
    code_nats = torch.full((2, 6), 4 * math.log(2))
    assert bits_per_dim(pixel_bits, code_nats).tolist() == pytest.approx([2 + 24 / 48] * 2)


def test_the_fitted_deviation_is_the_likeliest() -> None:
    levels = 128 + 7 * torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    means = torch.full_like(levels, 128.0)
    best = fitted_deviation([levels], [means])
    assert best == pytest.approx(7, rel=0.02)
    bits = [gaussian_bits(levels.round(), means, deviation).mean() for deviation in (0.9 * best, best, 1.1 * best)]
    assert bits[1] < min(bits[0], bits[2])
