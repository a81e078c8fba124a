"""Training: the world's small web is curated as the real one is, and the online sampler keeps what it should."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image as pil

from koine.curation.matching import Matcher
from koine.errors import InputError
from koine.foundations.language_model_recipe import NANO_WEIGHTS as TOKENIZER
from koine.foundations.tokenizer import load_tokenizer
from koine.systems.metaclip import world_web
from koine.systems.metaclip.config import NANO_TEXT_LENGTH
from koine.systems.metaclip.published_recipe import CuratedPictures, PublishedRecipe
from koine.systems.metaclip.recipe import NanoRecipe, WebPairs
from koine.systems.metaclip.world_web import (
    CuratedPairs,
    Part,
    Pool,
    WebOptions,
    counts_of,
    curate,
    curate_pool,
    entries,
    free_standing,
    gather,
    only,
    photographs,
)
from koine.training import run
from koine.world.cache import rendered_scenes
from koine.world.render import render
from koine.world.scene import sample_scene

pytestmark = pytest.mark.skipif(not TOKENIZER.is_dir(), reason="the nano tokenizer is not in this build")
SMALL = WebOptions(scenes=1000, side=32)
GERMAN = WebOptions(scenes=500, side=32, language="de")


@pytest.fixture(autouse=True)
def small_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOINE_CACHE", str(tmp_path_factory.getbasetemp() / "koine-cache"))
    monkeypatch.setattr(world_web, "SOURCE_SCENES", 1000)


def test_the_web_is_long_tailed_and_noisy() -> None:
    pool = gather(SMALL)
    assert len(pool.texts) == 3 * len(pool.images) == len(pool.image_of)
    assert pool.images.shape == (len(pool.images), 32, 32, 3)
    assert 100 < len(pool.images) < 1000
    texts = pool.texts.to_pylist()
    mentions = [sum(name in text for text in texts) for name in ("green ring", "cyan cube", "gray cylinder")]
    assert mentions[0] > mentions[2]
    assert any("IMG_" in text or "DSC" in text for text in texts)


def test_the_german_web_is_german() -> None:
    texts = gather(GERMAN).texts.to_pylist()
    assert sum("ein" in text.lower() for text in texts) > 0.5 * len(texts)
    assert not any(" a " in f" {text} " for text in texts)
    assert {"Würfel", "roter"} <= set(entries("de").entries)


def test_entries_come_from_clean_captions_and_names() -> None:
    listed = entries()
    assert {"red", "cube", "a"} <= set(listed.entries)
    assert {"u", "b", "t"} <= set(listed.sources)


def test_a_photograph_shows_the_thing_in_its_middle() -> None:
    scenes = rendered_scenes("train", 200)
    for place in range(50):
        scene = scenes.scene(place)
        view = scenes.observation(place, len(scene.things))
        for index in free_standing(scene, view):
            # the mask in place of the picture: how much of the cutting is the thing
            mask = (view.mask(index)[..., None] * np.full(3, 255)).astype(np.uint8)
            cut = photographs(mask[None], np.zeros(1, int), view.boxes[[index]], np.full(1, 1.2), side=32)[0]
            assert cut.mean() / 255 > 0.8 * min(1.0, view.visible[index] / _square(view.boxes[index]) ** 2)


def _square(box: np.ndarray) -> float:
    return max(12.0, 1.2 * float(max(box[2] - box[0], box[3] - box[1])))


def test_a_whole_scene_is_its_own_photograph() -> None:
    scenes = rendered_scenes("train", 200)
    every = np.arange(20)
    cut = photographs(scenes.images, every, scenes.boxes[:20, 0], np.full(20, np.inf), side=64)
    assert (cut == scenes.images[:20]).all()


def test_things_that_touch_others_or_hide_are_not_photographed() -> None:
    scene = sample_scene(4, kind="nested", n=2)
    assert free_standing(scene, render(scene, 64)) == []
    alone = sample_scene(4, kind="single")
    view = render(alone, 64)
    assert free_standing(alone, view) == [0]
    cut_off = view.amodal_boxes + np.array([[0, 0, 9, 0]], np.float32)
    assert free_standing(alone, replace(view, amodal_boxes=cut_off)) == []


def test_a_thing_alone_is_a_scene_of_its_own() -> None:
    scene = sample_scene(7, kind="scatter", n=3)
    view = render(scene, 64)
    for index in range(3):
        single, seen = only(scene, view, index)
        assert single.things == (scene.things[index],)
        assert (seen.boxes == view.boxes[[index]]).all() and seen.visible.tolist() == [view.visible[index]]


def test_each_step_of_curation_leaves_fewer_pairs() -> None:
    pool = gather(SMALL)
    sizes = {
        subset: len(curate_pool(pool, subset, threshold=5, seed=0).pairs)
        for subset in ("raw", "matched", "balanced", "online")
    }
    assert sizes["raw"] > sizes["matched"] == sizes["online"] > sizes["balanced"] > 0
    matched = curate_pool(pool, "matched", threshold=5, seed=0).pairs
    assert (Matcher.build(entries().entries).match(pool.texts.take(pa.array(matched))).lengths > 0).all()
    online = curate_pool(pool, "online", threshold=5, seed=0).probabilities
    assert online.min() > 0 and online.max() == 1 and online.sum() == pytest.approx(sizes["balanced"], rel=0.1)


def test_two_webs_become_one_training_set() -> None:
    pool, curated = curate([Part(SMALL, "matched", 5), Part(GERMAN, "balanced", 3)], seed=0)
    english, german = gather(SMALL), gather(GERMAN)
    assert len(pool.images) == len(english.images) + len(german.images)
    of_english = curate_pool(english, "matched", threshold=5, seed=0).pairs
    of_german = curate_pool(german, "balanced", threshold=3, seed=0).pairs
    assert len(curated.pairs) == len(of_english) + len(of_german)
    last = int(curated.pairs[-1])
    assert pool.texts[last].as_py() == german.texts[int(of_german[-1])].as_py()
    assert (pool.images[pool.image_of[last]] == german.images[german.image_of[of_german[-1]]]).all()
    assert counts_of(german).sum() > 0


def test_texts_that_are_too_long_keep_their_end() -> None:
    texts = pa.array(["a red cube " * 30, "a ball"], pa.large_string())
    pool = Pool(np.zeros((2, 8, 8, 3), np.uint8), np.arange(2), texts, texts)
    data = WebPairs(pool, CuratedPairs(np.arange(2), np.ones(2)), load_tokenizer(TOKENIZER), online=False)
    assert data.input_ids.shape == (2, NANO_TEXT_LENGTH)
    assert (data.input_ids == 3).sum(dim=1).tolist() == [1, 1] and data.input_ids[0, -1] == 3


def test_the_online_sampler_draws_pictures_evenly_and_texts_by_their_probability() -> None:
    images = np.zeros((3, 64, 64, 3), np.uint8)
    texts = pa.array(["one", "two", "three", "four"])
    pool = Pool(images, np.array([0, 0, 1, 2]), texts, texts)
    curated = CuratedPairs(np.arange(4), np.array([1.0, 0.5, 0.25, 0.0]))
    data = WebPairs(pool, curated, load_tokenizer(TOKENIZER), online=True)
    drawn = data._drawn(20_000, torch.Generator().manual_seed(0))
    shares = torch.bincount(drawn, minlength=4) / 20_000
    # Picture 0 lets through (1 + 0.5) / 2, picture 1 a quarter, picture 2 nothing.
    assert shares.tolist() == pytest.approx([0.5, 0.25, 0.25, 0.0], abs=0.015)
    batch = data.batch(torch.arange(4), torch.Generator().manual_seed(1))
    assert batch["pixel_values"].shape == (4, 3, 64, 64) and len(batch["input_ids"]) == 4


@pytest.mark.slow
@pytest.mark.parametrize("subset", ["balanced", "online"])
def test_a_short_training_learns(subset: world_web.Subset, tmp_path: Path) -> None:
    recipe = NanoRecipe(web=SMALL, subset=subset, threshold=50, image_size=32, width=64, layers=1)
    recipe.evaluate = lambda model, stage: {}  # type: ignore[method-assign]
    overrides = {"steps": 12, "batch_size": 32, "log_every": 2, "checkpoint_every": 100}
    folder = run(recipe, tmp_path / "run", overrides=overrides, quiet=True)
    assert (folder / "model.safetensors").is_file() and (folder / "tokenizer.model").is_file()


def test_published_settings() -> None:
    (stage,) = PublishedRecipe().stages
    assert (stage.steps, stage.batch_size, stage.learning_rate) == (390_625, 32_768, 5e-4)
    assert round(stage.warmup * stage.steps) == 2000
    (huge,) = PublishedRecipe(size="ViT-H-14", worldwide=True).stages
    assert (huge.learning_rate, huge.betas, huge.weight_decay) == (4e-4, (0.9, 0.95), 0.1)
    with pytest.raises(InputError, match="ViT-B-32"):
        PublishedRecipe(size="ViT-B-33")
    with pytest.raises(InputError, match="--data"):
        PublishedRecipe().data(stage)


class CountingTokenizer:
    """Stands for a real tokenizer, none of which is at hand offline: one token per word."""

    def __call__(self, texts: list[str], **options: object) -> dict[str, torch.Tensor]:
        ids = torch.zeros(len(texts), 77, dtype=torch.int64)
        for row, text in enumerate(texts):
            ids[row, 0] = len(text.split())
        return {"input_ids": ids}


def test_curated_files_become_batches(tmp_path: Path) -> None:
    for number in range(3):
        pil.new("RGB", (40 + number, 30), (number * 80, 0, 0)).save(tmp_path / f"{number}.png")
    table = {"image": ["2.png", "0.png", "1.png", "0.png"], "text": ["a b c", "a", "a b", "a a a a"]}
    pq.write_table(pa.table(table), tmp_path / "pairs.parquet")
    data = CuratedPictures((str(tmp_path / "pairs.parquet"),), str(tmp_path), CountingTokenizer(), image_size=16)
    assert len(data) == 3
    seen = set()
    for seed in range(10):
        batch = data.batch(torch.tensor([0, 1, 2]), torch.Generator().manual_seed(seed))
        assert batch["pixel_values"].shape == (3, 3, 16, 16)
        seen.add(int(batch["input_ids"][0, 0]))
        assert batch["input_ids"][1:, 0].tolist() == [2, 3]
        red = batch["pixel_values"][:, 0].mean(dim=(1, 2))
        assert red[0] < red[1] < red[2]
    assert seen == {1, 4}  # both texts of the first picture are drawn
    chances = [1.0, 0.0, 1.0, 0.0]
    pq.write_table(pa.table({**table, "keep_probability": chances}), tmp_path / "online.parquet")
    online = CuratedPictures((str(tmp_path / "online.parquet"),), str(tmp_path), CountingTokenizer(), image_size=16)
    words = {
        int(count)
        for seed in range(10)
        for count in online.batch(torch.tensor([0, 0]), torch.Generator().manual_seed(seed))["input_ids"][:, 0]
    }
    assert words == {2, 3}  # the first picture is always dropped and another drawn


def test_files_without_pictures(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "pairs.parquet")
    with pytest.raises(InputError, match="no column 'image'"):
        CuratedPictures((str(tmp_path / "pairs.parquet"),), None, CountingTokenizer(), image_size=16)
    with pytest.raises(InputError, match=r"none\.parquet"):
        CuratedPictures((str(tmp_path / "none.parquet"),), None, CountingTokenizer(), image_size=16)
