"""The judge of captions, on a scene built by hand and on what the world writes itself."""

from __future__ import annotations

import numpy as np
import pytest

from koine.evaluation.world_captions import judge
from koine.world.language import STYLES, caption
from koine.world.observation import Observation
from koine.world.render import render
from koine.world.scene import Scene, sample_scene
from koine.world.things import Thing


@pytest.fixture(scope="module")
def shown() -> tuple[Scene, Observation]:
    """A red cube on the left, a blue ball on the right, a small white cone on the cube; wood in daylight."""
    things = (
        Thing("cube", "red", "large", "metal", (-0.08, 0.0, 0.0352)),
        Thing("ball", "blue", "large", "rubber", (0.08, 0.0, 0.044)),
        Thing("cone", "white", "small", "wood", (-0.08, 0.0, 0.095), on=0),
    )
    scene = Scene(things)
    return scene, render(scene, 64)


@pytest.mark.parametrize(
    "text",
    [
        "a red cube",
        "A photo of a red cube and a blue ball.",
        "there is a large blue rubber ball to the right of a large red metal cube",
        "a white cone on top of a red cube",
        "two large things",
        "a red thing left of a ball on a wooden table in daylight",
        "we see a ball, a cube and a cone by day",
    ],
)
def test_true_captions(shown: tuple[Scene, Observation], text: str) -> None:
    assert judge(text, *shown).true


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a green cube", "no green cube"),
        ("a red ball", "no red ball"),
        ("two balls", "too many"),
        ("a red cube and a red cube", "too many things"),
        ("a red cube to the right of a blue ball", "the relations don't hold"),
        ("a blue ball on a red cube", "the relations don't hold"),
        ("a red cube on a marble table", "wood, not marble"),
        ("a red cube in the evening", "daylight, not evening"),
        ("a red cube and", "can't be read"),
        ("cube red a", "can't be read"),
        ("an empty table", "the table isn't empty"),
        ("", "can't be read"),
    ],
)
def test_false_captions(shown: tuple[Scene, Observation], text: str, reason: str) -> None:
    verdict = judge(text, *shown)
    assert not verdict.true and not verdict.complete and verdict.reason == reason


def test_complete_captions_name_all_things(shown: tuple[Scene, Observation]) -> None:
    assert not judge("a red cube and a ball", *shown).complete
    assert judge("a white cone on a red cube and a ball", *shown).complete


def test_what_the_world_writes_is_true_of_its_scene_only() -> None:
    rng, elsewhere = np.random.default_rng(0), []
    scenes = [sample_scene(seed, split="test") for seed in range(40)]
    pairs = [(scene, render(scene, 64)) for scene in scenes]
    for place, pair in enumerate(pairs):
        for style in STYLES:
            text = caption(*pair, rng, style)
            assert judge(text, *pair).true, text
            if style != "short":
                assert judge(text, *pair).complete, text
                elsewhere.append(judge(text, *pairs[place - 1]).true)
    assert sum(elsewhere) / len(elsewhere) < 0.1
