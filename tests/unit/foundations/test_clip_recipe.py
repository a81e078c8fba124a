"""The nano CLIP learns to see first; matching texts then leaves what Ferret reads as it is."""

import pytest
import torch
from transformers import CLIPModel

from koine.foundations.clip import pixel_values
from koine.foundations.clip_recipe import READOUTS_FILE, ClipRecipe, readout_figures
from koine.training import run
from koine.world.cache import rendered_scenes


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two tiny stages on a few scenes."""
    folder = tmp_path_factory.mktemp("clip")
    recipe = ClipRecipe(scenes=40, nested_scenes=10, single_scenes=10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("koine.foundations.clip_recipe.VALIDATION_SCENES", 20)
        run(recipe, folder, overrides={"steps": 3, "batch_size": 8}, quiet=True)
    return folder


def features(folder):
    """What Ferret reads: the patches before the last layer."""
    model = CLIPModel.from_pretrained(folder).eval()
    images = rendered_scenes("validation", 4).images
    with torch.inference_mode():
        return model.vision_model(pixel_values=pixel_values(images), output_hidden_states=True).hidden_states[-2]


def test_matching_leaves_the_patches_that_ferret_reads(trained):
    assert torch.equal(features(trained / "refine"), features(trained / "match"))


def test_matching_trains_the_text_tower(trained):
    before, after = (CLIPModel.from_pretrained(trained / stage).state_dict() for stage in ("refine", "match"))
    name = "text_model.encoder.layers.0.mlp.fc1.weight"
    assert not torch.equal(before[name], after[name])


def test_the_readouts_stay_beside_the_clip(trained):
    assert (trained / "see" / READOUTS_FILE).is_file()
    assert not any("readout" in name for name in CLIPModel.from_pretrained(trained / "match").state_dict())


def test_the_next_stage_goes_on_with_the_readouts(trained):
    recipe = ClipRecipe(scenes=40, nested_scenes=10, single_scenes=10)
    model = recipe.build_model()
    recipe.load(model, trained / "refine")
    again = recipe.build_model()
    recipe.load(again, trained / "match")
    for name, weight in model.patch_readouts.state_dict().items():
        assert torch.equal(weight, again.patch_readouts.state_dict()[name])


def test_readouts_are_scored_on_scenes(trained):
    recipe = ClipRecipe()
    model = recipe.build_model()
    recipe.load(model, trained / "see")
    found = readout_figures(model.eval(), rendered_scenes("validation", 100))
    assert set(found) == {"size", "colour", "material", "shape", "box IoU"}
    assert all(0 <= value <= 1 for value in found.values())
