"""Training as published, at a tiny size: pictures in folders, a discriminator, going on from what was saved."""

from __future__ import annotations

import pytest
import torch

from koine.data.image_folders import open_together
from koine.errors import InputError
from koine.systems.spae.objective import Objective
from koine.systems.spae.published_recipe import AdversarialSpae, Photographs, PublishedRecipe
from koine.systems.spae.system import Spae
from tests.unit.systems.spae.conftest import TOKENIZER, tiny_config, tiny_language_model


@pytest.fixture
def recipe(tmp_path, vocabulary, monkeypatch) -> PublishedRecipe:
    """The recipe with a language model in a folder and a CLIP that likes every word alike."""
    folder = tmp_path / "language-model"
    tiny_language_model().save_pretrained(folder)
    (folder / "tokenizer.model").write_bytes((TOKENIZER / "tokenizer.model").read_bytes())
    made = PublishedRecipe(language_model=str(folder), classifier="", normalized=True)
    monkeypatch.setattr(
        PublishedRecipe, "config", property(lambda self: tiny_config(len(self.vocabulary.words), filters=8))
    )
    monkeypatch.setattr(PublishedRecipe, "_similarity", lambda self, pixels: torch.ones(len(pixels), 14))
    return made


@pytest.fixture
def photographs(tmp_path, images):
    folder = tmp_path / "photographs" / "dogs"
    folder.mkdir(parents=True)
    for place, image in enumerate(images):
        image.to_pil().resize((40, 20 + place)).save(folder / f"{place}.JPEG")
    return folder.parent


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    return {"pixel_values": torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))}


def test_both_sides_learn_in_one_step(recipe, batch):
    model = recipe.build_model()
    found = recipe.loss(model, batch)
    found["loss"].backward()
    assert {"pixels", "commitment", "meaning", "discriminator"} <= found.keys()
    for side in (model.spae.encoder, model.spae.decoder, model.discriminator):
        assert side.conv_in.weight.grad.abs().sum() > 0
    assert model.mean_real != 0


def test_reconstructions_do_not_teach_the_discriminator_to_be_kind(recipe, batch):
    model = recipe.build_model()
    pixels = batch["pixel_values"].requires_grad_(True)
    model.judge_kindly(pixels).sum().backward()
    assert pixels.grad.abs().sum() > 0
    assert model.discriminator.conv_in.weight.grad is None


def test_discriminator_does_not_teach_the_decoder(recipe, batch):
    model = recipe.build_model()
    fake = batch["pixel_values"].clone().requires_grad_(True)
    model.discriminate(batch["pixel_values"], fake, 1e-4).backward()
    assert fake.grad is None


def test_without_a_discriminator(recipe, batch):
    recipe.objective = Objective(adversarial=0.0)
    model = recipe.build_model()
    recipe.loss(model, batch)["loss"].backward()
    assert model.discriminator.conv_in.weight.grad is None


def test_what_is_saved_is_a_spae_and_training_goes_on_from_it(recipe, batch, images, tmp_path):
    model = recipe.build_model()
    (tmp_path / "out").mkdir()
    recipe.save(model, tmp_path / "out")
    assert Spae.load(tmp_path / "out").respond(images[0]).text
    torch.manual_seed(5)
    again = AdversarialSpae(recipe.config)
    recipe.load(again, tmp_path / "out")
    assert torch.equal(again.discriminator.out.weight, model.discriminator.out.weight)
    assert torch.equal(again.spae.decoder.conv_out.weight, model.spae.decoder.conv_out.weight)


class TestPhotographs:
    def test_squares_of_the_models_size_the_same_for_the_same_seed(self, photographs):
        data = Photographs(open_together([photographs, photographs / "dogs"]), 16)
        first, second = (
            data.batch(torch.arange(8), torch.Generator().manual_seed(2))["pixel_values"] for _ in range(2)
        )
        assert first.shape == (8, 3, 16, 16)
        assert torch.equal(first, second)
        assert 0 <= first.min() <= first.max() <= 1


def test_what_is_missing_is_said():
    with pytest.raises(InputError, match="whose words"):
        _ = PublishedRecipe().vocabulary
    with pytest.raises(InputError, match="nothing to train on"):
        PublishedRecipe().data(PublishedRecipe.stages[0])
    with pytest.raises(InputError, match="size of SPAE"):
        PublishedRecipe(size="XL")
