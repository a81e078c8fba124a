"""What a prior is asked for when its drawings are judged: classes, or texts if that is what it was told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from koine.systems.vqvae import figures
from koine.systems.vqvae.model import VQVAEModel
from koine.systems.vqvae.processor import VQVAEProcessor
from koine.systems.vqvae.recipe import TextsRecipe, decode_all, nano_config
from koine.systems.vqvae.sampling import SamplingOptions
from koine.systems.vqvae.system import VQVAE
from koine.world.cache import RenderedScenes
from tests.unit.systems.vqvae.conftest import TINY

SMALL: dict[str, Any] = {name: TINY[name] for name in TINY if name not in ("image_size", "prior_labels")}
PAIRS = [("orange", "cube"), ("red", "ball")]


def built(**options: Any) -> VQVAE:
    model = VQVAEModel(nano_config(**SMALL, **options)).eval()
    return VQVAE(model, VQVAEProcessor(model.config))


def test_drawings_of_pairs_are_asked_for_by_classes() -> None:
    vqvae = built()
    drawn, asked = figures.drawings(vqvae, PAIRS, 2, SamplingOptions(), seed=3)
    assert drawn.shape == (4, 64, 64, 3) and asked.tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]
    classes = torch.tensor([[-1, 1, 0]] * 2 + [[-1, 0, 1]] * 2)
    [grids] = vqvae.model.sample(4, classes=classes, generator=torch.Generator().manual_seed(3))
    assert torch.equal(drawn, decode_all(vqvae.model, grids))


def test_drawings_of_pairs_are_asked_for_by_texts_if_the_prior_takes_these() -> None:
    vqvae = built(prior_labels=[], prior_text_width=128)
    drawn, _ = figures.drawings(vqvae, PAIRS, 2, SamplingOptions(), seed=3)
    text = vqvae.text_vectors(["an orange cube", "a red ball"]).repeat_interleave(2, dim=0)
    [grids] = vqvae.model.sample(4, text=text, generator=torch.Generator().manual_seed(3))
    assert torch.equal(drawn, decode_all(vqvae.model, grids))


def test_a_prior_of_texts_is_measured_untold_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def few(split: Any, count: int, *, kind: Any = "any", **_: Any) -> RenderedScenes:
        """Scenes whose pictures are noise."""
        images = np.random.default_rng(count).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
        nothing = np.zeros((6, 5, 4), np.float32)
        unseen = nothing[..., 0].astype(np.int32)
        return RenderedScenes(images, np.zeros(images.shape[:3], np.int8), nothing, nothing, unseen, split, kind, 0)

    for room in ("recipe", "figures"):
        monkeypatch.setattr(f"koine.systems.vqvae.{room}.rendered_scenes", few)
    monkeypatch.setattr(figures, "drawing_figures", lambda vqvae: {"judged": True})
    built(prior_labels=[], prior_text_width=128).model.save_pretrained(tmp_path)
    found = TextsRecipe().figures(tmp_path)
    untold, told = found["bits of a code, prior"], found["bits of a code, prior that is told a caption"]
    assert isinstance(untold, float) and untold > 0 and told != untold
    assert found["judged"] and found["codes"] == 12
