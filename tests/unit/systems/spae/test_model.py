"""The network: prefixes of layers, gradients, and pictures it refuses."""

from __future__ import annotations

import pytest
import torch

from koine.errors import InputError
from koine.systems.spae.model import SpaeModel
from tests.unit.systems.spae.conftest import tiny_config


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_forward_reconstructs_from_all_layers(model, pixels):
    output = model(pixels)
    assert output.pixels.shape == pixels.shape
    assert output.features.shape == (3, 4, 4, 16)
    assert [tuple(part.shape) for part in output.codes.tokens] == [(3, 1, 1), (3, 2, 2), (3, 4, 4)]
    torch.testing.assert_close(output.pixels, model.pixels_of_codes(output.codes.tokens), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("filling", ["zero", "nearest", "mean"])
def test_each_picture_may_have_its_own_number_of_layers(filling, model, pixels):
    model.config.filling = filling
    output = model(pixels, layers=torch.tensor([1, 2, 3]))
    for place, count in enumerate((1, 2, 3)):
        tokens = [part[place : place + 1] for part in output.codes.tokens[:count]]
        torch.testing.assert_close(output.pixels[place], model.pixels_of_codes(tokens)[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "layers, message",
    [
        ([0, 1, 2], "layers = 0 of a pyramid of 3: give 1 to 3"),
        ([1, 2, 4], "layers = 4 of a pyramid of 3"),
        ([2], r"layers of shape \(1,\) for 3 pictures: give one number for each"),
    ],
)
def test_numbers_of_layers_that_do_not_fit(layers, message, model, pixels):
    with pytest.raises(InputError, match=message):
        model(pixels, layers=torch.tensor(layers))


def test_networks_of_half_precision_reconstruct_too(model, pixels):
    expected = model(pixels)
    model.to(torch.bfloat16)
    found = model(pixels.to(torch.bfloat16))
    assert found.pixels.dtype == torch.bfloat16
    assert torch.equal(found.codes.tokens[0], expected.codes.tokens[0])
    torch.testing.assert_close(found.pixels, model.pixels_of_codes(found.codes.tokens), atol=0.05, rtol=0.05)


def test_gradients_pass_straight_through_to_the_encoder_and_not_to_the_table(model, pixels):
    model.train()
    model(pixels).pixels.sum().backward()
    assert model.encoder.conv_in.weight.grad.abs().sum() > 0
    assert not model.table.requires_grad
    assert "table" not in dict(model.named_parameters())


def test_no_gradient_passes_where_the_decoded_layers_have_no_word(model, pixels):
    model.train()
    features = model.encode(pixels)
    model.encode = lambda pixel_values: features
    features.retain_grad()
    model(pixels, layers=torch.tensor([1, 2, 3])).pixels.sum().backward()
    moved = features.grad.abs().sum(dim=3) > 0  # [pictures, rows, columns]
    assert moved.sum(dim=(1, 2)).tolist() == [1, 5, 16]
    assert moved[0, 2, 2]


def test_learnt_codebook_is_trained(pixels):
    model = SpaeModel(tiny_config(codebook="learnt", pyramid=(4,), thresholds=())).train()
    output = model(pixels)
    (output.pixels.mean() + output.quantized.loss).backward()
    assert model.quantizer.codebook.grad.abs().sum() > 0


def test_same_weights_after_saving(model, pixels, tmp_path):
    model.save_pretrained(tmp_path)
    again = SpaeModel.from_pretrained(tmp_path).eval()
    assert torch.equal(again.token_ids, model.token_ids)
    assert torch.equal(again(pixels).pixels, model(pixels).pixels)


@pytest.mark.parametrize(
    "shape, message",
    [
        ((0, 3, 16, 16), "give at least one"),
        ((1, 3, 2, 2), "pictures of 2x2 pixels don't fit the model's 16x16"),
        ((1, 3, 16, 18), "pictures of 18x16 pixels don't fit"),
        ((1, 1, 16, 16), "shape"),
    ],
)
def test_pictures_of_another_size(shape, message, model):
    with pytest.raises(InputError, match=message):
        model(torch.zeros(shape))


def test_nan_pixels(model, pixels):
    pixels[0, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="pixels are nan or infinite"):
        model(pixels)


def test_pixels_as_levels(model, pixels):
    with pytest.raises(InputError, match=r"pixels are torch\.uint8: give floating-point numbers from 0 to 1"):
        model((255 * pixels).to(torch.uint8))


def test_table_of_another_width(model):
    with pytest.raises(InputError, match=r"a table of \(20, 8\) with 20 tokens doesn't fit a codebook of \(14, 16\)"):
        model.set_table(torch.zeros(20, 8), torch.arange(20))
