"""The nano Ferret's training data are what its stages ask for."""

from koine.systems.ferret.recipe import NanoRecipe, WorldData


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
