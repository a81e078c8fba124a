"""The network: every layout, pictures and signals, one grid or two, and what it refuses."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from koine.errors import InputError
from koine.parts.moving_codebook import LUCIDRAINS, SONNET, VQVAE2, ZALANDO, Averaging
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


def test_layouts_start_and_weigh_as_published() -> None:
    # Sonnet's example divides the error by the variance of CIFAR-10's pixels; the port's codes start in +-1/K.
    assert VQVAEConfig.published("sonnet").data_variance == pytest.approx(0.06327)
    ported = VQVAEModel(VQVAEConfig.published("pytorch-vqvae", **SMALL)).autoencoder.quantizer.codebook
    assert 1 / 12 < ported.abs().max() <= 1 / SMALL["codes"]  # type: ignore[operator, union-attr]


@pytest.mark.parametrize(
    "averaging", [SONNET, VQVAE2, ZALANDO, LUCIDRAINS], ids=["sonnet", "vq-vae-2", "zalando", "lucidrains"]
)
def test_every_published_way_of_averaging_can_be_configured(averaging: Averaging) -> None:
    fields = {f"ema_{name}": value for name, value in asdict(averaging).items()}
    quantizer = VQVAEModel(VQVAEConfig(**{**TINY, **fields, "estimator": "rotation"})).autoencoder.quantizer
    assert quantizer.averaging == averaging and quantizer.estimator == "rotation"  # type: ignore[union-attr]


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


SNAIL: dict[str, Any] = {"width": 8, "inner": 8, "blocks": 1, "residual_blocks": 1}
TWO_LEVELS: dict[str, Any] = {
    **TINY,
    "levels": 2,
    "prior": "pixelsnail",
    "prior_labels": [],
    "snail_top": {**SNAIL, "width": 16},
    "snail_bottom": {**SNAIL, "attention": False, "condition_blocks": 1, "condition_width": 8},
}


def test_two_grids_are_drawn_from_coarse_to_fine() -> None:
    model = VQVAEModel(VQVAEConfig(**TWO_LEVELS)).eval()
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
        (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), "pixels are torch.uint8"),
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


def test_grids_of_other_sides_than_the_models_are_bad_input(model: VQVAEModel) -> None:
    with pytest.raises(InputError, match=r"shape \[4, 4\]"):
        model.decode([torch.zeros(4, 4, dtype=torch.long)])
    with pytest.raises(InputError, match=r"codes of torch\.float32"):
        model.decode([torch.zeros(1, 4, 4)])
    with pytest.raises(InputError, match=r"a grid \[9\]"):
        model.sample(1, grid=[9])
    with pytest.raises(InputError, match="2 grids of codes for a model of 1 levels"):
        model.prior_nats([torch.zeros(1, 4, 4, dtype=torch.long)] * 2)
    pairs = VQVAEModel(VQVAEConfig(**{**TINY, "codes_per_cell": 2})).eval()
    for call in (
        lambda: pairs.decode([torch.zeros(1, 4, 7, dtype=torch.long)]),
        lambda: pairs.sample(1, grid=[4, 7]),
    ):
        with pytest.raises(InputError, match="7 codes in a row, 2 to a cell"):
            call()
    levels = VQVAEModel(VQVAEConfig(**TWO_LEVELS)).eval()
    with pytest.raises(InputError, match=r"\[5, 5\] is not twice \[2, 2\]"):
        levels.decode([torch.zeros(1, 2, 2, dtype=torch.long), torch.zeros(1, 5, 5, dtype=torch.long)])


def test_a_prior_that_cannot_be_told_says_so() -> None:
    """Whoever asks must not be given anything at all instead."""
    model = VQVAEModel(VQVAEConfig(**TWO_LEVELS)).eval()
    grids = model.sample(1)
    for condition in ({"classes": torch.tensor([[1]])}, {"text": torch.zeros(1, 4)}):
        with pytest.raises(InputError, match="PixelSNAIL takes no condition"):
            model.sample(1, **condition)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="PixelSNAIL takes no condition"):
            model.prior_nats(grids, **condition)


def test_a_model_without_a_prior_says_so() -> None:
    model = VQVAEModel(VQVAEConfig(**{**TINY, "prior": "none"}))
    with pytest.raises(InputError, match="has no prior"):
        model.sample(1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"codebook": "frozen"}, "no codebook of a VQ-VAE 'frozen'"),
        ({"codebook": "spherical", "estimator": "rotation"}, "the straight-through one only"),
        ({"estimator": "gumbel"}, "no estimator of a VQ-VAE 'gumbel'"),
        ({"image_size": 18}, "isn't a multiple of 4"),
        ({"image_size": 0}, "isn't a multiple of 4"),
        ({"downsamplings": 0}, "downsamplings of a VQ-VAE is 0"),
        ({"projection": False}, "make them equal"),
        ({"levels": 3}, "levels 3"),
        ({"levels": 2}, "take prior='pixelsnail'"),
        ({"levels": 2, "dimensions": 1, "prior": "pixelsnail"}, "two grids of a signal"),
        ({"entry_convolution": False}, "code_width 4 isn't width 8"),
        ({"entry_convolution": False, "code_width": 8, "downsamplings": 1}, "first_width 4 isn't width 8"),
        ({"pixel_range": (0.5, 0.5)}, "pixel_range"),
        ({"data_variance": 0.0}, "data_variance 0.0"),
        ({"prior_layers": 0}, "prior_layers 0"),
        ({"width": 0}, "width of a VQ-VAE is 0: give a whole number of at least 1"),
        ({"width": "8"}, "width of a VQ-VAE is '8'"),
        ({"blocks": -1}, "blocks of a VQ-VAE is -1: give a whole number of at least 0"),
        ({"codes": 0}, "codes of a VQ-VAE is 0"),
        ({"ema_decay": 1.0}, "ema_decay of a VQ-VAE is 1.0: give a number from 0 on, below 1"),
        ({"commitment": float("nan")}, "commitment of a VQ-VAE is nan"),
        ({"pixel_range": None}, "pixel_range of a VQ-VAE is None: give a list"),
        ({"prior_labels": [["red"], []]}, "no empty ones in it"),
    ],
)
def test_configurations_that_cannot_be_built_are_bad_input(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        VQVAEModel(VQVAEConfig(**{**TINY, **options}))
    with pytest.raises(InputError, match="no published VQ-VAE 'sonet'"):
        VQVAEConfig.published("sonet")
    with pytest.raises(InputError, match="no option of a VQ-VAE 'widht': did you mean 'width'"):
        VQVAEConfig.published("sonnet", widht=8)
