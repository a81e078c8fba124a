"""What the nano BEiT-3 learns from, and that all its stages run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from koine.data.nlvr import examples
from koine.evaluation.world_captions import judge
from koine.foundations.clip import NANO_WEIGHTS
from koine.images import encode_png
from koine.systems.beit3 import recipe as recipe_module
from koine.systems.beit3 import world_tasks, world_texts
from koine.systems.beit3.nlvr_recipe import NlvrRecipe, judged
from koine.systems.beit3.packing import encode_pictures, encode_placeholders
from koine.systems.beit3.pretraining import Masking
from koine.systems.beit3.recipe import NanoRecipe, visual_tokenizer
from koine.systems.beit3.system import Beit3
from koine.systems.beit3.tokenizer import Beit3Tokenizer
from koine.systems.beit3.visual_tokenizer_recipe import VisualTokenizerRecipe
from koine.systems.beit3.world_tasks import MaskedWorld, WorldTasks
from koine.systems.beit3.world_texts import WorldData, common_answers, said_in
from koine.training import run
from koine.world import cache

from . import speaking

pytestmark = pytest.mark.skipif(not NANO_WEIGHTS.is_dir(), reason="the nano CLIP is not in this build")
DATA = WorldData(scenes=60, captions=1, descriptions=1, rounds=1)


@pytest.fixture(scope="module", autouse=True)
def small_world(tmp_path_factory: pytest.TempPathFactory) -> object:
    """A cache of its own with short shards, few scenes behind the lists, and a visual tokenizer of a few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOINE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(cache, "SHARD", 60)
        patch.setattr(world_texts, "SHARD", 60)
        patch.setattr(world_texts, "ANSWER_SCENES", 60)
        patch.setattr(recipe_module, "TOKENIZER_SCENES", 60)
        patch.setattr(recipe_module, "FITTED_PICTURES", 16)
        patch.setattr(recipe_module, "PIECES", 300)
        patch.setattr(recipe_module, "NANO_WEIGHTS", Path("not shipped"))
        few = tuple(replace(stage, steps=2, batch_size=8) for stage in VisualTokenizerRecipe.stages)
        patch.setattr(VisualTokenizerRecipe, "stages", few)
        patch.setattr(VisualTokenizerRecipe, "scenes", 60, raising=False)
        patch.setattr(VisualTokenizerRecipe, "evaluate", lambda self, model, stage: {})
        patch.setattr(VisualTokenizerRecipe.__init__, "__defaults__", (60, "features", 0))
        for remembered in (world_texts.tokenized, world_tasks._images, common_answers):
            remembered.cache_clear()
        yield
        for remembered in (world_texts.tokenized, world_tasks._images, common_answers):
            remembered.cache_clear()


@pytest.fixture(scope="module")
def tokenizer(small_world: object) -> Beit3Tokenizer:
    return recipe_module.nano_tokenizer()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_answers_are_those_that_are_common(tokenizer: Beit3Tokenizer) -> None:
    answers = common_answers()
    assert {"yes", "no", "one", "red", "cube", "wood", "table"} <= set(answers)
    asked = [answer for here in said_in(WorldData(60, 0, 0), 0).texts for _, answer in here.questions]
    assert all(asked.count(answer) >= world_texts.RAREST_ANSWER for answer in answers)


def test_a_batch_belongs_together(tokenizer: Beit3Tokenizer) -> None:
    answers = common_answers()
    tasks = WorldTasks(DATA, tokenizer, answers)
    batch = tasks.batch(torch.tensor([3, 11]), generator())
    said = said_in(DATA, 0)
    assert torch.equal(batch["pixel_values"], world_tasks.normalized(tasks.images[[6, 22, 7, 23]]))
    for place, scene in enumerate((6, 22, 7, 23)):
        here = said.texts[scene]
        assert tokenizer.decode(batch["captions"][place, 0].tolist()) in here.captions
        assert tokenizer.decode(batch["descriptions"][place].tolist()) in here.descriptions
        right = dict(here.questions) | {text: "yes" if true else "no" for text, true in here.statements}
        for kind in ("short", "long"):
            for ids, label in zip(batch[f"{kind}_questions"][place], batch[f"{kind}_answers"][place], strict=True):
                answer = right[tokenizer.decode(ids.tolist())]
                assert label == (answers.index(answer) if answer in answers else -100)
    for place, pair in enumerate((3, 11)):
        for ids, label in zip(batch["statements"][place], batch["labels"][place], strict=True):
            assert (tokenizer.decode(ids.tolist()), bool(label)) in said.pairs[pair]


