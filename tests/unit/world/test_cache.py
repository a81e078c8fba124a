"""Rendered scenes from disk are those that the world draws."""

import numpy as np
import pytest

from koine.world import cache
from koine.world.render import render


def test_the_cache_gives_what_the_renderer_draws_whatever_the_number_of_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "SHARD", 6)
    alone = cache.rendered_scenes("test", 10, folder=tmp_path / "a", workers=1)
    shared = cache.rendered_scenes("test", 10, folder=tmp_path / "b", workers=2)
    assert len(alone) == 10
    assert np.array_equal(alone.images, shared.images)
    for scene, view in alone:
        drawn = render(scene)
        assert np.array_equal(view.image, drawn.image) and np.array_equal(view.instance, drawn.instance)
        assert np.array_equal(view.boxes, drawn.boxes) and np.array_equal(view.amodal_boxes, drawn.amodal_boxes)


def test_a_second_call_reads_instead_of_drawing(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "SHARD", 4)
    first = cache.rendered_scenes("test", 4, folder=tmp_path, workers=1)
    monkeypatch.setattr(cache, "render", None)
    assert np.array_equal(cache.rendered_scenes("test", 3, folder=tmp_path, workers=1).images, first.images[:3])


def test_first_seeds_start_a_shard(tmp_path):
    with pytest.raises(ValueError, match="multiple"):
        cache.rendered_scenes("test", 4, first_seed=3, folder=tmp_path)
