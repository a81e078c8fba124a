"""The published training, tiny: on records of its format, from a language model or from a Ferret, whole or by LoRA."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file
from transformers import CLIPConfig, CLIPModel, LlamaConfig, LlamaForCausalLM

from koine.cli import main
from koine.data.annotated import encode_mask
from koine.errors import InputError
from koine.parts.injection import IGNORED_LABEL
from koine.systems.ferret.config import PUBLISHED_SYSTEM_PROMPT
from koine.systems.ferret.published_recipe import EpochStage, PublishedRecipe, merged_state, read_mixture
from koine.systems.ferret.system import Ferret
from koine.training import run
from koine.training.overrides import apply_overrides
from tests.unit.systems.ferret.conftest import TOKENIZER, tiny_model

# Nothing here may depend on whether this machine's processor knows bfloat16.
SMALL = {"batch_size": 4, "gradient_accumulation": 2, "learning_rate": 1e-2, "precision": "fp32"}
GOLDEN = json.loads((TOKENIZER.parent / "text_cases.json").read_text())


def a_record(number: int = 0, **changes: Any) -> dict[str, Any]:
    mask = np.zeros((30, 40), dtype=bool)
    mask[6:20, 8 + number : 20 + number] = True
    box = [5 + number, 4, 25 + number, 22]
    return {
        "id": str(number),
        "image": f"{number}.png",
        "image_w": 40,
        "image_h": 30,
        "conversations": [
            {"from": "human", "value": "<image>\nWhat is <bbox_location0>?"},
            {"from": "gpt", "value": f"{'a mug' if number % 2 else 'a red ball'} <bbox_location0>"},
            {"from": "human", "value": "And <bbox_location0>?"},
            {"from": "gpt", "value": "a table" if number % 2 else "a lamp"},
        ],
        "box_x1y1x2y2": [[box], [box], [[1, 2, 3 + number, 28]], []],
        "masks": [[encode_mask(mask)], [encode_mask(mask)], [encode_mask(~mask)], []],
        **changes,
    }


def write_records(file: Path, records: list[dict[str, Any]]) -> str:
    file.write_text(json.dumps(records))
    return str(file)


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    noise = np.random.default_rng(0)
    for number in range(6):
        PIL.Image.fromarray(noise.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def ferret(tmp_path_factory) -> Path:
    """Untrained, but with words as long as trained ones': LoRA can't lengthen them."""
    folder = tmp_path_factory.mktemp("ferret")
    model = tiny_model()
    for table in (model.get_input_embeddings(), model.get_output_embeddings()):
        torch.nn.init.normal_(table.weight, std=0.3)
    model.save_pretrained(folder)
    shutil.copy(TOKENIZER, folder)
    return folder


@pytest.fixture(scope="session")
def vicuna(tmp_path_factory) -> Path:
    """A language model that has never heard of images: one token fewer."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("vicuna")
    config = LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, vocab_size=380
    )
    LlamaForCausalLM(config).half().save_pretrained(folder)
    shutil.copy(TOKENIZER, folder)
    return folder


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> Path:
    """A stock CLIP, with its text half."""
    torch.manual_seed(2)
    folder = tmp_path_factory.mktemp("clip")
    layers = {"intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16}
    vision = {**layers, "image_size": 28, "patch_size": 7}
    text = {**layers, "vocab_size": 10, "bos_token_id": 1, "eos_token_id": 2}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(folder)
    return folder


@pytest.fixture
def records(tmp_path) -> str:
    return write_records(tmp_path / "records.json", [a_record(number) for number in range(6)])


@pytest.fixture
def recipe(records, images, ferret) -> PublishedRecipe:
    return PublishedRecipe(data_files=(records,), images=str(images), base=str(ferret))


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def batch_of(recipe: PublishedRecipe, seed: int = 0) -> dict[str, torch.Tensor]:
    data = recipe.data(recipe.stages[0])
    return data.batch(torch.arange(len(data)), torch.Generator().manual_seed(seed))


class Crash(Exception):
    """Stands for whatever ends a process."""


def crash_after(calls: int, monkeypatch) -> None:
    """Lets the recipe's loss fail once, after so many calls."""
    loss = PublishedRecipe.loss
    made = []

    def failing(self: PublishedRecipe, model: Any, batch: Any) -> Any:
        made.append(1)
        if len(made) == calls + 1:
            raise Crash
        return loss(self, model, batch)

    monkeypatch.setattr(PublishedRecipe, "loss", failing)


# ------------------------------------------------------------------------------------------------------------ training


def test_a_ferret_learns_a_few_records_by_heart(recipe, ferret, tmp_path):
    finished = run(recipe, tmp_path / "run", overrides={**SMALL, "steps": 30, "log_every": 6}, quiet=True)
    assert losses(tmp_path / "run")[-1] < 0.5 * losses(tmp_path / "run")[0]
    before, after = load_file(ferret / "model.safetensors"), load_file(finished / "model.safetensors")
    assert before.keys() == after.keys()
    unchanged = {name.split(".")[0] for name, weight in after.items() if torch.equal(weight, before[name])}
    assert unchanged == {"vision_tower"}
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith("vision_tower."))
    assert Ferret.load(finished).respond("What is this?").text is not None


