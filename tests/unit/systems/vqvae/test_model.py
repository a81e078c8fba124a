"""The network: every layout, pictures and signals, one grid or two, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from koine.errors import InputError
from koine.systems.vqvae.config import PUBLISHED, VQVAEConfig
from koine.systems.vqvae.model import VQVAEModel
from koine.systems.vqvae.weights import load_folder
from tests.unit.systems.vqvae.conftest import TINY

SMALL: dict[str, Any] = {"width": 8, "first_width": 8, "blocks": 1, "block_width": 8, "codes": 6, "code_width": 8}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_layout_rebuilds_what_it_encodes_to_the_same_shape(name: str) -> None:
    model = VQVAEModel(VQVAEConfig.published(name, **SMALL)).eval()
    config = model.config
    sides = [2 * config.stride, 3 * config.stride][: config.dimensions]
    pixels = torch.rand(2, config.channels, *sides) - 0.5
    with torch.no_grad():
        found = model(pixels)
        assert found.pixels.shape == pixels.shape
        grids = model.encode(pixels)
        torch.testing.assert_close(model.decode(grids), found.pixels)
    assert list(grids[0].shape[1:]) == [side // config.stride for side in sides]
    assert len(grids) == config.levels


def test_a_few_steps_of_training_lower_the_error(model: VQVAEModel) -> None:
    pixels = (torch.rand(8, 3, 1, 1) - 0.5).expand(-1, -1, 16, 16)
    optimizer = torch.optim.Adam(model.autoencoder.parameters(), lr=3e-3)
    errors = []
    model.train()
    for _ in range(60):
        found = model(pixels)
        optimizer.zero_grad()
        found.loss.backward()
        optimizer.step()
        errors.append(found.reconstruction_loss.item())
    assert errors[-1] < 0.8 * errors[0]


def test_the_prior_learns_which_codes_go_together(model: VQVAEModel) -> None:
    grids = torch.arange(16).view(1, 4, 4).expand(4, -1, -1) % 12
    classes = torch.tensor([[0, 0]]).expand(4, -1)
    optimizer = torch.optim.Adam(model.priors.parameters(), lr=1e-2)
    for _ in range(40):
        nats = model.prior_nats([grids], classes=classes)
        optimizer.zero_grad()
        nats.mean().backward()
        optimizer.step()
    assert nats.shape == (4, 16) and nats.mean().item() < 0.5


def test_signals_are_drawn_too() -> None:
    model = VQVAEModel(VQVAEConfig(**{**TINY, "dimensions": 1, "channels": 1, "prior_labels": []})).eval()
    [grid] = model.sample(2)
    assert grid.shape == (2, 4)
    assert model.prior_nats([grid]).shape == (2, 4)
    assert model.decode([grid]).shape == (2, 1, 16)
    [longer] = model.sample(1, grid=[9])
    assert longer.shape == (1, 9)


def test_two_grids_are_drawn_from_coarse_to_fine() -> None:
    snail = {"width": 8, "inner": 8, "blocks": 1, "residual_blocks": 1}
    sizes = {**TINY, "levels": 2, "prior": "pixelsnail", "snail_top": {**snail, "width": 16}}
    bottom = {**snail, "attention": False, "condition_blocks": 1, "condition_width": 8}
    model = VQVAEModel(VQVAEConfig(**{**sizes, "snail_bottom": bottom})).eval()
    top, fine = model.sample(2, generator=torch.Generator().manual_seed(0))
    assert top.shape == (2, 2, 2) and fine.shape == (2, 4, 4)
    assert model.prior_nats([top, fine]).shape == (2, 4 + 16)
    assert model.decode([top, fine]).shape == (2, 3, 16, 16)


def test_the_same_seed_draws_the_same_grids(model: VQVAEModel) -> None:
    first, second, other = (model.sample(2, generator=torch.Generator().manual_seed(seed))[0] for seed in (3, 3, 4))
    assert torch.equal(first, second) and not torch.equal(first, other)


def test_a_saved_model_comes_back_as_it_was(model: VQVAEModel, tmp_path: Path) -> None:
    model.train()(torch.rand(2, 3, 16, 16) - 0.5)  # averages that have moved
    model.eval().save_pretrained(tmp_path)
    loaded = load_folder(tmp_path)
    assert loaded.config.to_diff_dict() == model.config.to_diff_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (torch.zeros(1, 3, 18, 16), r"sides \[18, 16\] aren't multiples of 4"),
        (torch.zeros(1, 3, 2, 4), "aren't multiples"),
        (torch.zeros(1, 3, 0, 4), "aren't multiples"),
        (torch.zeros(0, 3, 16, 16), "is empty"),
        (torch.zeros(1, 1, 16, 16), r"give \[batch, 3, height, width\]"),
        (torch.full((1, 3, 16, 16), torch.nan), "nan or infinite"),
    ],
)
def test_pixels_that_cannot_be_encoded_are_bad_input(model: VQVAEModel, pixels: torch.Tensor, words: str) -> None:
    for call in (model, model.encode):
        with pytest.raises(InputError, match=words):
            call(pixels)


def test_codes_that_the_codebook_has_not_are_bad_input(model: VQVAEModel) -> None:
    with pytest.raises(InputError, match="outside of 0 to 11"):
        model.decode([torch.full((1, 4, 4), 12)])
    with pytest.raises(InputError, match="2 grids of codes for a model of 1 levels"):
        model.decode([torch.zeros(1, 4, 4, dtype=torch.long)] * 2)
    with pytest.raises(InputError, match="at least 1 of each"):
        model.sample(0)


def test_a_model_without_a_prior_says_so() -> None:
    model = VQVAEModel(VQVAEConfig(**{**TINY, "prior": "none"}))
    with pytest.raises(InputError, match="has no prior"):
        model.sample(1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"codebook": "frozen"}, "no codebook of a VQ-VAE 'frozen'"),
        ({"image_size": 18}, "isn't a multiple of 4"),
        ({"image_size": 0}, "isn't a multiple of 4"),
        ({"downsamplings": 0}, "downsamplings 0"),
        ({"projection": False}, "make them equal"),
        ({"levels": 3}, "levels 3"),
        ({"levels": 2}, "take prior='pixelsnail'"),
    ],
)
def test_configurations_that_cannot_be_built_are_bad_input(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        VQVAEModel(VQVAEConfig(**{**TINY, **options}))
    with pytest.raises(InputError, match="no published VQ-VAE 'sonet'"):
        VQVAEConfig.published("sonet")