def test_questions_are_sorted_by_length_so_that_little_is_padding(tokenizer: Beit3Tokenizer) -> None:
    batch = WorldTasks(DATA, tokenizer, common_answers()).batch(torch.arange(30), generator())
    assert batch["short_questions"].shape[-1] < batch["long_questions"].shape[-1]


def test_a_batch_has_what_its_tasks_need(tokenizer: Beit3Tokenizer) -> None:
    tasks = WorldTasks(DATA, tokenizer, common_answers(), tasks=("retrieval",))
    assert set(tasks.batch(torch.tensor([0]), generator())) == {"pixel_values", "descriptions"}


def test_blocks_are_drawn_apart_and_make_one_set(tokenizer: Beit3Tokenizer) -> None:
    data = replace(DATA, scenes=150, most_things=3)
    tasks = WorldTasks(data, tokenizer, common_answers())
    blocks = [said_in(data, block) for block in range(3)]
    kept = np.concatenate([said.kept for said in blocks])
    assert len(kept) == 150 and 100 > kept.sum() > 50 and not any(said.kept.sum() % 2 for said in blocks)
    assert tasks.scenes.tolist() == np.flatnonzero(kept).tolist() and len(tasks) == kept.sum() // 2
    last_pair = torch.tensor([len(tasks) - 1])
    batch = tasks.batch(last_pair, generator())
    assert torch.equal(batch["pixel_values"], world_tasks.normalized(tasks.images[tasks.scenes[-2:]]))
    for ids, here in zip(batch["captions"][:, 0], blocks[-1].texts[-2:], strict=True):
        assert tokenizer.decode(ids.tolist()) in here.captions
    for ids, label in zip(batch["statements"][0], batch["labels"][0], strict=True):
        assert (tokenizer.decode(ids.tolist()), bool(label)) in blocks[-1].pairs[-1]


def test_all_texts_of_a_scene_are_drawn_equally_often(tokenizer: Beit3Tokenizer) -> None:
    rows = WorldTasks(DATA, tokenizer, common_answers()).rows["questions"]
    scenes = torch.arange(len(rows.counts))
    draws = torch.cat([rows.draw(scenes, 6, generator(seed)) for seed in range(600)], dim=1) - rows.starts[:, None]
    for drawn, count in zip(draws, rows.counts, strict=True):
        times = torch.bincount(drawn, minlength=int(count)) / (3600 / count)
        assert len(times) == count and ((times - 1).abs() < 0.5).all()


def test_all_captions_of_a_scene_can_be_drawn_at_once(tokenizer: Beit3Tokenizer) -> None:
    tasks = WorldTasks(replace(DATA, captions=3), tokenizer, common_answers(), tasks=("captions",), captions=3)
    batch, said = tasks.batch(torch.arange(30), generator()), said_in(replace(DATA, captions=3), 0)
    order = [*range(0, 60, 2), *range(1, 60, 2)]
    for ids, scene in zip(batch["captions"], order, strict=True):
        assert sorted(tokenizer.decode(row) for row in ids.tolist()) == sorted(said.texts[scene].captions)


def test_a_set_begins_where_it_says(tokenizer: Beit3Tokenizer) -> None:
    later = replace(DATA, first=60, scenes=10)
    (scene, view), *_ = cache.rendered_scenes("train", 1, first_seed=60)
    assert world_texts.rendered(later).scene(0) == scene
    assert (WorldTasks(later, tokenizer, common_answers()).images[0].numpy() == view.image).all()
    allowed = said_in(later, 0).texts[0].descriptions[0]
    assert judge(allowed, scene, view).true


def test_kinds_named_twice_are_asked_twice() -> None:
    def asked(kinds: tuple[str, ...]) -> int:
        said = said_in(replace(DATA, questions=kinds), 0)
        return sum(len(here.questions) for here in said.texts)

    assert asked(("count", "count")) == pytest.approx(2 * asked(("count",)), rel=0.05)  # a draw may find nothing to ask
    assert asked(("count",)) > 60