def test_a_training_that_crashes_and_resumes_ends_as_an_undisturbed_one(recipe, tmp_path, monkeypatch):
    overrides = {**SMALL, "steps": 6, "checkpoint_every": 2}
    expected = run(recipe, tmp_path / "undisturbed", overrides=overrides, quiet=True)
    crash_after(2 * 4 + 1, monkeypatch)  # in the middle of the fifth step: the checkpoint is of the fourth
    with pytest.raises(Crash):
        run(replace(recipe), tmp_path / "crashed", overrides=overrides, quiet=True)
    resumed = run(replace(recipe), tmp_path / "crashed", overrides=overrides, quiet=True)
    assert (resumed / "model.safetensors").read_bytes() == (expected / "model.safetensors").read_bytes()


def test_the_nano_ferret_is_known_by_its_name(recipe, ferret, monkeypatch):
    monkeypatch.setattr("koine.systems.ferret.published_recipe.NANO_WEIGHTS", ferret)
    nano, named = (replace(recipe, base=base).build_model().state_dict() for base in ("nano", str(ferret)))
    assert all(torch.equal(nano[name], named[name]) for name in named)


def test_recomputing_activations_changes_no_gradient(recipe):
    batch = batch_of(recipe)
    gradients = []
    for recompute in (False, True):
        chosen = replace(recipe, gradient_checkpointing=recompute)
        model = chosen.build_model().train()
        chosen.loss(model, batch)["loss"].backward()
        gradients.append([weight.grad for weight in model.language_model.parameters()])
        assert model.language_model.model.gradient_checkpointing is recompute
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_the_log_says_how_much_there_is_to_learn(recipe):
    batch = batch_of(recipe)
    supervised = int((batch["labels"] != IGNORED_LABEL).sum())
    assert supervised > 0
    assert float(recipe.loss(recipe.build_model(), batch)["answer_tokens"]) == pytest.approx(supervised / 6)


# ------------------------------------------------------------------------------------------------------------ schedule


def test_epochs_become_steps_whatever_the_batch_size():
    stage = EpochStage("tune", steps=0, batch_size=128, learning_rate=1e-5, epochs=3, examples=1000)
    assert stage.steps == math.ceil(3000 / 128)
    (smaller,) = apply_overrides([stage], {"tune.batch_size": "16"})
    assert smaller.steps == math.ceil(3000 / 16)
    (fixed,) = apply_overrides([stage], {"tune.batch_size": "16", "steps": "5"})
    assert (fixed.steps, fixed.batch_size) == (5, 16)
    assert apply_overrides([fixed], {"batch_size": "8"})[0].steps == 5
    with pytest.raises(InputError, match="epochs = -1 is out of range"):
        replace(stage, epochs=-1)


def test_the_stage_is_the_published_one(recipe):
    (stage,) = recipe.stages
    assert stage.steps == 1  # 18 examples fit into one batch
    assert (stage.batch_size, stage.learning_rate, stage.weight_decay) == (128, 2e-5, 0)
    assert (stage.schedule, stage.warmup, stage.betas, stage.precision) == ("cosine", 0.03, (0.9, 0.999), "auto")


# ---------------------------------------------------------------------------------------------------------------- data


def test_a_published_record_becomes_the_published_tokens_and_labels(tmp_path, vicuna, clip):
    PIL.Image.new("RGB", (80, 56)).save(tmp_path / "one.png")
    file = write_records(tmp_path / "one.json", [{**GOLDEN["dataset_sample"], "image": "one.png"}])
    (expected,) = (case for case in GOLDEN["dataset"] if case["name"] == "all_box")
    recipe = PublishedRecipe((file,), str(tmp_path), str(vicuna), str(clip), form="box")
    batch = batch_of(recipe)
    assert recipe.processor.config.system_prompt == PUBLISHED_SYSTEM_PROMPT
    assert batch["input_ids"].tolist() == [expected["input_ids"]]
    assert batch["labels"].tolist() == [expected["labels"]]
    assert len(batch["region_points"]) == expected["n_masks"]


