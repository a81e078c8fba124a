"""Words that are true of a scene."""

from __future__ import annotations

from koine.data.world_words import content_words, true_words, word_counts, words_of
from koine.world.render import render
from koine.world.scene import sample_scene


def test_words_are_letters_only_in_lower_case():
    assert words_of("The red Würfel, at [12, 40].") == ["the", "red", "würfel", "at"]


def test_counts_over_texts():
    assert word_counts(["a red cube", "a ball"])["a"] == 2


def test_true_words_are_those_of_things_table_and_light():
    for seed in range(20):
        scene = sample_scene(seed, split="test", kind="single")
        thing = scene.things[0]
        true = true_words(scene, render(scene, 64))
        assert {thing.colour, thing.shape, thing.size, thing.material, "one"} <= true
        others = {"red", "blue", "green", "yellow"} - {thing.colour}
        assert not others & true
        assert true <= content_words()


def test_empty_words_say_nothing():
    assert not {"the", "a", "on", "in"} & content_words()
