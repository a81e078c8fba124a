"""Folders and checkpoints in MAGVIT's layout."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from koine.errors import InputError
from koine.systems.spae.config import SpaeConfig
from koine.systems.spae.model import SpaeModel
from koine.systems.spae.weights import build, convert, convert_state, load_folder, published_names

OPTIONS = {
    "filters": 8,
    "groups": 4,
    "multipliers": (1, 2),
    "encoder_blocks": 2,
    "image_size": 16,
    "pyramid": (8,),
    "codebook_size": 12,
    "width": 6,
}


def flax_tree(config: SpaeConfig) -> dict[str, torch.Tensor]:
    """Arrays of the shapes that flax gives them, filled with a ramp."""
    torch.manual_seed(0)
    state = SpaeModel(config).state_dict()
    heads = config.attention_heads
    tree = {}
    for theirs, ours in published_names(config).items():
        tensor = torch.randn(state[ours].shape)
        if "AttnBlock" in theirs and "/norm/" not in theirs:
            if theirs.endswith("proj_out/kernel"):
                tensor = tensor.T.unflatten(0, (heads, -1))
            elif theirs.endswith("kernel"):
                tensor = tensor.T.unflatten(1, (heads, -1))
            elif not theirs.endswith("proj_out/bias"):
                tensor = tensor.unflatten(0, (heads, -1))
        elif "ConvTranspose" in theirs and theirs.endswith("kernel"):
            tensor = tensor.flip(2, 3).permute(2, 3, 0, 1)
        elif theirs.endswith("kernel"):
            tensor = tensor.permute(2, 3, 1, 0)
        tree[theirs] = tensor.contiguous()
    return tree


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"attention_heads": 2, "downsample": "conv", "upsample": "depth_to_space", "norm": "layer"},
        {"upsample": "deconv", "attention_heads": 4},
    ],
)
def test_every_option_has_its_names(options, tmp_path):
    settings = {**OPTIONS, **options}
    config = SpaeConfig.magvit(**settings)
    tree = flax_tree(config)
    save_file({f"ema_params/{name}": array for name, array in tree.items()} | {"step": torch.ones(1)}, tmp_path / "m")
    told = ("filters", "codebook_size", "width")  # the shapes tell these
    folder = convert(tmp_path / "m", tmp_path / "out", **{k: v for k, v in settings.items() if k not in told})
    loaded = load_folder(folder)
    expected = build(config, convert_state(tree, config))
    pixels = torch.rand(1, 3, 16, 16)
    assert torch.equal(loaded(pixels).pixels, expected(pixels).pixels)


def test_names_count_modules_in_the_order_of_their_making():
    names = published_names(SpaeConfig.magvit(**OPTIONS))
    assert names["encoder/ResBlock_2/Conv_2/kernel"] == "encoder.levels.1.0.shortcut.weight"
    assert names["encoder/ResBlock_4/Conv_0/kernel"] == "encoder.middle.0.conv1.weight"
    assert names["decoder/Conv_1/kernel"] == "decoder.ups.0.1.weight"
    assert "encoder/Conv_0/bias" not in names
    assert "decoder/Conv_0/bias" in names


def test_faults_are_named():
    config = SpaeConfig.magvit(**OPTIONS)
    tree = flax_tree(config)
    lost = tree.pop("encoder/Conv_0/kernel")
    with pytest.raises(InputError, match="lacks encoder/Conv_0/kernel"):
        convert_state(tree, config)
    with pytest.raises(InputError, match="has extra, which this size has not"):
        convert_state({**tree, "encoder/Conv_0/kernel": lost, "extra": lost}, config)
    state = convert_state({**tree, "encoder/Conv_0/kernel": lost}, config)
    with pytest.raises(InputError, match=r"conv_in.weight of shape \(8, 3, 1, 1\) instead of \(8, 3, 3, 3\)"):
        build(config, state | {"encoder.conv_in.weight": torch.zeros(8, 3, 1, 1)})


def test_files_that_are_none(tmp_path):
    (tmp_path / "m").write_text("no tensors")
    with pytest.raises(InputError, match="can't be read as safetensors"):
        convert(tmp_path / "m", tmp_path / "out")


def test_another_models_checkpoint_and_options_that_there_are_not(tmp_path):
    save_file({"model.embed_tokens.weight": torch.zeros(2, 2)}, tmp_path / "m")
    with pytest.raises(InputError, match="has no encoder/Conv_0/kernel"):
        convert(tmp_path / "m", tmp_path / "out")
    for option in ("base", "stride", "save_pretrained"):
        with pytest.raises(InputError, match=f"needs no {option}"):
            convert(tmp_path / "m", tmp_path / "out", **{option: "vicuna"})


class TestFolder:
    def test_another_model(self, tmp_path):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
        with pytest.raises(InputError, match="holds a model of type 'llama', not a SPAE"):
            load_folder(tmp_path)

    def test_configs_that_are_none(self, model, tmp_path):
        model.save_pretrained(tmp_path)
        file = tmp_path / "config.json"
        config = json.loads(file.read_text())
        for written, message in (([1], "a model of type None"), ({**config, "filters": "many"}, "filters of SPAE")):
            file.write_text(json.dumps(written))
            with pytest.raises(InputError, match=message):
                load_folder(tmp_path)

    def test_codebook_of_another_width(self, model, tmp_path, capfd):
        model.save_pretrained(tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps({**config, "width": 8}))
        capfd.readouterr()
        with pytest.raises(InputError, match=r"has the shape \[.*\] instead of \[.*\]: give weights and config of one"):
            load_folder(tmp_path)
        assert "REPORT" not in capfd.readouterr().err, "an error is one line"

    def test_cut_off_file(self, model, tmp_path):
        model.save_pretrained(tmp_path)
        file = tmp_path / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-100])
        with pytest.raises(InputError, match="can't be read"):
            load_folder(tmp_path)

    def test_number_type(self, model, tmp_path):
        model.save_pretrained(tmp_path)
        loaded = load_folder(tmp_path, dtype=torch.bfloat16)
        assert loaded.encoder.conv_in.weight.dtype == torch.bfloat16
        assert loaded.token_ids.dtype == torch.int64
