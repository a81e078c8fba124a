"""The claims' arms and figures, on untrained tiny models: what is measured, not how good it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from koine.systems.spae import claims
from koine.systems.spae.claims import ARMS, CLAIMS, FEW_SHOT, READINGS, few_shot, layer_errors, word_figures
from koine.systems.spae.config import SpaeConfig
from koine.systems.spae.model import SpaeModel
from koine.world.cache import RenderedScenes
from koine.world.render import render
from koine.world.scene import Kind, sample_scene
from tests.unit.systems.spae.conftest import tiny_config


def small_scenes(count: int, kind: Kind = "any") -> RenderedScenes:
    """Scenes at 16 pixels."""
    views = [render(sample_scene(seed, split="test", kind=kind), 16) for seed in range(count)]
    boxes = np.zeros((count, 5, 4), np.float32)
    visible = np.zeros((count, 5), np.int32)
    for place, view in enumerate(views):
        boxes[place, : len(view.boxes)] = view.boxes
        visible[place, : len(view.visible)] = view.visible
    return RenderedScenes(
        images=np.stack([view.image for view in views]),
        instance=np.stack([view.instance for view in views]).astype(np.int8),
        boxes=boxes,
        amodal_boxes=boxes,
        visible=visible,
        split="test",
        kind=kind,
        first_seed=0,
    )


@pytest.fixture(scope="module")
def scenes() -> RenderedScenes:
    return small_scenes(4)


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_compares_what_is_measured_of_its_arms(name, model, scenes):
    claim = CLAIMS[name]
    of_pixels = layer_errors(model, scenes.images[:1]).keys()
    of_words = {"true words, 5 tokens", "true words, 21 tokens", "relative similarity, 5 tokens", *FEW_SHOT}
    for arm in (claim.ours, claim.baseline):
        if arm in READINGS:
            assert set(claim.metrics) == READINGS[arm].metrics.keys()
            assert set(READINGS[arm].metrics.values()) <= of_pixels
        else:
            assert set(claim.metrics) <= of_pixels | (of_words if ARMS[arm].words_judged else set())


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_is_a_network(name):
    with torch.device("meta"):
        SpaeModel(SpaeConfig.nano(50, **{"filters": claims.FILTERS, **ARMS[name].options}))


def test_errors_by_layers(model, scenes):
    found = layer_errors(model, scenes.images, batch_size=3)
    assert [name for name in found if name[6].isdigit()] == ["psnr, 1 layers", "psnr, 2 layers", "psnr, 3 layers"]
    assert found["psnr, all layers"] == found["psnr, 3 layers"]
    assert found["psnr, upper half"] == found["psnr, 1 layers"]
    assert layer_errors(model, scenes.images, batch_size=4) == pytest.approx(found, rel=1e-4)


def test_psnr_of_a_perfect_and_of_a_grey_picture(scenes):
    wanted = torch.zeros(1, 3, 2, 2)
    assert float(claims._psnr(wanted + 0.1, wanted)) == pytest.approx(20.0)
    assert float(claims._psnr(wanted - 5, wanted)) == pytest.approx(100.0)  # colours below black are black


def test_learnt_codebooks_have_one_figure_for_pixels(scenes):
    model = SpaeModel(tiny_config(codebook="learnt", pyramid=(4,), thresholds=())).eval()
    assert layer_errors(model, scenes.images).keys() == {"psnr, all layers", "feature error"}


def test_a_word_counts_if_it_is_true(spae, scenes, monkeypatch):
    """A codebook whose words are all true, or all false, whatever is chosen."""
    monkeypatch.setattr(claims.Clip, "load", classmethod(lambda cls: _NoClip()))
    monkeypatch.setattr(claims, "content_words", lambda: frozenset(spae.processor.words))
    for true, expected in ((frozenset(spae.processor.words), 1.0), (frozenset(), 0.0)):
        monkeypatch.setattr(claims, "true_words", lambda scene, view, true=true: true)
        found = word_figures(spae, scenes)
        assert found["true words, 5 tokens"] == found["true words, 21 tokens"] == expected


def test_a_name_counts_if_it_is_the_querys(spae, monkeypatch):
    """A language model that always knows, and one that never does."""
    monkeypatch.setattr(claims, "rendered_scenes", lambda split, count, kind: small_scenes(120, kind))
    monkeypatch.setattr(claims, "EPISODES", 5)
    for wrong, expected in (("", 1.0), ("not ", 0.0)):
        answers = lambda episodes, *_, wrong=wrong, **__: [wrong + episode.answer for episode in episodes]  # noqa: E731
        monkeypatch.setattr(spae, "classify", answers)
        assert few_shot(spae, "test", FEW_SHOT) == dict.fromkeys(FEW_SHOT, expected)


class _NoClip:
    def embed_pixels(self, images):
        return torch.nn.functional.normalize(torch.rand(len(images), 4), dim=-1)

    def embed_texts(self, texts):
        return torch.nn.functional.normalize(torch.rand(len(texts), 4), dim=-1)
