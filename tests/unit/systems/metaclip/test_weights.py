"""Checkpoints: which they are, what fits, and what is refused. tests/parity holds their numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPConfig, MetaClip2Config

from koine.errors import InputError
from koine.systems.metaclip.config import SIZES, Size, Tokens, _tower, build_config, config_of_release
from koine.systems.metaclip.system import MetaClip
from koine.systems.metaclip.weights import (
    build,
    convert,
    convert_state,
    has_quick_gelu,
    infer_config,
    read_published,
    resize_positions,
    tokens_of,
)

NANO_CLIP = Path(__file__).parents[4] / "src" / "koine" / "weights" / "clip"
TINY = Size(16, _tower(64, 1, 1), 4, _tower(32, 1, 1))


def published(size: Size = TINY, *, vocabulary: int = 50, patches: int = 4, prefix: str = "") -> dict[str, Tensor]:
    """A checkpoint of random numbers in the release's layout."""
    generator = torch.Generator().manual_seed(0)
    vision, text = size.vision, size.text
    shapes: dict[str, tuple[int, ...]] = {
        "visual.class_embedding": (vision.width,),
        "visual.positional_embedding": (1 + patches, vision.width),
        "visual.proj": (vision.width, size.dim),
        "visual.conv1.weight": (vision.width, 3, size.patch, size.patch),
        "positional_embedding": (8, text.width),
        "text_projection": (text.width, size.dim),
        "token_embedding.weight": (vocabulary, text.width),
        "logit_scale": (),
    }
    norms = {"visual.ln_pre": vision.width, "visual.ln_post": vision.width, "ln_final": text.width}
    for start, tower in (("visual.transformer", vision), ("transformer", text)):
        block = f"{start}.resblocks.0"
        norms |= {f"{block}.ln_1": tower.width, f"{block}.ln_2": tower.width}
        for name, rows, columns in (
            ("attn.in_proj_", 3 * tower.width, tower.width),
            ("attn.out_proj.", tower.width, tower.width),
            ("mlp.c_fc.", tower.mlp, tower.width),
            ("mlp.c_proj.", tower.width, tower.mlp),
        ):
            shapes |= {f"{block}.{name}weight": (rows, columns), f"{block}.{name}bias": (rows,)}
    shapes |= {f"{name}.{kind}": (width,) for name, width in norms.items() for kind in ("weight", "bias")}
    return {prefix + name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def tiny_config(image_size: int = 8, vocabulary: int = 50) -> CLIPConfig:
    config = build_config(TINY, image_size=image_size, text_length=8, vocabulary=vocabulary)
    assert isinstance(config, CLIPConfig)
    return config


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."])
def test_prefixes_of_wrappers_are_removed(prefix: str) -> None:
    plain, wrapped = convert_state(published()), convert_state(published(prefix=prefix))
    assert plain.keys() == wrapped.keys()
    assert build(tiny_config(), wrapped).text_projection.weight.shape == (16, 32)


def test_attention_maps_are_taken_apart_and_projections_turned() -> None:
    given = published()
    found = convert_state(given)
    stacked = given["transformer.resblocks.0.attn.in_proj_weight"]
    assert torch.equal(found["text_model.encoder.layers.0.self_attn.k_proj.weight"], stacked[32:64])
    assert torch.equal(found["visual_projection.weight"], given["visual.proj"].T)


def test_a_buffer_of_the_original_is_no_weight() -> None:
    assert convert_state({**published(), "attn_mask": torch.zeros(8, 8)}).keys() == convert_state(published()).keys()


def test_strange_missing_and_misshapen_tensors_are_named() -> None:
    with pytest.raises(InputError, match=r"visual\.head"):
        convert_state({**published(), "visual.head": torch.zeros(1)})
    state = convert_state(published())
    with pytest.raises(InputError, match="lacks logit_scale"):
        build(tiny_config(), {name: tensor for name, tensor in state.items() if name != "logit_scale"})
    with pytest.raises(InputError, match=r"token_embedding\.weight of shape \(50, 32\) instead of \(60, 32\)"):
        build(tiny_config(vocabulary=60), state)


def test_positions_of_another_resolution() -> None:
    positions = torch.arange(5 * 3, dtype=torch.float32).reshape(5, 3)
    resized = resize_positions(positions, 1 + 9)
    assert torch.equal(resized[0], positions[0])
    assert torch.equal(resized_corners(resized, 3), resized_corners(positions, 2))  # corners stay where they are
    assert torch.allclose(resized[5], positions[1:].mean(dim=0))
    model = build(tiny_config(image_size=16), convert_state(published()))
    assert model.vision_model.embeddings.position_embedding.weight.shape == (17, 64)


def resized_corners(positions: Tensor, side: int) -> Tensor:
    return positions[1:].reshape(side, side, -1)[[0, 0, -1, -1], [0, -1, 0, -1]]


@pytest.mark.parametrize(
    ("name", "vocabulary", "width", "patches", "quick"),
    [
        ("b32_400m.pt", 49_408, 768, 49, True),
        ("G14_fullcc2.5b.pt", 49_408, 1664, 256, True),
        ("h14_v1.2_altogether.pt", 49_408, 1280, 256, False),
        ("metaclip2_h14_quickgelu_224px_worldwide.pt", 901_629, 1280, 256, True),
        ("epoch_32.pt", 901_629, 1280, 256, True),
        ("metaclip2_h14_378px_worldwide.pt", 901_629, 1280, 729, False),
        ("metaclip2_b32_224px_worldwide.pt", 901_629, 768, 49, False),
        ("metaclip2_s16_224px_mt5_worldwide.pt", 250_000, 384, 196, False),
    ],
)
def test_which_activation_a_release_has(name: str, vocabulary: int, width: int, patches: int, quick: bool) -> None:
    state = {
        "module.token_embedding.weight": torch.empty(vocabulary, 1, device="meta"),
        "module.visual.conv1.weight": torch.empty(width, 3, 14, 14, device="meta"),
        "module.visual.positional_embedding": torch.empty(1 + patches, width, device="meta"),
    }
    assert has_quick_gelu(name, state) is quick


def test_tokens_decide_where_a_text_is_read() -> None:
    ends = {}
    for tokens in Tokens:
        config = build_config(SIZES["ViT-S-16"], tokens=tokens)
        assert isinstance(config, CLIPConfig if tokens is Tokens.CLIP else MetaClip2Config)
        assert tokens_of(config) is tokens
        ends[tokens] = config.text_config.eos_token_id
    assert ends == {Tokens.CLIP: 49_407, Tokens.XLM_V: 2, Tokens.MT5: 1}


def test_sizes_that_nobody_published() -> None:
    with pytest.raises(InputError, match="no published MetaCLIP"):
        infer_config(published(), quick_gelu=True)
    with pytest.raises(InputError, match="lacks"):
        infer_config({"visual.proj": torch.zeros(2, 2)}, quick_gelu=True)
    with pytest.raises(InputError, match="text_cfg"):
        config_of_release({"vision_cfg": {}, "embed_dim": 2}, Tokens.CLIP)


def test_files_of_every_kind(tmp_path: Path) -> None:
    state = published()
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "training.pt")
    torch.save(state, tmp_path / "bare.pt")
    save_file(state, tmp_path / "safe.safetensors")
    for name in ("training.pt", "bare.pt", "safe.safetensors"):
        assert read_published(tmp_path / name).keys() == state.keys()
    torch.save([1, 2], tmp_path / "list.pt")
    (tmp_path / "short.pt").write_bytes((tmp_path / "bare.pt").read_bytes()[:3000])
    (tmp_path / "short.safetensors").write_bytes((tmp_path / "safe.safetensors").read_bytes()[:3000])
    for name in ("list.pt", "short.pt", "short.safetensors", "missing.pt"):
        with pytest.raises(InputError, match=name):
            read_published(tmp_path / name)


def test_conversion_makes_a_folder_that_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "tiny", TINY)
    torch.save({"state_dict": published(prefix="module.")}, tmp_path / "b32_400m.pt")
    with pytest.raises(InputError, match="--base"):
        convert(tmp_path / "b32_400m.pt", tmp_path / "out", base=str(tmp_path / "no-tokenizer"))
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="checkpoints"):
        convert(NANO_CLIP.parent, tmp_path / "out")


def test_folders_that_hold_something_else(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(InputError, match="llama"):
        MetaClip.load(tmp_path)
    for name in ("/nowhere/at/all", "nowhere"):
        with pytest.raises(InputError, match="no weights at"):
            MetaClip.load(name)