def test_regions_take_another_form_each_time(recipe):
    first, again, other = batch_of(recipe, 1), batch_of(recipe, 1), batch_of(recipe, 2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert first["input_ids"].shape != other["input_ids"].shape or (first["input_ids"] != other["input_ids"]).any()
    points, boxes = (batch_of(replace(recipe, form=form))["attention_mask"].sum() for form in ("point", "box"))
    assert points < boxes  # two numbers in place of four
    as_asked = batch_of(replace(recipe, form="point", answers="as_asked"))["attention_mask"].sum()
    assert as_asked < points


@pytest.mark.parametrize("form", ["point", "box"])
def test_points_are_drawn_from_the_outline(recipe, tmp_path, form):
    outline = np.zeros((30, 40), dtype=bool)
    outline[6:20, 8:10] = True  # narrower than a point's window
    spoken = a_record(0)["conversations"][:2]
    record = a_record(0, conversations=spoken, box_x1y1x2y2=[[[5, 4, 25, 22]]] * 2, masks=[[encode_mask(outline)]] * 2)
    file = write_records(tmp_path / "one.json", [record])
    points = batch_of(replace(recipe, data_files=(file,), form=form))["region_points"]
    columns, rows = (points * torch.tensor([40, 30])).long().flatten(0, 1).unbind(dim=1)
    assert outline[rows, columns].all()


def test_pictures_are_opened_when_they_are_shown(recipe, images, tmp_path):
    folder = shutil.copytree(images, tmp_path / "images")
    (folder / "4.png").write_bytes(b"no picture")
    data = replace(recipe, images=str(folder)).data(recipe.stages[0])
    assert len(data.batch(torch.tensor([0]), torch.Generator())["pixel_values"]) == 1
    (bad,) = (number for number, record in enumerate(data.records) if record.id == "4")
    with pytest.raises(InputError, match=r"records\.json, record 4: .*4\.png"):
        data.batch(torch.tensor([0, bad]), torch.Generator())


def test_files_are_mixed_by_repeats(tmp_path):
    one = write_records(tmp_path / "one.json", [a_record(number) for number in range(4)])
    two = write_records(tmp_path / "two=2.json", [a_record(5)])
    mixture = tmp_path / "mixture.json"
    mixture.write_text(json.dumps({"one.json": 0.5, "two=2.json": 3}))
    assert Counter(record.id for record in read_mixture([f"{one}=2", two], 0)) == {**dict.fromkeys("0123", 2), "5": 1}
    half = Counter(record.id for record in read_mixture([str(mixture)], 0))
    assert half.pop("5") == 3 and half.total() == 2
    assert Counter(record.id for record in read_mixture([f"{mixture}=2"], 0))["5"] == 6


@pytest.mark.parametrize("mark", ["</s>", " ASSISTANT: ", "<unk>", "<region_fea>"])
def test_records_whose_turns_the_original_cannot_tell_apart_are_counted_and_ignored(tmp_path, mark):
    spoken = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": f"so{mark}there"}]
    bad = a_record(1, conversations=spoken, box_x1y1x2y2=[[], []], masks=None)
    file = write_records(tmp_path / "records.json", [a_record(0), bad, bad])
    with pytest.warns(UserWarning, match=rf"2 of 3 records are ignored.* records\.json, record 1, with '{mark}'"):
        assert [record.id for record in read_mixture([file], 0)] == ["0"]


# --------------------------------------------------------------------------------------------------------- a new Ferret


@pytest.fixture
def projector(tmp_path) -> Path:
    """LLaVA's projector as its first stage saves it."""
    weights = {"model.mm_projector.weight": torch.randn(32, 16).half(), "model.mm_projector.bias": torch.ones(32)}
    torch.save(weights, tmp_path / "mm_projector.bin")
    return tmp_path / "mm_projector.bin"


def test_a_new_ferret_is_put_together_from_its_parts(recipe, vicuna, clip, projector):
    new = replace(recipe, base=str(vicuna), vision_tower=str(clip), projector=str(projector))
    state = new.build_model().state_dict()
    language, tower = load_file(vicuna / "model.safetensors"), load_file(clip / "model.safetensors")
    for name, weight in language.items():
        ours = state[f"language_model.{name}"]
        torch.testing.assert_close(ours[: len(weight)], weight.float(), atol=0, rtol=0)
        if len(ours) > len(weight):
            assert len(ours) == 381
            torch.testing.assert_close(ours[380], weight.float().mean(dim=0), atol=1e-4, rtol=1e-2)
    for name, weight in tower.items():
        if name.startswith("vision_model."):
            torch.testing.assert_close(state[name.replace("vision_model.", "vision_tower.")], weight, atol=0, rtol=0)
    assert (state["projector.bias"] == 1).all() and state["projector.weight"].std() > 0.5
    config = new.processor.config
    assert (config.region_token_id, config.sampler_points, list(config.sampler_anchors)) == (380, 512, [128, 32])
    assert (config.region_orientation, config.region_alignment) == ("corrected", "centers")
    published = replace(new, reading="published").processor.config
    assert (published.region_orientation, published.region_alignment) == ("published", "corners")


def test_what_starts_from_nothing_depends_on_the_seed(recipe, vicuna, clip):
    new = replace(recipe, base=str(vicuna), vision_tower=str(clip))
    first, again, other = (replace(new, seed=seed).build_model().projector.weight for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_new_ferret_learns(recipe, vicuna, clip, tmp_path):
    new = replace(recipe, base=str(vicuna), vision_tower=str(clip))
    finished = run(new, tmp_path / "run", overrides={**SMALL, "steps": 20, "log_every": 5}, quiet=True)
    found = losses(tmp_path / "run")
    assert found[-1] < found[0] - 0.5
    assert Ferret.load(finished).model.config.region_token_id == 380


# ---------------------------------------------------------------------------------------------------------------- LoRA


class TestLora:
    @pytest.fixture(autouse=True)
    def with_peft(self):
        pytest.importorskip("peft")

    def test_adapters_learn_and_are_merged(self, recipe, ferret, tmp_path):
        overrides = {**SMALL, "steps": 30, "log_every": 6}
        finished = run(replace(recipe, lora=4), tmp_path / "run", overrides=overrides, quiet=True)
        assert losses(tmp_path / "run")[-1] < 0.8 * losses(tmp_path / "run")[0]
        before, after = load_file(ferret / "model.safetensors"), load_file(finished / "model.safetensors")
        assert before.keys() == after.keys()
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        language = {name for name in changed if name.startswith("language_model.")}
        linear = {
            name for name, weight in before.items() if ".layers." in name and weight.ndim == 2 and "language" in name
        }
        assert language == linear
        assert {name.split(".")[0] for name in changed - language} == {"projector", "region_sampler", "image_positions"}

    def test_the_saved_model_answers_as_the_trained_one(self, recipe, tmp_path):
        recipe = replace(recipe, lora=2)
        model = recipe.build_model().eval()
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if ".lora_B." in name:
                    weight.normal_()
        before = {name: weight.clone() for name, weight in model.state_dict().items()}
        recipe.save(model, tmp_path)
        batch = batch_of(recipe)
        without = replace(recipe, lora=None).build_model()
        with torch.no_grad():
            loss, merged, plain = (one(**batch).loss for one in (model, Ferret.load(tmp_path).model, without))
        torch.testing.assert_close(merged, loss, atol=1e-5, rtol=1e-5)
        assert abs(loss - plain) > 0.1
        assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())

    def test_only_adapters_projector_and_sampler_are_trained(self, recipe):
        model = replace(recipe, lora=2).build_model()
        trained = {name for name, weight in model.language_model.named_parameters() if weight.requires_grad}
        assert len(trained) == 2 * 7 * 2 and all(".lora_" in name for name in trained)
        assert not any("lm_head" in name for name in trained)
        assert merged_state(model).keys() == replace(recipe).build_model().state_dict().keys()

    def test_it_resumes_exactly(self, recipe, tmp_path, monkeypatch):
        recipe = replace(recipe, lora=2)
        overrides = {**SMALL, "steps": 4, "checkpoint_every": 1}
        # Merging for a checkpoint must leave no trace, so the undisturbed training writes none on its way.
        expected = run(recipe, tmp_path / "undisturbed", overrides={**overrides, "checkpoint_every": 9}, quiet=True)
        crash_after(2 * 2 + 1, monkeypatch)
        with pytest.raises(Crash):
            run(replace(recipe), tmp_path / "crashed", overrides=overrides, quiet=True)
        newest = max((tmp_path / "crashed").rglob("step-*"))
        language = [name for name in load_file(newest / "training.safetensors") if "/language_model." in name]
        assert language and all(".lora_" in name for name in language)  # the base isn't kept once more
        resumed = run(replace(recipe), tmp_path / "crashed", overrides=overrides, quiet=True)
        assert (resumed / "model.safetensors").read_bytes() == (expected / "model.safetensors").read_bytes()

    def test_a_rank_of_zero(self, recipe):
        with pytest.raises(InputError, match="lora = 0 is no rank"):
            replace(recipe, lora=0).build_model()


def test_without_peft_the_error_says_what_to_install(recipe, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match=r"pip install 'koine\[lora\]'"):
        replace(recipe, lora=4).build_model()


# ----------------------------------------------------------------------------------------------------------- bad input


def refused(recipe: PublishedRecipe, folder: Path) -> str:
    with pytest.raises(InputError) as error:
        run(recipe, folder, overrides={**SMALL, "steps": 1}, quiet=True)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image": "gone.png"}, "record 0: there is no picture 'gone.png'"),
        ({"image_w": None}, "record 0: field 'image_w' is None"),
        ({"image_w": 41}, "record 0: the picture"),
        ({"box_x1y1x2y2": [[]]}, "record 0: 4 turns but 1 lists of boxes"),
        ({"masks": [[encode_mask(np.ones((40, 30), bool))]] * 3 + [[]]}, "record 0, masks: the mask's size [40, 30]"),
    ],
)
def test_bad_records_are_named(recipe, tmp_path, changes, reason):
    file = write_records(tmp_path / "bad.json", [a_record(0, **changes)])
    assert f"bad.json, {reason}" in refused(replace(recipe, data_files=(file,)), tmp_path / "run")


