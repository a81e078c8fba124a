"""Before any training the nano Ferret's patches lie near the words for what they show."""

import pytest
import torch

from koine.data.world_phrases import attribute_codes
from koine.foundations.patch_supervision import thing_pixels
from koine.systems.ferret.batches import normalize
from koine.systems.ferret.recipe import NanoRecipe
from koine.world.cache import rendered_scenes
from koine.world.facts import ATTRIBUTES, VALUES


@pytest.fixture(scope="module")
def recipe():
    return NanoRecipe()


@pytest.fixture(scope="module")
def model(recipe):
    return recipe.build_model().eval()


@torch.inference_mode()
def test_patches_of_unseen_scenes_are_nearest_to_the_words_for_their_things(recipe, model):
    scenes = rendered_scenes("validation", 100)
    codes = torch.from_numpy(attribute_codes(scenes))
    pixels = thing_pixels(torch.tensor(scenes.instance), codes[..., 0] >= 0, model.config.grid)
    most, owner = pixels.max(dim=-1)
    image, patch = torch.nonzero(most > 40, as_tuple=True)  # full of one thing
    projected = model.projector(model.encode_images(normalize(torch.tensor(scenes.images))))[image, patch]
    shown = codes[image, owner[image, patch]]
    for place, name in enumerate(ATTRIBUTES):
        ids = [recipe.processor.tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in VALUES[name]]
        words = model.get_input_embeddings()(torch.tensor(ids))
        nearest = ((projected - projected.mean(dim=0)) @ (words - words.mean(dim=0)).T).argmax(dim=1)
        assert (nearest == shown[:, place]).float().mean() > 1.5 / len(ids), name


@torch.inference_mode()
def test_patches_are_as_large_as_words(model):
    scenes = rendered_scenes("validation", 20)
    patches = model.project_images(model.encode_images(normalize(torch.tensor(scenes.images))))
    words = model.get_input_embeddings().weight
    assert 0.5 < patches.norm(dim=-1).mean() / words.norm(dim=-1).mean() < 6


@torch.inference_mode()
def test_places_keep_their_share_of_a_patch(model):
    places = model.image_positions.norm(dim=1)
    assert places.mean().item() == pytest.approx(0.6, abs=0.01)
    assert torch.cdist(model.image_positions, model.image_positions).fill_diagonal_(1).min() > 0.05


def test_the_start_depends_on_the_seed_alone(recipe, model):
    again = NanoRecipe().build_model()
    assert torch.equal(again.projector.weight, model.projector.weight)
