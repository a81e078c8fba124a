"""Fine-tuning on files in their published form, with a model and data that are tiny."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import cross_entropy

from koine.errors import InputError
from koine.systems.beit3 import published_recipe
from koine.systems.beit3.published_recipe import FineTuningRecipe, common_answers
from koine.systems.beit3.tokenizer import train_pieces
from koine.training import run

SETTINGS = dict(published_recipe.SETTINGS)
"""As they are, which `small` changes."""


@pytest.fixture
def start(tiny, tmp_path) -> Path:
    folder = tmp_path / "start"
    tiny(heads=["pretraining", "retrieval"], vocab_size=115, mask_token_id=111).save_pretrained(folder)
    train_pieces(["is a red cube left of the ball"] * 20, folder / "beit3.spm", pieces=110)
    return folder


@pytest.fixture
def annotations(tmp_path) -> Path:
    """Ten examples of each task, in one folder."""
    folder = tmp_path / "data"
    names = [f"train2014/COCO_train2014_{number:012}.jpg" for number in range(10)]
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((12, 16, 3), 25 * number, np.uint8)
        Image.fromarray(pixels).save(folder / name)
        (folder / name.replace("train", "val")).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / name.replace("train", "val"))
        for side in (0, 1):
            Image.fromarray(pixels).save(folder / f"train-{number}-0-img{side}.png")
    write = {
        "v2_OpenEnded_mscoco_train2014_questions.json": {
            "questions": [{"image_id": n, "question": "is a cube red", "question_id": n} for n in range(10)]
        },
        "v2_mscoco_train2014_annotations.json": {
            "annotations": [
                {
                    "question_id": n,
                    "answer_type": "yes/no",
                    "answers": [{"answer": "yes"}] * (10 if n else 0) + [{"answer": "rare"}] * (10 - 10 * bool(n)),
                }
                for n in range(10)
            ]
        },
        "v2_OpenEnded_mscoco_val2014_questions.json": {
            "questions": [{"image_id": n, "question": "is a ball red", "question_id": n} for n in range(4)]
        },
        "v2_mscoco_val2014_annotations.json": {
            "annotations": [{"question_id": n, "answers": [{"answer": "yes"}] * 2} for n in range(4)]
        },
        "dataset_coco.json": {
            "images": [
                {
                    "split": "restval" if n else "test",
                    "filename": name.split("/")[1],
                    "filepath": "train2014",
                    "cocoid": n,
                    "sentences": [{"raw": "a red cube " * 20}, {"raw": "the ball"}],
                }
                for n, name in enumerate(names)
            ]
        },
    }
    for file, content in write.items():
        (folder / file).write_text(json.dumps(content))
    lines = [
        {"identifier": f"train-{n}-0-0", "sentence": "a cube is left of the ball", "label": str(n % 2 == 0)}
        for n in range(10)
    ]
    (folder / "train.json").write_text("\n".join(map(json.dumps, lines)))
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch) -> None:
    for task, setting in list(published_recipe.SETTINGS.items()):
        shrunk = replace(setting, image_size=8, epochs=4, warmup=1, batch=4, examples=4)
        monkeypatch.setitem(published_recipe.SETTINGS, task, shrunk)


@pytest.mark.parametrize("task", ["vqa", "nlvr2", "captioning", "retrieval"])
def test_each_task_trains_to_a_folder_that_loads(task, start, annotations, tmp_path):
    recipe = FineTuningRecipe(data_files=(str(annotations),), start=str(start), task=task)
    finished = run(recipe, tmp_path / "run", overrides={"precision": "fp32"}, quiet=True)
    model = published_recipe.load_folder(finished)
    assert model.config.heads == [task] and model.config.image_size == 8
    before = published_recipe.load_folder(start).beit3.encoder.layers[0].ffn.A.fc1.weight
    assert not torch.equal(model.beit3.encoder.layers[0].ffn.A.fc1.weight, before)
    assert recipe.processor.from_pretrained(finished, model.config).tokenizer is not None


def test_questions_that_the_head_can_not_answer_teach_nothing(start, annotations):
    recipe = FineTuningRecipe(data_files=(str(annotations),), start=str(start), held_out=3)
    assert recipe.processor.answers == ("yes",), "nine questions are enough, one is not"
    data = recipe.data(recipe.stages[0])
    assert len(data) == 9 + 1, "of four validation pictures three are held out"
    assert data.records[9].text == "is a ball red" and "val2014" in data.records[9].images[0]
    assert [again.images for again in recipe.data(recipe.stages[0]).records] == [one.images for one in data.records]
    batch = data.batch(torch.tensor([0, 9]), torch.Generator().manual_seed(0))
    assert batch["targets"].flatten().tolist() == pytest.approx([1.0, 0.6]), "ten people said so, and two"
    assert batch["pixel_values"].shape == (2, 3, 8, 8) and batch["pixel_values"].min() >= -1


def test_statements_have_two_pictures_and_captions_hidden_words(start, annotations):
    given = {"data_files": (str(annotations),), "start": str(start)}
    recipe = FineTuningRecipe(task="nlvr2", **given)
    batch = recipe.data(recipe.stages[0]).batch(torch.arange(4), torch.Generator().manual_seed(0))
    assert batch["other_pixel_values"].shape == (4, 3, 8, 8) and batch["targets"].tolist() == [1, 0, 1, 0]
    recipe = FineTuningRecipe(task="captioning", **given)
    data = recipe.data(recipe.stages[0])
    assert len(data) == 18, "two captions of each of nine pictures; the tenth is a test picture"
    batch = data.batch(torch.arange(18), torch.Generator().manual_seed(0))
    assert batch["targets"].shape[1] == 20, "the model has no more positions"
    recipe.processor.config.max_text_tokens = 40
    assert data.batch(torch.arange(18), torch.Generator())["targets"].shape[1] == 32, "as in the published recipe"
    hidden = (batch["input_ids"] == 111) & batch["places"]
    assert hidden.any() and torch.equal(batch["input_ids"][~batch["places"]], batch["targets"][~batch["places"]])


def test_pictures_are_changed_where_the_published_recipe_changes_them(start, annotations, monkeypatch):
    monkeypatch.setattr(published_recipe, "rand_augment", lambda view, generator: torch.zeros_like(view))
    for task, changed in (("vqa", True), ("captioning", True), ("nlvr2", False), ("retrieval", False)):
        recipe = FineTuningRecipe(data_files=(str(annotations),), start=str(start), task=task)
        batch = recipe.data(recipe.stages[0]).batch(torch.tensor([5]), torch.Generator().manual_seed(0))
        assert bool((batch["pixel_values"] == -1).all()) == changed


def test_rates_are_those_of_the_task(start, annotations):
    recipe = FineTuningRecipe(data_files=(str(annotations),), start=str(start), task="nlvr2")
    model = recipe.build_model()
    groups = recipe.parameter_groups(dict(model.named_parameters()), recipe.stages[0])
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert min(group["scale"] for group in groups) == pytest.approx(0.65**4)
    assert model.beit3.encoder.layers[-1].drop_path == pytest.approx(0.2)
    recipe = FineTuningRecipe(data_files=(str(annotations),), start=str(start), task="vqa")
    model = recipe.build_model()
    groups = recipe.parameter_groups(dict(model.named_parameters()), recipe.stages[0])
    assert {group["scale"] for group in groups} == {1, 20}, "the head learns faster"


def test_steps_and_rates_are_the_published_ones(monkeypatch):
    for task, setting in SETTINGS.items():
        monkeypatch.setitem(published_recipe.SETTINGS, task, setting)
        recipe = FineTuningRecipe(task=task)
        [stage] = recipe.stages
        epoch = setting.examples // setting.batch
        assert (stage.steps, stage.warmup_steps) == (setting.epochs * epoch, setting.warmup * epoch)
        assert recipe.learning_rate(stage, 1) == 0
        assert recipe.learning_rate(stage, stage.warmup_steps) == pytest.approx(setting.rate["base"])
        assert recipe.learning_rate(stage, stage.steps) == pytest.approx(1e-6, rel=1e-3)
    assert FineTuningRecipe(task="captioning").stages[0].steps > FineTuningRecipe(task="captioning").drop_worst_after


def test_the_worst_words_are_dropped_late_and_of_captions_only(start, annotations):
    recipe = FineTuningRecipe(data_files=(str(annotations),), start=str(start), task="captioning")
    assert recipe.drop_worst_after == 12_000
    model = recipe.build_model().eval()
    batch = recipe.data(recipe.stages[0]).batch(torch.arange(6), torch.Generator().manual_seed(0))
    with torch.no_grad():
        # step 12,001 is number 12,000 where the first is number 0
        early, last, late = (float(recipe.loss_at(model, batch, step)["loss"]) for step in (1, 12_001, 12_002))
        assert early == last == float(recipe.loss(model, batch)["loss"])
        words = [batch[name] for name in ("input_ids", "pixel_values")]
        logits = model.predict_words(*words, attention_mask=batch["attention_mask"], places=batch["places"])
        alone = [
            float(published_recipe.captioning_loss(row[None], word[None]))
            for row, word in zip(logits, batch["targets"][batch["places"]], strict=True)
        ]
    assert early == pytest.approx(np.mean(alone), rel=1e-5)
    assert late == pytest.approx(np.mean(sorted(alone)[: len(alone) * 4 // 5]), rel=1e-5)
    assert late < early
    recipe = FineTuningRecipe(data_files=(str(annotations),), start=str(start), task="retrieval")
    model = recipe.build_model().eval()
    batch = recipe.data(recipe.stages[0]).batch(torch.arange(6), torch.Generator().manual_seed(0))
    with torch.no_grad():
        loss = recipe.loss_at(model, batch, 12_002)["loss"]
        texts = model.embed_texts(batch["input_ids"], batch["attention_mask"])
        logits = model.logit_scale * model.embed_images(batch["pixel_values"]) @ texts.T
        own = torch.arange(6)
        torch.testing.assert_close(loss, (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2)


def test_what_is_missing_is_named(start, annotations, tmp_path):
    with pytest.raises(InputError, match=r"holds no list of answers: put answer2label\.txt there"):
        FineTuningRecipe(data_files=(str(annotations),), start=str(start), answers=str(tmp_path)).build_model()
    with pytest.raises(InputError, match="no task of BEiT-3's published fine-tuning 'nlvr'"):
        FineTuningRecipe(task="nlvr")
    with pytest.raises(InputError, match="nothing to fine-tune"):
        FineTuningRecipe(data_files=(str(annotations),), task="nlvr2").build_model()
    with pytest.raises(InputError, match=r"data holds no config\.json"):
        FineTuningRecipe(data_files=(str(annotations),), start=str(annotations), task="nlvr2").build_model()
    with pytest.raises(InputError, match="one folder of annotations as published, not 0"):
        recipe = FineTuningRecipe(start=str(start), task="nlvr2")
        recipe.data(recipe.stages[0])


def test_common_answers_are_in_the_order_in_which_they_occur():
    question = published_recipe.VqaQuestion
    asked = [question(n, "", "", (said,) * 10) for n, said in enumerate(["two", "Yes", "2", "no", "yes", "yes"])]
    assert common_answers(asked, least=2) == ["2", "yes"]
