"""What users hold: pictures of any size rebuilt, words drawn, and errors that say what to do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from koine import Audio, Image, InputError, Region
from koine.systems.vqvae import processor
from koine.systems.vqvae.config import VQVAEConfig
from koine.systems.vqvae.model import VQVAEModel
from koine.systems.vqvae.processor import VQVAEProcessor
from koine.systems.vqvae.sampling import SamplingOptions
from koine.systems.vqvae.system import GUIDANCE, VQVAE
from tests.unit.systems.vqvae.conftest import TINY


def picture(width: int, height: int) -> Image:
    return Image(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(("width", "height"), [(16, 16), (33, 18), (4, 4), (57, 5)])
def test_a_picture_of_any_size_is_rebuilt_at_that_size(vqvae: VQVAE, width: int, height: int) -> None:
    reply = vqvae.respond(picture(width, height))
    assert reply.image is not None and reply.image.size == (width, height)
    [grid] = reply.details["codes"]
    assert (len(grid), len(grid[0])) == (-(-height // 4), -(-width // 4))
    assert reply.details["bits"] == pytest.approx(len(grid) * len(grid[0]) * np.log2(12))
    assert reply.details["prior_bits"] > 0 and np.isfinite(reply.details["psnr"])


def test_bits_per_dimension_are_those_of_a_gaussian_and_of_the_codes(vqvae: VQVAE) -> None:
    image = picture(33, 18)
    reply = vqvae.respond(image)
    assert reply.image is not None
    squared = np.square(reply.image.pixels.astype(float) - image.pixels).mean()
    pixels = 0.5 * np.log2(2 * np.pi * np.e * squared)
    assert reply.details["bits_per_dim"] == pytest.approx(pixels + reply.details["prior_bits"] / (33 * 18 * 3), abs=0.1)


def test_codes_give_the_reconstruction_again(vqvae: VQVAE) -> None:
    image = picture(16, 12)
    assert vqvae.decode(vqvae.encode(image)) == vqvae.respond(image).image
    reply = vqvae.respond(image)
    assert vqvae.decode(reply.details["codes"]) == reply.image
    with pytest.raises(InputError, match="give rows of whole numbers, all as long"):
        vqvae.decode([[[1, 2], [3]]])


def test_a_grid_of_other_sides_is_drawn(vqvae: VQVAE) -> None:
    assert [one.size for one in vqvae.sample(2, "red", grid=(3, 7))] == [(28, 12)] * 2


def test_a_huge_picture_is_shrunk_first(vqvae: VQVAE, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "LARGEST", 400)
    reply = vqvae.respond(picture(80, 20))
    assert reply.image is not None and reply.image.size == (40, 10)


def test_words_are_drawn_and_seeds_repeat(vqvae: VQVAE) -> None:
    first, second = vqvae.respond("a large red thing", samples=2, seed=5), vqvae.respond("large red", samples=2, seed=5)
    assert len(first.images) == 2 and first == second
    assert first.image is not None and first.image.size == (16, 16)
    assert len(first.details["codes"]) == 2 and len(first.details["codes"][0][0]) == 4
    assert vqvae.sample(2, "large red", seed=5) == list(first.images)
    assert len(vqvae.respond().images) == 1  # nothing asked for: anything is drawn


def test_words_reach_the_prior(vqvae: VQVAE) -> None:
    assert torch.equal(vqvae.processor.classes("the large red thing"), torch.tensor([[1, 0]]))
    assert torch.equal(vqvae.processor.classes("blue"), torch.tensor([[-1, 1]]))
    assert vqvae.processor.classes("a picture") is None


def test_classes_are_asked_for_as_they_are_called() -> None:
    """Folders and data sets call classes by capitals and by several words."""
    names = ["Cat", "great white shark", "shark", "tench, Tinca tinca", "n01440764"]
    asks = VQVAEProcessor(VQVAEConfig(**{**TINY, "prior_labels": [names]})).classes
    for number, name in enumerate(names):
        assert torch.equal(asks(f"a photo of the {name}"), torch.tensor([[number]])), name  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no word for this prior 'white'"):
        asks("white shark")


def test_a_text_reaches_a_prior_that_takes_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    class Encoder:
        def embed_texts(self, texts: list[str]) -> torch.Tensor:
            assert texts == ["two cats on a mat"]
            return 9 * torch.ones(1, 6)

    model = VQVAEModel(VQVAEConfig(**{**TINY, "prior_labels": [], "prior_text_width": 6})).eval()
    monkeypatch.setattr(VQVAE, "_text_encoder", Encoder())
    vqvae = VQVAE(model, VQVAEProcessor(model.config))
    told = vqvae.respond("two cats on a mat", samples=2)
    options = SamplingOptions(guidance=GUIDANCE)
    generator = torch.Generator().manual_seed(0)
    [expected] = model.sample(2, text=9 * torch.ones(2, 6), options=options, generator=generator)
    assert told.details["codes"] == [[grid.tolist()] for grid in expected]
    assert told != vqvae.respond(samples=2)


@pytest.fixture
def hearing() -> VQVAE:
    """A VQ-VAE of signals with a prior."""
    model = VQVAEModel(
        VQVAEConfig(**{**TINY, "dimensions": 1, "channels": 1, "prior_labels": [], "pixel_range": (-0.5, 0.5)})
    ).eval()
    return VQVAE(model, VQVAEProcessor(model.config))


def test_a_sound_of_any_length_is_rebuilt_at_that_length(hearing: VQVAE) -> None:
    sound = Audio(np.sin(np.arange(83, dtype=np.float32)), 16_000)
    reply = hearing.respond(sound)
    [rebuilt] = reply
    assert isinstance(rebuilt, Audio) and rebuilt.rate == 16_000 and rebuilt.samples.shape == (83,)
    [codes] = reply.details["codes"]
    assert len(codes) == 21 and reply.details["bits"] == pytest.approx(21 * np.log2(12))
    assert reply.details["prior_bits"] > 0
    decoded = 2 * hearing.model.decode([torch.tensor([codes])])[0, 0, :83].detach()
    np.testing.assert_allclose(rebuilt.samples, decoded.clamp(-1, 1).numpy(), atol=1e-6)
    noise = np.square(sound.samples - rebuilt.samples).sum()
    assert reply.details["snr"] == pytest.approx(10 * np.log10(np.square(sound.samples).sum() / noise), abs=1e-3)


def test_sounds_that_cannot_be_rebuilt_are_bad_input(vqvae: VQVAE, hearing: VQVAE) -> None:
    short = Audio(np.zeros(3, np.float32), 16_000)
    with pytest.raises(InputError, match="3 samples, fewer than the 4 of one code"):
        hearing.respond(short)
    with pytest.raises(InputError, match="3 channels in 2 dimensions, no sounds"):
        vqvae.respond(short)
    with pytest.raises(InputError, match="2 pictures or sounds"):
        hearing.respond(short, short)


def test_a_sound_of_another_rate_is_rebuilt_at_the_one_that_was_trained_on(hearing: VQVAE) -> None:
    hearing.model.config.sample_rate = 8000
    sound = Audio(np.sin(np.arange(160, dtype=np.float32) / 9), 16_000)
    reply = hearing.respond(sound)
    assert reply == hearing.respond(sound.resampled(8000))
    [rebuilt] = reply.audio
    assert rebuilt.rate == 8000 and len(rebuilt.samples) == 80 and len(reply.details["codes"][0]) == 20
    assert [grid.tolist() for grid in hearing.encode(sound)] == reply.details["codes"]
    assert hearing.decode(reply.details["codes"]) == rebuilt


def test_new_sounds_are_drawn_at_the_rate_that_was_trained_on(hearing: VQVAE) -> None:
    with pytest.raises(InputError, match="doesn't say at which rate"):
        hearing.sample(1)
    hearing.model.config.sample_rate = 8000
    first, second = hearing.sample(2, seed=3)
    assert isinstance(first, Audio) and first.rate == 8000 and len(first.samples) == 16 and first != second
    reply = hearing.respond("a sound", samples=2, seed=3)
    assert list(reply.audio) == [first, second] and len(reply.details["codes"][0][0]) == 4
    assert len(hearing.sample(1, grid=(9,))[0].samples) == 36


def test_signals_are_no_pictures(hearing: VQVAE) -> None:
    with pytest.raises(InputError, match="1 channels in 1 dimensions, no pictures: give it a sound"):
        hearing.respond(picture(8, 8))
    depths = VQVAEConfig(**{**TINY, "channels": 1, "prior_labels": []})
    with pytest.raises(InputError, match="1 channels in 2 dimensions, no pictures: give tensors to its model"):
        VQVAEProcessor(depths).encode(picture(8, 8))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ((picture(3, 40),), "3x40, smaller than the 4x4 pixels of one code"),
        ((picture(8, 8), picture(8, 9)), "2 pictures"),
        ((picture(8, 8), "red"), "one or the other"),
        ((Region.point(picture(8, 8), 1, 1),), "kind Region"),
        (("a pink thing",), "no word for this prior 'pink'"),
        (("red or blue",), "no word for this prior 'or'"),
        (("red blue",), "exclude each other"),
    ],
)
def test_what_cannot_be_read_is_bad_input(vqvae: VQVAE, parts: tuple[object, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        vqvae.respond(*parts)  # type: ignore[arg-type]


def test_options_out_of_range_are_bad_input(vqvae: VQVAE) -> None:
    with pytest.raises(InputError, match="top_k 13 of a codebook of 12"):
        vqvae.respond("red", top_k=13)
    for samples in (0, -3):
        with pytest.raises(InputError, match=f"{samples} new pictures can't be drawn"):
            vqvae.respond("red", samples=samples)


def test_levels_and_pixels_are_each_others_inverse(vqvae: VQVAE) -> None:
    images = torch.randint(256, (2, 8, 8, 3), dtype=torch.uint8)
    config = vqvae.model.config
    pixels = processor.to_model_range(images, config)
    assert pixels.min() >= -0.5 and pixels.max() <= 0.5
    assert torch.equal(processor.from_model_range(pixels, config), images)


def test_psnr_is_that_of_all_pixels_together() -> None:
    first = torch.zeros(2, 4, 4, 3, dtype=torch.uint8)
    assert processor.psnr(first, first) == float("inf")
    assert processor.psnr(first, first + 255) == pytest.approx(0)
    assert processor.psnr(first, first + 51) == pytest.approx(20 * np.log10(5))


def test_weights_that_are_not_there_are_bad_input(tmp_path: object) -> None:
    with pytest.raises(InputError, match="holds no readable VQ-VAE"):
        VQVAE.load(f"{tmp_path}/nothing")
