"""Scenes with their pictures, drawn once for all the tests of texts."""

from __future__ import annotations

import pytest

from koine.world.render import Observation, render
from koine.world.scene import Scene, sample_scene

Observed = list[tuple[Scene, Observation]]


def observed(split: str, count: int) -> Observed:
    scenes = [sample_scene(seed, split=split) for seed in range(count)]  # type: ignore[arg-type]
    return [(scene, render(scene, 64, antialias="none", shadows=False)) for scene in scenes]


@pytest.fixture(scope="session")
def training() -> Observed:
    """300 scenes of the training split."""
    return observed("train", 300)


@pytest.fixture(scope="session")
def heldout() -> Observed:
    """60 scenes that show held-out pairs."""
    return observed("heldout", 60)
