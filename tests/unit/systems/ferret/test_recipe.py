"""The nano Ferret's training data are what its stages ask for."""

import torch

import koine.systems.ferret.recipe as recipe_module
from koine.systems.ferret.recipe import NanoRecipe, WorldData
from koine.training.parameters import freeze


def pictured(data):
    return [int(example.id.split("/")[1]) for example in data.examples()]


def test_scenes_with_too_few_or_too_many_things_are_left_out():
    def seeds(**limits):
        return pictured(WorldData(scenes=200, nested_scenes=0, single_scenes=0, **limits))

    every, few, crowded = seeds(), seeds(most_things=3), seeds(least_things=4)
    assert sorted(few + crowded) == every
    assert few and crowded


def test_single_things_stay_where_crowds_are_asked_for():
    data = WorldData(scenes=0, nested_scenes=0, single_scenes=50, least_things=4)
    assert len(pictured(data)) == 50


def test_each_stage_learns_from_conversations_of_its_own():
    recipe = NanoRecipe()
    sets = [recipe.data_set_of(stage) for stage in recipe.stages]
    assert [stage.name for stage in recipe.stages] == list(recipe.plan)
    assert len({repr(data) for data in sets}) == len(sets)


def test_the_last_stages_train_the_tower_whose_features_others_keep(monkeypatch):
    monkeypatch.setattr(recipe_module, "STARTING_SCENES", 100)
    few = WorldData(scenes=20, nested_scenes=0, single_scenes=0, turns=1)
    recipe = NanoRecipe(polishing_set=few, sharpening_set=few, pointing_set=few, settling_set=few, closing_set=few)
    polish, *last = recipe.stages[-5:]
    assert [stage.name for stage in last] == ["sharpen", "point", "settle", "close"]
    model, gradients = recipe.build_model(), {}
    for stage in (*last, polish):
        batch = recipe.data(stage).batch(torch.arange(4), torch.Generator().manual_seed(0))
        assert ("pixel_values" in batch) == (stage in last) and ("vision_features" in batch) == (stage is polish)
        freeze(model, stage)
        recipe.loss(model, batch)["loss"].backward()
        gradients[stage.name] = [weight.grad for weight in model.vision_tower.encoder.parameters()]
        model.zero_grad(set_to_none=True)
    for stage in last:
        assert all(gradient is not None and gradient.any() for gradient in gradients[stage.name])
    assert not any(gradient is not None for gradient in gradients["polish"])