def test_masked_pictures_have_their_own_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []

    def tokenize(_: object, scenes: cache.RenderedScenes) -> torch.Tensor:
        shown.append(scenes)
        return torch.zeros(len(scenes), 64, dtype=torch.int16)

    monkeypatch.setattr(recipe_module, "visual_tokenizer", lambda recipe: None)
    monkeypatch.setattr(recipe_module, "tokenize", tokenize)
    recipe = NanoRecipe(masked_set=WorldData(60, captions=1, descriptions=1, rounds=1, kind="single"))
    masked = recipe.data(recipe.stages[0])
    assert isinstance(masked, MaskedWorld)
    assert torch.equal(masked.images, torch.from_numpy(shown[0].images))


def test_muon_moves_the_matrices_of_the_encoder(tokenizer: Beit3Tokenizer) -> None:
    recipe = NanoRecipe(starts_from_clip=False)
    by_muon = {stage.name for stage in recipe.stages if stage.optimizer == "muon"}
    assert by_muon == {"single", "few", "tune", "settle", "write"}
    named = dict(recipe.build_model().named_parameters())
    hidden = {id(parameter) for parameter in recipe.hidden(named)}
    names = {name for name, parameter in named.items() if id(parameter) in hidden}
    parts = {name.rsplit(".", 2)[-2] for name in names}
    assert parts <= {"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2", "A", "B"} and {"fc1", "fc2"} <= parts
    assert all(".encoder.layers." in name and name.endswith(".weight") for name in names)


def test_words_are_hidden_in_captions_alone_if_asked(tokenizer: Beit3Tokenizer) -> None:
    codes, config = torch.zeros(60, 64, dtype=torch.int16), NanoRecipe(data_set=DATA).processor.config
    world = MaskedWorld(DATA, tokenizer, codes, Masking(), config, streams=("text",), texts="captions")
    batch, said = world.batch(torch.arange(60), generator()), said_in(DATA, 0)
    for ids, here in zip(batch["text.ids"], said.texts, strict=True):
        assert tokenizer.decode(ids.tolist()) in here.captions


def test_masked_batches_hide_what_the_paper_hides(tokenizer: Beit3Tokenizer) -> None:
    recipe = NanoRecipe(data_set=DATA)
    config = recipe.processor.config
    world = MaskedWorld(DATA, tokenizer, torch.zeros(60, 64, dtype=torch.int16), Masking(), config)
    batch = world.batch(torch.arange(60), generator())
    assert {len(tensor) for tensor in batch.values()} == {20}
    for stream in ("image", "pair"):
        assert (batch[f"{stream}.patch_mask"].sum(dim=1) == 25).all()  # 40 % of 64
    for stream, share in (("text", 0.15), ("pair", 0.5)):
        real = (batch[f"{stream}.ids"] != config.pad_token_id).sum()
        assert float(batch[f"{stream}.token_mask"].sum() / real) == pytest.approx(share, abs=0.03)


def test_all_stages_run_and_the_result_responds(tmp_path: Path) -> None:
    written = replace(DATA, captions=2, first=60)
    recipe = NanoRecipe(DATA, written_set=written, plan=("pretrain", "contrast", "tune", "write"), watched=0)
    overrides = {"steps": 2, "batch_size": 6}
    finished = run(recipe, tmp_path, overrides=overrides, quiet=True)
    beit3 = Beit3.load(finished)
    assert (finished / "model.safetensors").stat().st_size / 2 < 4_000_000
    image = next(iter(cache.rendered_scenes("test", 1)))[1].image
    from koine.sentence import Image

    assert beit3.respond(Image(image), "What colour is the cube?").text in common_answers()
    assert beit3.model.config.fusion_layers == 0 and beit3.model.config.experts == "feed-forward"
    log = (tmp_path / "log.jsonl").read_text()
    for name in ("pair_text", "image", "retrieval", "questions", "captions", "statements"):
        assert f'"{name}"' in log


@pytest.fixture
def answering(tmp_path: Path) -> Beit3:
    return speaking.system(tmp_path)


