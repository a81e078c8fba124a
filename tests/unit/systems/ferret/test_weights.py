"""Weights: our folders, published checkpoints and deltas; what is wrong with the others is said in one line."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPVisionConfig, LlamaConfig

from koine.errors import InputError
from koine.systems.ferret import weights
from koine.systems.ferret.checkpoint import Checkpoint, locate
from koine.systems.ferret.config import FerretConfig
from koine.systems.ferret.delta import share_on_grid
from koine.systems.ferret.model import FerretForConditionalGeneration
from koine.systems.ferret.system import Ferret
from koine.systems.ferret.weights import (
    build,
    convert,
    convert_state,
    fingerprint,
    load_folder,
    load_published,
    open_published,
    our_name,
)
from tests.unit.systems.ferret.conftest import TOKENIZER, tiny_model

WIDTH, HIDDEN, ROWS = 8, 64, 381


def published_config() -> FerretConfig:
    """As published, with a tower and a language model of one or two layers."""
    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
    )
    text = LlamaConfig(
        hidden_size=HIDDEN,
        intermediate_size=96,
        num_hidden_layers=1,
        num_attention_heads=2,
        vocab_size=ROWS,
        pad_token_id=0,
    )
    return FerretConfig.published("7b", vision_config=vision, text_config=text, region_token_id=ROWS - 1)


def published_name(ours: str, tensor: Tensor) -> tuple[str, Tensor]:
    """The way back from `our_name`, for what stands in published language-model folders."""
    for pattern, replacement in (
        ("language_model.", ""),
        ("projector.", "model.mm_projector."),
        ("region_sampler.merge.", "model.region_geo_sampler.flatten_projector."),
        ("region_sampler.project.", "model.region_geo_sampler.dim_projector."),
        ("vision_tower.", "vision_model."),
    ):
        if ours.startswith(pattern):
            return replacement + ours.removeprefix(pattern), tensor
    _, _, stage, part, rest = ours.split(".")
    if part == "difference":
        return f"model.region_geo_sampler.diff_projector_list.{stage}.{rest}", tensor
    if part == "norm":
        return f"model.region_geo_sampler.agg_projector_list.{stage}.norm.{rest}", tensor
    shaped = tensor[..., None] if rest == "weight" else tensor
    return f"model.region_geo_sampler.agg_projector_list.{stage}.net.0.{rest}", shaped


CONFIG = {
    "model_type": "ferret",
    "hidden_size": HIDDEN,
    "intermediate_size": 96,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 2048,
    "mm_vision_select_layer": -2,
    "mm_vision_select_feature": "patch",
    "sampler_pooler_mode": "max",
    "im_region_fea_token": ROWS - 1,
    "mm_vision_tower": "openai/clip-vit-large-patch14-336",
}


def write(folder: Path, tensors: dict[str, Tensor], config: dict | None = None, *, files: int = 1, kind="safetensors"):
    """A checkpoint folder in one or several files of either kind."""
    folder.mkdir(parents=True, exist_ok=True)
    names, listed = list(tensors), {}
    stem, suffix = ("model", "safetensors") if kind == "safetensors" else ("pytorch_model", "bin")
    for number in range(files):
        part = {name: tensors[name].contiguous() for name in names[number::files]}
        file = f"{stem}.{suffix}" if files == 1 else f"{stem}-{number}.{suffix}"
        save_file(part, folder / file) if kind == "safetensors" else torch.save(part, folder / file)
        listed |= dict.fromkeys(part, file)
    if files > 1:
        (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps({"weight_map": listed}))
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def merged() -> FerretForConditionalGeneration:
    """What should come out, in float16."""
    torch.manual_seed(0)
    model = FerretForConditionalGeneration(published_config()).half().eval()
    with torch.no_grad():
        for name, weight in model.language_model.named_parameters():
            weight.copy_(1 + 0.1 * torch.randn_like(weight) if "norm" in name else 0.02 * torch.randn_like(weight))
    return model


@pytest.fixture(scope="module")
def whole(merged) -> dict[str, Tensor]:
    """The merged model under published names, without its tower."""
    named = dict(published_name(*item) for item in merged.state_dict().items())
    return {name: tensor for name, tensor in named.items() if not name.startswith("vision_model.")}


@pytest.fixture(scope="module")
def base(whole) -> dict[str, Tensor]:
    """A language model that fine-tuning moved a little to become the merged one."""
    generator = torch.Generator().manual_seed(1)
    found = {}
    for name, tensor in whole.items():
        if name.startswith(("model.layers", "model.norm", "model.embed_tokens", "lm_head")):
            grown = name.endswith(("embed_tokens.weight", "lm_head.weight"))
            before = tensor[:-1] if grown else tensor
            step = 3e-4 * torch.randn(before.shape, generator=generator)
            found[name] = (before.float() + step).half()
    return found


@pytest.fixture(scope="module")
def delta(whole, base) -> dict[str, Tensor]:
    """The difference, computed in float16 as the published tool does."""
    found = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(16)}
    for name, tensor in whole.items():
        difference = tensor.clone()
        if name in base:
            difference[: len(base[name])] -= base[name]
        found[name] = difference
    return found


@pytest.fixture
def folders(tmp_path, merged, delta, base) -> dict[str, Path]:
    """Delta with the tower inside, and base, each in several files."""
    found = {
        "delta": write(tmp_path / "delta", delta, CONFIG, files=3),
        "base": write(tmp_path / "base", base, {"model_type": "llama", **CONFIG}, files=2, kind="bin"),
    }
    tower = {f"vision_model.{name}": tensor for name, tensor in merged.vision_tower.state_dict().items()}
    tower["text_model.final_layer_norm.weight"] = torch.ones(4)
    config = merged.config.vision_config.to_dict()
    write(found["delta"] / "vision_tower", tower, {"model_type": "clip", "vision_config": config})
    shutil.copy(TOKENIZER, found["base"])
    return found


def assert_merged(found: FerretForConditionalGeneration, merged: FerretForConditionalGeneration) -> None:
    expected = merged.state_dict()
    assert found.state_dict().keys() == expected.keys()
    for name, tensor in found.state_dict().items():
        # The difference to a weight near zero is rounded more coarsely than the weight itself.
        torch.testing.assert_close(tensor, expected[name].to(tensor.dtype), atol=1e-6, rtol=0, msg=name)


# ------------------------------------------------------------------------------------------------------- our folders


def test_a_folder_of_ours(model, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = load_folder(tmp_path)
    assert not loaded.training
    assert_merged(loaded, model)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    write(tmp_path, {"a": torch.zeros(1)}, {"model_type": "llama"})
    with pytest.raises(InputError, match="model of type 'llama', not a Ferret"):
        load_folder(tmp_path)


def test_a_published_folder_is_sent_to_convert(tmp_path):
    write(tmp_path, {"a": torch.zeros(1)}, CONFIG)
    with pytest.raises(InputError, match="koine convert ferret"):
        load_folder(tmp_path)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no config\.json"):
        load_folder(tmp_path)


def test_a_config_that_is_no_object_is_refused(tmp_path):
    write(tmp_path, {"a": torch.zeros(1)}, ["llama"])
    with pytest.raises(InputError, match=r"config\.json holds a list, not a JSON object"):
        load_folder(tmp_path)


def test_missing_and_unexpected_weights_are_named(model, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)  # what it says comes to caplog
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["projector.beias"] = tensors.pop("projector.bias")
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"it lacks projector\.bias; it has, beyond a Ferret's, projector\.beias"):
        load_folder(tmp_path)
    assert "REPORT" not in caplog.text


def test_weights_of_another_size_are_named(model, tmp_path):
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["projector.bias"] = torch.zeros(7)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"has in another shape projector\.bias"):
        load_folder(tmp_path)


@pytest.mark.parametrize("cut", [100, 5000])
def test_damaged_files_are_named(model, tmp_path, cut):
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"model\.safetensors is not a readable weights file"):
        load_folder(tmp_path)


def test_a_state_dict_must_fit():
    model = tiny_model()
    state = model.state_dict()
    assert_merged(build(model.config, state), model)
    del state["projector.bias"]
    with pytest.raises(InputError, match=r"the state dict is not a Ferret of this size: it lacks projector\.bias"):
        build(model.config, state)


# --------------------------------------------------------------------------------------------------------- published


def test_published_names_have_ours(merged, whole):
    assert convert_state(whole).keys() == {key for key in merged.state_dict() if not key.startswith("vision_tower.")}
    assert our_name("model.layers.3.self_attn.rotary_emb.inv_freq") is None
    assert our_name("model.region_fea_adapter.weight") == "region_sampler.project.weight"
    assert our_name("model.vision_tower.vision_tower.vision_model.embeddings.position_ids") is None
    assert our_name("model.qformer.weight") == "model.qformer.weight"


def test_a_delta_on_its_base_is_the_model(folders, merged, tmp_path):
    out = convert(folders["delta"], tmp_path / "out", base=folders["base"], max_shard_bytes=20_000)
    assert len(list(out.glob("model-*.safetensors"))) > 3
    ferret = Ferret.load(str(out))
    assert ferret.model.dtype == torch.float16
    assert_merged(ferret.model, merged)
    assert ferret.model.config.region_orientation == "published"
    assert ferret.model.config.longest_answer == 1024
    assert isinstance(ferret.model.config.vision_config.image_size, int)


def test_a_delta_in_memory(folders, merged):
    model, tokenizer = load_published(folders["delta"], base=folders["base"])
    assert_merged(model, merged)
    assert tokenizer == folders["base"] / "tokenizer.model"


def test_whole_weights_need_no_base(folders, merged, whole, tmp_path):
    source = write(tmp_path / "whole", whole, CONFIG, kind="bin")
    shutil.copy(TOKENIZER, source)
    out = convert(source, tmp_path / "out", vision_tower=folders["delta"] / "vision_tower")
    assert [file.name for file in out.glob("*.safetensors")] == ["model.safetensors"]
    assert_merged(load_folder(out), merged)
    with pytest.raises(InputError, match="whole weights, not a delta"):
        open_published(source, base=folders["base"])


def test_a_delta_without_base_is_refused(folders):
    with pytest.raises(InputError, match=r"holds a delta: give the Vicuna v1\.3"):
        open_published(folders["delta"])


def test_nothing_half_written_stays(folders, tmp_path, monkeypatch):
    def full_disk(*arguments, **options):
        raise OSError(28, "No space left on device", str(arguments[1]))

    monkeypatch.setattr(weights, "save_file", full_disk)
    with pytest.raises(InputError, match=r"cannot write .*out: No space left"):
        convert(folders["delta"], tmp_path / "out", base=folders["base"])
    assert {path.name for path in tmp_path.iterdir()} == {"delta", "base"}


def test_missing_parts_are_named_before_anything_is_written(folders, tmp_path):
    (folders["base"] / "tokenizer.model").unlink()
    with pytest.raises(InputError, match=r"has a tokenizer\.model"):
        convert(folders["delta"], tmp_path / "out", base=folders["base"])
    delta = folders["delta"]
    (delta / "model-1.safetensors").unlink()
    with pytest.raises(InputError, match=r"model-1\.safetensors is missing"):
        convert(delta, tmp_path / "out", base=folders["base"])
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_without_its_words_is_named(whole, folders, tmp_path):
    wordless = {name: tensor for name, tensor in whole.items() if "embed_tokens" not in name}
    source = write(tmp_path / "whole", wordless, CONFIG)
    with pytest.raises(InputError, match=r"lacks model\.embed_tokens\.weight"):
        open_published(source, vision_tower=folders["delta"] / "vision_tower")


def test_what_is_not_published_is_told_what_is(tmp_path):
    source = write(tmp_path / "ours", {"a": torch.zeros(1)}, {"model_type": "koine_ferret"})
    with pytest.raises(InputError, match="model_type 'koine_ferret'; give ferret-7b-delta"):
        open_published(source)


def test_a_foreign_tensor_is_named(whole, folders, tmp_path):
    source = write(tmp_path / "whole", {**whole, "model.qformer.weight": torch.zeros(2)}, CONFIG)
    shutil.copy(TOKENIZER, source)
    with pytest.raises(InputError, match=r"beyond a Ferret's, model\.qformer\.weight"):
        convert(source, tmp_path / "out", vision_tower=folders["delta"] / "vision_tower")


# ------------------------------------------------------------------------------------------------------ the right base


def rebased(folders: dict[str, Path], base: dict[str, Tensor], tmp_path: Path) -> Path:
    folder = write(tmp_path / "other", base, {"model_type": "llama", **CONFIG})
    shutil.copy(TOKENIZER, folder)
    return folder


def another_model(base):
    return {name: tensor.flip(0) for name, tensor in base.items()}


def relative(base):
    generator = torch.Generator().manual_seed(2)
    return {
        name: (tensor.float() + 1e-4 * torch.randn(tensor.shape, generator=generator)).half()
        for name, tensor in base.items()
    }


def rounded(base):
    return {name: tensor.bfloat16() for name, tensor in base.items()}


@pytest.mark.parametrize("change", [another_model, relative, rounded])
def test_any_other_base_is_refused(folders, base, tmp_path, change):
    other = rebased(folders, change(base), tmp_path)
    with pytest.raises(InputError, match="of the sums are float16 numbers, not all"):
        open_published(folders["delta"], base=other)
    assert open_published(folders["delta"], base=other, trust_base=True).sizes


def test_the_command_converts_and_refuses_a_wrong_base_in_one_line(folders, base, tmp_path, capsys):
    from koine.cli import main

    other = rebased(folders, another_model(base), tmp_path)
    before = sorted(tmp_path.rglob("*"))
    words = ["convert", "ferret", "--from", str(folders["delta"]), "--to", str(tmp_path / "out")]
    assert main([*words, "--base", str(other)]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith(f"error: base {other} is not the delta's") and "v1.3" in shown.err
    assert shown.err.count("\n") == 1 and sorted(tmp_path.rglob("*")) == before
    assert main([*words, "--base", str(folders["base"]), "--set", "heads=2"]) == 2
    assert "no option of converting ferret 'heads'" in capsys.readouterr().err
    assert main([*words, "--base", str(folders["base"])]) == 0
    assert isinstance(Ferret.load(str(tmp_path / "out")), Ferret)


def test_the_right_base_fits_everywhere(folders, base, delta, tmp_path):
    names = list(base)
    single = Checkpoint(write(tmp_path / "single", {name: tensor.float() for name, tensor in base.items()}))
    assert share_on_grid(Checkpoint(folders["delta"]), Checkpoint(folders["base"]), names) == 1
    assert share_on_grid(Checkpoint(folders["delta"]), single, names) == 1


def test_a_delta_that_changes_nothing_tells_nothing(base, tmp_path):
    nothing = Checkpoint(write(tmp_path / "nothing", {name: torch.zeros_like(tensor) for name, tensor in base.items()}))
    assert share_on_grid(nothing, Checkpoint(write(tmp_path / "base", base)), list(base)) is None


def test_settings_of_vicuna_1_5_are_recognised(folders):
    config = {"model_type": "llama", **CONFIG, "max_position_embeddings": 4096}
    (folders["base"] / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="max_position_embeddings is 4096, the delta's 2048"):
        open_published(folders["delta"], base=folders["base"])


def test_a_base_of_another_size_is_refused(folders, base, tmp_path):
    smaller = {name: tensor[..., :-2] for name, tensor in base.items()}
    with pytest.raises(InputError, match=r"is \[.*\] there and \[.*\] in the delta"):
        open_published(folders["delta"], base=rebased(folders, smaller, tmp_path))
    deeper = {**base, "model.layers.1.mlp.up_proj.weight": torch.zeros(2, 2)}
    with pytest.raises(InputError, match=r"the delta lacks its model\.layers\.1"):
        open_published(folders["delta"], base=rebased(folders, deeper, tmp_path))


def test_a_base_may_be_named_by_its_digest(folders):
    digest = fingerprint(Checkpoint(folders["base"]))
    assert open_published(folders["delta"], base=folders["base"], base_sha256=digest.upper()).sizes
    with pytest.raises(InputError, match=f"has the sha256 {digest}"):
        open_published(folders["delta"], base=folders["base"], base_sha256="0" * 64)


# --------------------------------------------------------------------------------------------------------- checkpoints


def test_files_of_every_kind_are_read(tmp_path):
    tensors = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}
    folders = [
        write(tmp_path / f"{kind}{files}", tensors, files=files, kind=kind)
        for kind in ("safetensors", "bin")
        for files in (1, 2)
    ]
    old = tmp_path / "old.bin"
    torch.save(tensors, old, _use_new_zipfile_serialization=False)
    for source in (*folders, old, folders[0] / "model.safetensors"):
        checkpoint = Checkpoint(source)
        assert checkpoint.files.keys() == {"a", "b"}
        assert checkpoint.shape("b") == (2, 2)
        assert torch.equal(checkpoint.read("a"), tensors["a"])


def test_code_in_a_torch_file_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"a": Trap()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="not a readable weights file"):
        Checkpoint(tmp_path)
    assert not (tmp_path / "sprung").exists()


def test_folders_without_weights_are_named(tmp_path):
    with pytest.raises(InputError, match="holds no weights"):
        Checkpoint(tmp_path)
    with pytest.raises(InputError, match="there is no checkpoint at"):
        Checkpoint(tmp_path / "none")
    (tmp_path / "model.safetensors.index.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        Checkpoint(tmp_path)


def test_a_hub_that_can_t_be_reached_is_named(monkeypatch):
    import huggingface_hub

    def unreachable(name, **options):
        raise ConnectionError("no network\nsecond line")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(InputError, match=r"the hub failed \(no network\): give an existing folder"):
        locate("somebody/ferret")
    with pytest.raises(InputError, match="or a hub id such as owner/model"):
        locate("a/b/c")


def test_a_hub_id_is_fetched(monkeypatch, tmp_path):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **options: str(tmp_path / name))
    assert locate("somebody/ferret") == tmp_path / "somebody/ferret"
