"""Recoloured pictures keep their shapes, and never show a held-out pair."""

import numpy as np
import pytest

from koine.data.world_phrases import scene_codes
from koine.data.world_recolouring import recolour, safe_turns
from koine.world.facts import VALUES
from koine.world.render import render
from koine.world.scene import sample_scene
from koine.world.things import HELD_OUT

GREY = np.array([0.299, 0.587, 0.114])


def hue(colour):
    """Degrees in the IQ plane of a picture's mean colour [3]."""
    _, i, q = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]]) @ colour
    return np.degrees(np.arctan2(q, i))


def test_without_saturation_a_picture_is_its_luma():
    image = render(sample_scene(3, n=3)).image
    grey = recolour(image[None], np.array([1.3]), np.array([0.0]))[0]
    assert (np.abs(grey - (image @ GREY)[..., None]) <= 1).all()


def test_no_turn_changes_nothing_and_a_turn_turns_the_hue():
    patch = np.full((1, 8, 8, 3), (180, 120, 110), np.uint8)
    assert (np.abs(recolour(patch, np.zeros(1), np.ones(1)).astype(int) - patch) <= 1).all()
    turned = recolour(patch, np.radians([70.0]), np.ones(1))[0, 0, 0]
    assert (hue(turned) - hue(patch[0, 0, 0]) - 70 + 180) % 360 - 180 == pytest.approx(0, abs=3)
    assert turned @ GREY == pytest.approx(patch[0, 0, 0] @ GREY, abs=1.5)


def test_turned_things_stay_away_from_the_held_out_colour_of_their_shape():
    rng = np.random.default_rng(0)
    forbidden = {shape: colour for colour, shape in HELD_OUT}
    hues = {}
    for colour in set(forbidden.values()):  # as the renderer shows them
        scene = sample_scene(0, kind="single").with_thing(0, colour=colour, material="rubber", shape="ball")
        view = render(scene)
        hues[colour] = hue(view.image[view.mask(0)].mean(axis=0))
    turned_any = 0
    for seed in range(60):
        scene = sample_scene(seed, n=3)
        view = render(scene)
        turn, safe = safe_turns(scene_codes(scene)[None], rng)
        if not safe[0]:
            continue
        turned_any += 1
        picture = recolour(view.image[None], turn, np.ones(1))[0]
        for index, thing in enumerate(scene.things):
            if view.visible[index] < 40 or thing.colour == "white" or thing.material != "rubber":
                continue
            apart = (hue(picture[view.mask(index)].mean(axis=0)) - hues[forbidden[thing.shape]] + 180) % 360 - 180
            assert abs(apart) > 12
    assert turned_any > 40


def test_codes_follow_the_vocabulary():
    scene = sample_scene(1, kind="single")
    (size, colour, material, shape), thing = scene_codes(scene)[0], scene.things[0]
    assert (VALUES["size"][size], VALUES["colour"][colour]) == (thing.size, thing.colour)
    assert (VALUES["material"][material], VALUES["shape"][shape]) == (thing.material, thing.shape)
