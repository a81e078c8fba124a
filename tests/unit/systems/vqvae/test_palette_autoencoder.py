"""An autoencoder of palette colours: a PixelCNN that sees its latents, or pixels that are painted independently."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from koine import InputError
from koine.systems.vqvae import latents_experiment
from koine.systems.vqvae.bottlenecks import Latents
from koine.systems.vqvae.latents_experiment import Budget, told
from koine.systems.vqvae.palette_autoencoder import PaletteAutoencoder, PaletteConfig, palette_grids
from koine.systems.vqvae.pixelcnn import GatedLayer
from tests.unit.systems.vqvae.conftest import PALETTE, noise_scenes

DECODERS = ("pixelcnn", "independent")


def model(**options: Any) -> PaletteAutoencoder:
    return PaletteAutoencoder(PaletteConfig(**{**PALETTE, **options})).eval()


def test_colours_are_means_in_equal_steps() -> None:
    """A picture of 4x4 to 2x2: corners of black, white, red that half fills its cell, and a grey just below a step."""
    picture = torch.zeros(1, 4, 4, 3, dtype=torch.uint8)
    picture[0, :2, 2:] = 255
    picture[0, 2, :2, 0] = 255
    picture[0, 2:, 2:] = 127
    assert palette_grids(picture, side=2, shades=4).tolist() == [[[0, 63], [16, 21]]]
    assert palette_grids(picture, side=2, shades=2).tolist() == [[[0, 7], [0, 0]]]
    with pytest.raises(InputError, match="can't be shrunk to 3x3"):
        palette_grids(picture, side=3, shades=4)


def test_the_encoder_sees_the_palettes_colours() -> None:
    pixels = model(shades=3)._pixels(torch.tensor([[[0, 26], [9 * 2 + 3 * 1, 5]]]))
    assert pixels.shape == (1, 3, 2, 2)
    assert pixels[0, :, 0, 0].tolist() == [-0.5] * 3 and pixels[0, :, 0, 1].tolist() == [0.5] * 3
    assert pixels[0, :, 1, 0].tolist() == [0.5, 0, -0.5] and pixels[0, :, 1, 1].tolist() == [-0.5, 0, 0.5]


@pytest.mark.parametrize("painter", DECODERS)
@torch.no_grad()
def test_likelihoods_are_normalised_and_summed_over_places(painter: Any) -> None:
    network, grids = model(painter=painter, shades=2, downsamplings=1), torch.randint(8, (3, 4, 4))
    vectors = network.encode(grids).vectors
    logits = network.painter(grids, network.upsampling(vectors))
    expected = F.cross_entropy(logits, grids, reduction="none").sum(dim=(1, 2))
    torch.testing.assert_close(network.pixel_nats(grids, vectors), expected)
    if painter == "independent":  # all colours of one place, the others as they are: their likelihoods add up to 1
        variants = grids[:1].repeat(8, 1, 1)
        variants[:, 1, 2] = torch.arange(8)
        others = network.pixel_nats(grids[:1], vectors[:1]) - F.cross_entropy(
            logits[:1, :, 1, 2], grids[:1, 1, 2], reduction="none"
        )
        shares = (others - network.pixel_nats(variants, vectors[:1].repeat(8, 1, 1, 1))).exp()
        assert float(shares.sum()) == pytest.approx(1, abs=1e-4)


def test_a_pixelcnn_sees_what_comes_before_and_its_latents_everywhere() -> None:
    network, grids = model(), torch.randint(64, (1, 16, 16))
    vectors = network.encode(grids).vectors
    logits = network.painter(grids, network.upsampling(vectors))
    changed = grids.clone()
    changed[0, 7, 5] = (grids[0, 7, 5] + 1) % 64
    moved = (network.painter(changed, network.upsampling(vectors)) - logits).abs().amax(dim=1)[0] > 1e-6
    assert not moved[:7].any() and not moved[7, :6].any() and moved[7, 6] and moved[8].any()
    others = vectors + torch.randn_like(vectors)
    assert ((network.painter(grids, network.upsampling(others)) - logits).abs().amax(dim=1) > 1e-6).all()


def test_independent_pixels_see_their_latents_only() -> None:
    network, grids = model(painter="independent"), torch.randint(64, (2, 16, 16))
    seen = network.upsampling(network.encode(grids).vectors)
    assert torch.equal(network.painter(grids, seen), network.painter(grids.flip(1), seen))
    assert not torch.equal(network.painter(grids, seen), network.painter(grids, seen + 1))


def test_a_condition_that_is_the_same_everywhere_is_the_vectors() -> None:
    layer, stacks, vector = GatedLayer(4, 3, masked=False), torch.randn(2, 1, 4, 5, 6), torch.randn(1, 8)
    plain, mapped = layer(*stacks, vector), layer(*stacks, vector[:, :, None, None].expand(1, 8, 5, 6))
    for one, other in zip(plain, mapped, strict=True):
        torch.testing.assert_close(one, other)


def test_what_does_not_fit_is_refused() -> None:
    network = model()
    with pytest.raises(InputError, match="multiples of 4"):
        network(torch.zeros(1, 6, 8, dtype=torch.long))
    with pytest.raises(InputError, match="outside of 0 to 63"):
        network(torch.full((1, 8, 8), 64))


class Painted:
    """Its latents are the number of the picture's first colour, one-hot, and its decoder wants just that."""

    config = PaletteConfig(**PALETTE)
    device = torch.device("cpu")

    def encode(self, grids: torch.Tensor, *, generator: torch.Generator) -> Latents:
        vectors = F.one_hot(grids[:, 0, 0], 64).float()[:, :, None, None]
        return Latents(vectors, torch.full((len(grids),), 6.0), torch.tensor(0.0))

    def pixel_nats(self, grids: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        return 10 - 4 * vectors[torch.arange(len(grids)), grids[:, 0, 0], 0, 0]


def test_what_latents_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are wholly of one of four colours, which say the thing's colour and nothing of its shape."""

    def coloured(split: str, count: int, *, kind: str) -> Any:
        scenes = noise_scenes(split, count, kind=kind)
        scenes.images[:] = (np.arange(len(scenes)) % 4 * 64)[:, None, None, None]
        return scenes

    def classes(scenes: Any) -> torch.Tensor:
        number = torch.arange(len(scenes))
        return torch.stack([number * 0, number % 4, number // 4 % 3], dim=1)

    monkeypatch.setattr(latents_experiment, "rendered_scenes", coloured)
    monkeypatch.setattr(latents_experiment, "classes_of", classes)
    budget = Budget(scenes=1, steps=1, batch_size=1, probed=24, judged=12, network=PALETTE)
    found = told(Painted(), budget, generator=torch.Generator())  # type: ignore[arg-type]
    bit = np.log(2)
    assert found == pytest.approx(
        {
            "colour": 1.0,
            "shape": 1 / 3,
            "bits saved": 4 / bit,  # the picture before has another colour
            "bits of latents": 6 / bit,
            "bits of a picture": (6 + 6) / bit,
        }
    )
