"""The terms of the loss and their weights."""

from __future__ import annotations

import math

import pytest
import torch

from koine.systems.spae.discriminator import Discriminator, gradient_penalty
from koine.systems.spae.model import SpaeModel
from koine.systems.spae.objective import (
    Objective,
    choice_entropy,
    commitment,
    draw_layers,
    perceptual_loss,
    spae_loss,
    wordless_loss,
)
from tests.unit.systems.spae.conftest import tiny_config


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def similarity(vocabulary) -> torch.Tensor:
    return torch.rand(3, len(vocabulary.words), generator=torch.Generator().manual_seed(1)).clamp(max=0.99)


def test_appearance_is_squared_error_and_weighted_commitment(model, pixels):
    found = spae_loss(model, pixels, objective=Objective(alpha=0.0, beta=0.5))
    torch.testing.assert_close(found["loss"], found["pixels"] + 0.5 * found["commitment"])


def test_semantic_loss_enters_as_large_as_the_appearance(model, pixels, similarity):
    similarity[:, 0] = 1.0  # pools are never empty
    found = spae_loss(model, pixels, objective=Objective(), similarity=similarity)
    appearance = found["pixels"] + 0.33 * found["commitment"]
    torch.testing.assert_close(found["loss"], 2 * appearance)


def test_weight_of_the_semantic_loss_carries_no_gradient(model, pixels, similarity):
    """A constant term of the appearance adds the semantic gradient in its size, and nothing of its own."""
    similarity[:, 0] = 1.0
    gradients = []
    for extra, part in ((0.0, "loss"), (1.0, "loss"), (0.0, "meaning")):
        model.zero_grad()
        generator = torch.Generator().manual_seed(0)
        found = spae_loss(
            model,
            pixels,
            objective=Objective(beta=0.0),
            similarity=similarity,
            extra=lambda output, extra=extra: output.pixels.new_tensor(extra),
            generator=generator,
        )
        found[part].backward()
        gradients.append(model.encoder.conv_out.bias.grad.clone())
    without, with_term, of_meaning = gradients
    torch.testing.assert_close(with_term - without, of_meaning / found["meaning"].detach(), atol=1e-5, rtol=1e-3)


def test_negative_appearance_does_not_turn_the_guidance_round(model, pixels, similarity):
    similarity[:, 0] = 1.0
    found = spae_loss(
        model,
        pixels,
        objective=Objective(),
        similarity=similarity,
        extra=lambda output: output.pixels.new_tensor(-100.0),
    )
    torch.testing.assert_close(found["loss"], found["pixels"] + 0.33 * found["commitment"] - 100)


def test_empty_places_count_as_zeros_only_if_asked(model, pixels):
    output = model(pixels)
    with_zeros = commitment(output.features, output.codes, count_empty=True)
    squares = output.features.square().mean(dim=(0, 3))
    first = output.codes.counts[0] == 0
    # the first layer has one word: all others are compared with zero
    by_hand = squares[first].sum().item() / 16
    single = (output.features - output.codes.reconstructions[0]).square().mean(dim=(0, 3))
    assert float(single.mean()) == pytest.approx(by_hand + float(single[~first].sum()) / 16)
    assert with_zeros != commitment(output.features, output.codes)


def test_share_of_pictures_with_fewer_layers():
    layers = draw_layers(4000, 6, 0.5, torch.Generator().manual_seed(0))
    assert layers.min() == 1
    assert layers.max() == 6
    assert float((layers == 6).float().mean()) == pytest.approx(0.5, abs=0.03)
    assert (draw_layers(10, 6, 0.0) == 6).all()


def test_choices_of_one_word_cost_more_than_choices_of_many():
    table = torch.eye(4)
    alike, different = table[:1].expand(4, 4), table
    costs = [float(choice_entropy(features.view(1, 2, 2, 4), table, 0.1)) for features in (alike, different)]
    assert costs[0] == pytest.approx(0.0, abs=1e-3)
    assert costs[1] == pytest.approx(-math.log(4), abs=1e-3)


def test_entropy_is_added_but_does_not_weigh_the_guidance(model, pixels, similarity):
    similarity[:, 0] = 1.0
    found = spae_loss(model, pixels, objective=Objective(entropy=5.0), similarity=similarity)
    appearance = found["pixels"] + 0.33 * found["commitment"]
    torch.testing.assert_close(found["loss"], 2 * appearance + 5 * found["entropy"])


@pytest.mark.parametrize("options", [{}, {"codebook": "learnt", "pyramid": (4,), "thresholds": ()}])
def test_training_survives_a_batch_that_uses_one_code_only(options, pixels, similarity):
    torch.manual_seed(0)
    model = SpaeModel(tiny_config(similarity.shape[1], **options)).train()
    with torch.no_grad():
        model.words.fill_(100.0)  # too far for anybody
        model.words[3] = 0.5
    similarity[:, 0] = 1.0
    found = spae_loss(model, pixels[:1].expand(3, -1, -1, -1), objective=Objective(entropy=0.1), similarity=similarity)
    found["loss"].backward()
    chosen = model.quantizer(model.encode(pixels)).indices if options else model(pixels).codes.flat_tokens
    assert (chosen == 3).all()
    assert found["loss"].isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


def test_start_without_words_keeps_features_about_as_large_as_words(model, pixels):
    found = wordless_loss(model, pixels)
    features = model.encode(pixels)
    assert float(found["size"]) == pytest.approx(float(features.square().mean() / model.table.square().mean()))
    torch.testing.assert_close(found["pixels"], (model.decode(features) - pixels).square().mean())


def test_perceptual_loss_compares_logits_at_the_classifiers_size():
    seen = []

    def classifier(pictures: torch.Tensor) -> torch.Tensor:
        seen.append(pictures.shape)
        return pictures.mean(dim=(2, 3))

    real, fake = torch.zeros(2, 3, 16, 16), torch.full((2, 3, 16, 16), 0.5, requires_grad=True)
    found = perceptual_loss(classifier, real, fake, size=32)
    found.backward()
    assert seen == [(2, 3, 32, 32)] * 2
    expected = sum((0.5 / std) ** 2 for std in (0.229, 0.224, 0.225)) / 3
    assert float(found) == pytest.approx(expected, rel=1e-4)
    assert fake.grad.abs().sum() > 0


def test_gradient_penalty_trains_the_discriminator():
    torch.manual_seed(0)
    discriminator = Discriminator(16, filters=4, multipliers=(1, 2))
    gradient_penalty(discriminator, torch.rand(2, 3, 16, 16)).backward()
    assert discriminator.conv_in.weight.grad.abs().sum() > 0