def test_a_caption_is_learnt_word_by_word_from_the_words_before(answering: Beit3) -> None:
    model = answering.model
    ids = torch.randint(5, 100, (2, 6), generator=generator())
    ids[1, 4:] = model.config.pad_token_id
    _, pictures = encode_pictures(model.beit3, torch.randn(2, 3, 16, 16, generator=generator()))
    nats = []
    for place in range(1, 6):
        known = ids[:, : place + 1].clone()
        known[:, place] = 7  # whatever stands at the place itself, it isn't looked at
        hidden = encode_placeholders(model.beit3, pictures, known[:, None], model.config.mask_token_id)[:, 0, place]
        chances = model.require("captioning")(hidden).log_softmax(dim=-1)
        rows = [0] if place >= 4 else [0, 1]
        nats += [-chances[row, ids[row, place]] for row in rows]
    assert len(nats) == 8
    one = recipe_module._captions(model, ids[:, None], pictures)
    assert torch.allclose(one, torch.stack(nats).mean(), atol=1e-5)
    two = recipe_module._captions(model, torch.stack((ids, ids), dim=1), pictures)
    assert torch.allclose(two, 2 * one, atol=1e-5)  # each counts as one alone does


def test_some_packed_questions_go_the_published_way_too(answering: Beit3, monkeypatch: pytest.MonkeyPatch) -> None:
    model, draws = answering.model, generator()
    batch = {"pixel_values": torch.randn(34, 3, 16, 16, generator=draws)}
    for kind, tokens in (("short", 4), ("long", 6)):
        batch[f"{kind}_questions"] = torch.randint(5, 100, (34, 3, tokens), generator=draws)
        batch[f"{kind}_answers"] = torch.randint(len(speaking.ANSWERS), (34, 3), generator=draws)
    _, pictures = encode_pictures(model.beit3, batch["pixel_values"])
    chosen, right = batch["long_questions"][:12, 0], batch["long_answers"][:12, 0]
    fused = model.answer(batch["pixel_values"][:12], chosen, torch.ones_like(chosen))
    loss = recipe_module._questions(model, batch, pictures)
    asked = []

    def perfect(pixels: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        asked.append(ids)
        return torch.nn.functional.one_hot(right, len(speaking.ANSWERS)) * 100.0

    monkeypatch.setattr(model, "answer", perfect)
    known = recipe_module._questions(model, batch, pictures)
    assert len(asked) == 1 and torch.equal(asked[0], chosen)
    assert torch.allclose(loss - known, torch.nn.functional.cross_entropy(fused, right) / 4, atol=1e-5)


def test_small_batches_are_not_fused_in_all() -> None:
    assert [recipe_module._fused(12, pictures) for pictures in (1, 4, 16, 32, 768)] == [1, 2, 6, 12, 12]


def test_a_visual_tokenizer_trained_otherwise_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = []
    monkeypatch.setattr(recipe_module, "run", lambda recipe, folder, quiet: folders.append(folder))
    monkeypatch.setattr(recipe_module, "load_tokenizer_folder", lambda folder: None)
    visual_tokenizer()
    monkeypatch.setattr(
        VisualTokenizerRecipe, "stages", tuple(replace(one, steps=3) for one in VisualTokenizerRecipe.stages)
    )
    visual_tokenizer()
    assert len(set(folders)) == 2


@pytest.fixture
def nlvr(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    drawings = [[encode_png(rng.integers(0, 256, (20, 80, 3), dtype=np.uint8)) for _ in range(6)] for _ in range(14)]
    columns = {
        "identifier": [f"{number // 2}-{number % 2}" for number in range(14)],
        "sentence": [f"There is a tower with {number} blocks." for number in range(14)],
        "label": [number % 3 == 0 for number in range(14)],
        "images": drawings,
    }
    for split in ("dev", "hidden"):
        parquet.write_table(pa.table(columns), tmp_path / f"nlvr_{split}.parquet")
    return tmp_path


def test_human_statements_are_learnt_by_groups(nlvr: Path, tmp_path: Path) -> None:
    base = run(
        NanoRecipe(data_set=DATA, plan=("tune",), watched=0),
        tmp_path / "base",
        overrides={"steps": 1, "batch_size": 6},
        quiet=True,
    )
    recipe = NlvrRecipe(data_files=(str(nlvr),), base=str(base), image_size=64, watch=True)
    data = recipe.data(recipe.stages[0])
    assert len(data) == 12  # groups 0 and 7 are watched; 0 to 6 are there, two statements each
    finished = run(recipe, tmp_path / "nlvr", overrides={"steps": 1, "batch_size": 4}, quiet=True)
    figures = judged(Beit3.load(finished), list(examples(nlvr)))
    assert 0 <= figures["accuracy"] <= 1 and figures["majority"] == pytest.approx(9 / 14)
    assert Beit3.load(finished).model.config.heads == ["vqa"]
