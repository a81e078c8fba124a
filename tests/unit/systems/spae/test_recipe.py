"""The nano recipe: a start without words, then words; CLIP is asked only where it guides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from koine.systems.spae import recipe as room
from koine.systems.spae.objective import Objective
from koine.systems.spae.recipe import NanoRecipe
from koine.systems.spae.system import Spae
from koine.training import run
from koine.world.cache import RenderedScenes

WORDS = frozenset({"under", "red", "blue", "green", "cube", "ball", "cone", "table", "lamp", "metal", "rubber"})
SMALL: dict[str, Any] = {"filters": 16, "groups": 4}


def few(split: Any, count: int, *, kind: Any = "any", **_: Any) -> RenderedScenes:
    """Scenes whose pictures are noise: what is tested here doesn't look at them."""
    images = np.random.default_rng(count).integers(0, 256, (min(count, 6), 64, 64, 3), dtype=np.uint8)
    nothing = np.zeros((len(images), 5, 4), np.float32)
    instance, visible = np.zeros(images.shape[:3], np.int8), np.zeros(nothing.shape[:2], np.int32)
    return RenderedScenes(images, instance, nothing, nothing, visible, split, kind, 0)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "rendered_scenes", few)
    monkeypatch.setattr(room, "_read_words", lambda: WORDS)
    monkeypatch.setattr(room, "_captioned_words", lambda: WORDS - {"table"})


def made(**changes: Any) -> NanoRecipe:
    return NanoRecipe(**{"scenes": 4, "single_scenes": 6, "width": 8, "options": SMALL, **changes})


def test_both_stages_end_in_a_model_that_spells(tmp_path):
    finished = run(made(), tmp_path, overrides={"steps": "1", "batch_size": "4"}, quiet=True)
    spae = Spae.load(finished)
    assert set(spae.processor.words) == WORDS
    assert spae.model.table.norm(dim=1).tolist() == pytest.approx([4.0] * len(WORDS))
    kept = (tmp_path / "appearance" / "model.safetensors").read_bytes()
    assert kept != (finished / "model.safetensors").read_bytes()


def test_words_guide_that_are_true_of_things_and_in_captions():
    recipe = made()
    guided = {word for word, may in zip(recipe.vocabulary.words, recipe.guided, strict=True) if may}
    assert guided == WORDS - {"under", "table"}
    batch = recipe.data(recipe.stages[1]).batch(torch.arange(10), torch.Generator().manual_seed(0))
    assert batch["similarity"].shape == (10, len(WORDS))
    assert torch.isneginf(batch["similarity"][:, ~recipe.guided]).all()
    assert (batch["similarity"].amax(dim=1) == 1).all()


def test_without_guidance_clip_is_not_asked(monkeypatch):
    guided, unguided = made(), made(objective=Objective(alpha=0.0, prefix_share=0.5))
    first = guided.data(guided.stages[1]).batch(torch.arange(10), torch.Generator().manual_seed(0))
    monkeypatch.setattr(room.Clip, "load", None)
    second = unguided.data(unguided.stages[1]).batch(torch.arange(10), torch.Generator().manual_seed(0))
    assert first.keys() - second.keys() == {"similarity"}
    assert torch.equal(first["layers"], second["layers"])
    found = unguided.loss(unguided.build_model(), second)
    assert "commitment" in found and "meaning" not in found


def test_pictures_alone_are_for_the_start_without_words():
    recipe = made()
    batch = recipe.data(recipe.stages[0]).batch(torch.arange(4), torch.Generator())
    assert batch.keys() == {"pixel_values"}
    assert recipe.loss(recipe.build_model(), batch).keys() == {"loss", "pixels", "size"}
