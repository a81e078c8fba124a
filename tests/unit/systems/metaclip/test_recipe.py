"""Training: the world's small web is curated as the real one is, and the online sampler keeps what it should."""

from __future__ import annotations

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
from koine.systems.metaclip.published_recipe import CuratedPictures, PublishedRecipe
from koine.systems.metaclip.recipe import NanoRecipe, WebPairs
from koine.systems.metaclip.world_web import CuratedPairs, Pool, WebOptions, curate_pool, entries, gather
from koine.training import run

pytestmark = pytest.mark.skipif(not TOKENIZER.is_dir(), reason="the nano tokenizer is not in this build")
SMALL = WebOptions(scenes=300, single_scenes=700)


@pytest.fixture(autouse=True)
def small_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOINE_CACHE", str(tmp_path_factory.getbasetemp() / "koine-cache"))
    monkeypatch.setattr(world_web, "SOURCE_SCENES", 500)


def test_the_web_is_long_tailed_and_noisy() -> None:
    pool = gather(SMALL)
    assert len(pool.texts) == 3 * len(pool.images) == len(pool.image_of)
    assert 100 < len(pool.images) < 1000
    texts = pool.texts.to_pylist()
    mentions = [sum(name in text for text in texts) for name in ("green ring", "cyan cube", "gray cylinder")]
    assert mentions[0] > mentions[2]


def test_entries_come_from_clean_captions_and_names() -> None:
    listed = entries()
    assert {"red", "cube", "a"} <= set(listed.entries)
    assert {"u", "b", "t"} <= set(listed.sources)


def test_each_step_of_curation_leaves_fewer_pairs() -> None:
    pool = gather(SMALL)
    sizes = {
        subset: len(curate_pool(pool, subset, threshold=20, seed=0).pairs)
        for subset in ("raw", "matched", "balanced", "online")
    }
    assert sizes["raw"] > sizes["matched"] == sizes["online"] > sizes["balanced"] > 0
    matched = curate_pool(pool, "matched", threshold=20, seed=0).pairs
    assert (Matcher.build(entries().entries).match(pool.texts.take(pa.array(matched))).lengths > 0).all()
    online = curate_pool(pool, "online", threshold=20, seed=0).probabilities
    assert online.min() > 0 and online.max() == 1 and online.sum() == pytest.approx(sizes["balanced"], rel=0.1)


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
    recipe = NanoRecipe(web=SMALL, subset=subset, threshold=50)
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