def test_an_empty_question_is_named(recipe, tmp_path):
    spoken = [{"from": "human", "value": "<image>\n"}, {"from": "gpt", "value": "so"}]
    file = write_records(tmp_path / "bad.json", [a_record(0, conversations=spoken, box_x1y1x2y2=None, masks=None)])
    assert "bad.json, record 0: the question is empty" in refused(replace(recipe, data_files=(file,)), tmp_path / "run")


def test_missing_data(recipe, tmp_path):
    folder = tmp_path / "run"
    assert "give files of records" in refused(replace(recipe, data_files=()), folder)
    assert "there is no image folder" in refused(replace(recipe, images=str(tmp_path / "gone")), folder)
    assert "there is no file or folder" in refused(replace(recipe, data_files=("gone.json",)), folder)
    assert "give FILE or FILE=REPEAT" in refused(replace(recipe, data_files=("gone.json=often",)), folder)
    assert "holds no records" in refused(replace(recipe, data_files=(f"{recipe.data_files[0]}=0",)), folder)
    mixture = tmp_path / "mixture.json"
    mixture.write_text('{"records.json": "twice"}')
    assert "'records.json' is 'twice'" in refused(replace(recipe, data_files=(str(mixture),)), folder)


def test_a_wrong_base(recipe, tmp_path, ferret, vicuna, clip, projector):
    def reason(**changes: Any) -> str:
        return refused(replace(recipe, **changes), tmp_path / "run")

    assert "set base to a Vicuna" in reason(base=None)
    assert "there are no base weights at" in reason(base=str(tmp_path / "gone"))
    assert "has no config.json" in reason(base=str(tmp_path))
    assert "is a model of type 'clip': give a Vicuna v1.3, or a Ferret" in reason(base=str(clip))
    assert "vision_tower = 'x' is for a new Ferret" in reason(vision_tower="x")
    assert f"vision_tower {tmp_path} has no config.json" in reason(base=str(vicuna), vision_tower=str(tmp_path))
    published = tmp_path / "published"
    published.mkdir()
    (published / "config.json").write_text('{"model_type": "ferret"}')
    assert "koine convert ferret" in reason(base=str(published))
    new = {"base": str(vicuna), "vision_tower": str(clip)}
    torch.save({"model.mm_projector.0.weight": torch.ones(32, 16)}, projector)
    assert "give the mm_projector.bin of a LLaVA" in reason(**new, projector=str(projector))
    torch.save({"mm_projector.weight": torch.ones(32, 17), "mm_projector.bias": torch.ones(32)}, projector)
    assert "in another shape projector.weight" in reason(**new, projector=str(projector))


# -------------------------------------------------------------------------------------------------- on the command line


def test_the_command_trains_and_its_result_loads(recipe, tmp_path, capsys):
    words = ["--recipe", "published", "--data", f"{recipe.data_files[0]}=2", "--images", recipe.images, "--quiet"]
    settings = [f"base={recipe.base}", "epochs=0.5", "tune.batch_size=2", "gradient_accumulation=1", "precision=fp32"]
    words += [word for setting in settings for word in ("--set", setting)]
    assert main(["train", "ferret", *words, "--out", str(tmp_path / "run")]) == 0
    finished = Path(capsys.readouterr().out.strip())
    assert json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])["step"] == 3  # 12 examples, halved
    assert Ferret.load(finished).respond("What is this?").text is not None
