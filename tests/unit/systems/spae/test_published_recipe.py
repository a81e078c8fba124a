"""Training as published, at a tiny size: pictures in folders, a discriminator, going on from what was saved."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, ResNetConfig, ResNetForImageClassification

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
def clip(tmp_path, tokenizer) -> str:
    """A CLIP of a few thousand weights that reads with the tiny tokenizer."""
    torch.manual_seed(3)
    layers = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**layers, "vocab_size": 381, "bos_token_id": 1, "eos_token_id": 2}
    vision = {**layers, "image_size": 24, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(tmp_path / "clip")
    tokenizer.save_pretrained(tmp_path / "clip")
    return str(tmp_path / "clip")


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


def test_table_is_built_again_and_not_kept_in_checkpoints(recipe):
    first, second = (recipe.build_model() for _ in range(2))
    kept = recipe.rebuilt(first)
    assert kept == {name for name, _ in first.named_buffers()} - {"mean_real", "mean_fake"}
    assert all(torch.equal(first.state_dict()[name], second.state_dict()[name]) for name in kept)


def test_clip_finds_candidates_for_every_layer(tmp_path, vocabulary, clip, batch):
    recipe = PublishedRecipe(language_model="unused", clip=clip, templates=("{}", "a {}"))
    recipe.vocabulary = vocabulary
    found = recipe._similarity(batch["pixel_values"])
    assert found.shape == (2, len(vocabulary.words))
    assert found.amax(dim=1).tolist() == [1.0, 1.0]
    assert found.amin(dim=1).tolist() == [0.0, 0.0]
    recipe.objective = Objective(alpha=0.0)
    assert recipe._similarity(batch["pixel_values"]) is None


def test_classifier_adds_a_perceptual_loss(recipe, batch, tmp_path):
    torch.manual_seed(4)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=5)
    ResNetForImageClassification(config).save_pretrained(tmp_path / "classifier")
    model = recipe.build_model().eval()
    found = []
    for classifier in ("", str(tmp_path / "classifier")):
        again = PublishedRecipe(language_model=recipe.language_model, classifier=classifier, normalized=True)
        again.objective = Objective(alpha=0.0, adversarial=0.0, perceptual=10.0)
        found.append(again.loss(model, batch)["loss"].item())
    assert found[1] > found[0]


def test_judges_that_are_not_there_or_lack_weights(clip, tmp_path):
    with pytest.raises(InputError, match=r"no CLIP \(clip\) to be read at .*nowhere"):
        _ = PublishedRecipe(clip=str(tmp_path / "nowhere")).guide
    with pytest.raises(InputError, match=r"no classifier \(classifier\) to be read at .*nowhere"):
        _ = PublishedRecipe(classifier=str(tmp_path / "nowhere")).judge
    weights = load_file(f"{clip}/model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, f"{clip}/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lacks text_projection\.weight"):
        _ = PublishedRecipe(clip=clip).guide


@pytest.mark.parametrize("size, pyramid", [(128, [1, 2, 4, 8, 16, 16]), (192, [1, 2, 4, 8, 24, 24])])
def test_pyramid_has_layers_that_divide_the_grid(size, pyramid, vocabulary):
    recipe = PublishedRecipe(image_size=size)
    recipe.vocabulary = vocabulary
    assert recipe.config.pyramid == pyramid
    assert recipe.config.thresholds == [0.98, 0.95, 0.9, 0.85, 0.8]


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
