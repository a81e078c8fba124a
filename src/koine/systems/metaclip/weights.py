"""MetaCLIP's weights: folders of transformers' own, and the release's checkpoints in OpenCLIP's layout."""

from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import interpolate
from transformers import AutoConfig, AutoTokenizer, CLIPConfig, MetaClip2Config

from koine.errors import InputError
from koine.files import write_atomically
from koine.systems.metaclip.config import SIZES, TOKENIZERS, Config, Size, Tokens, build_config
from koine.systems.metaclip.model import Model, model_class

NANO_WEIGHTS = Path(__file__).parents[2] / "weights" / "metaclip"
_PREFIXES = re.compile(r"^(?:_orig_mod\.|module\.)+")
_ENDINGS = (".pt", ".bin", ".pth", ".safetensors")

_TOWERS = {"visual.transformer.": "vision_model.encoder.", "transformer.": "text_model.encoder."}
_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_OUTSIDE = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",  # transformers spells it so
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "logit_scale": "logit_scale",
}
# The release multiplies features from the left with these, transformers from the right.
_TRANSPOSED = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}
_IN_BLOCK = re.compile(r"((?:visual\.)?transformer\.)resblocks\.(\d+)\.(.+)\.(weight|bias)")
_ATTENTION_INPUT = re.compile(r"((?:visual\.)?transformer\.)resblocks\.(\d+)\.attn\.in_proj_(weight|bias)")


def convert_state(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint's tensors under transformers' names.

    Prefixes of torch.compile and of data-parallel training are removed; the three input maps of each attention, which
    the release stacks, are taken apart.

    Raises:
        InputError: a tensor is none of CLIP's.
    """
    state: dict[str, Tensor] = {}
    for given, tensor in published.items():
        name = without_prefixes(given)
        if name in ("attn_mask", "text.attn_mask"):
            continue
        if name in _OUTSIDE:
            state[_OUTSIDE[name]] = tensor
        elif name in _TRANSPOSED:
            state[_TRANSPOSED[name]] = tensor.T.contiguous()
        elif match := _ATTENTION_INPUT.fullmatch(name):
            tower, layer, kind = match.groups()
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                state[f"{_TOWERS[tower]}layers.{layer}.self_attn.{part}_proj.{kind}"] = rows.contiguous()
        elif (match := _IN_BLOCK.fullmatch(name)) and match[3] in _BLOCK:
            tower, layer, inner, kind = match.groups()
            state[f"{_TOWERS[tower]}layers.{layer}.{_BLOCK[inner]}.{kind}"] = tensor
        else:
            raise InputError(f"the checkpoint has a tensor {given!r} that no MetaCLIP has: give one of its releases")
    return state


def without_prefixes(name: str) -> str:
    """A tensor's name without what compiling and wrapping, in either order, put in front of it."""
    return _PREFIXES.sub("", name)


def infer_config(published: Mapping[str, Tensor], *, quick_gelu: bool) -> Config:
    """The configuration that fits a checkpoint: everything but the activation can be told from shapes.

    Raises:
        InputError: the shapes are those of none of the published sizes.
    """
    shapes = {without_prefixes(name): tuple(tensor.shape) for name, tensor in published.items()}
    try:
        vision, _, patch, _ = shapes["visual.conv1.weight"]
        positions, dim = shapes["visual.positional_embedding"][0], shapes["visual.proj"][1]
        vocabulary, text = shapes["token_embedding.weight"]
        text_length = shapes["positional_embedding"][0]
    except (KeyError, ValueError) as error:
        raise InputError(f"the checkpoint lacks {error} of a MetaCLIP: give one of its releases") from error
    size = _find_size(dim, vision, patch, text)
    tokens = {901_629: Tokens.XLM_V, 250_000: Tokens.MT5}.get(vocabulary, Tokens.CLIP)
    return build_config(
        size,
        tokens=tokens,
        image_size=patch * round((positions - 1) ** 0.5),
        quick_gelu=quick_gelu,
        text_length=text_length,
        vocabulary=vocabulary,
    )


def has_quick_gelu(name: str, published: Mapping[str, Tensor]) -> bool:
    """Which activation a published file has, by its name and its vocabulary, since its tensors don't tell."""
    shapes = {without_prefixes(key): tuple(tensor.shape) for key, tensor in published.items()}
    if "quickgelu" in name.lower():
        return True
    if shapes["token_embedding.weight"][0] == 49_408:
        return not ("v1.2" in name or "v1_2" in name or "altogether" in name)
    # Of the worldwide models one has it, whose file is not always named after it.
    return shapes["visual.conv1.weight"][0] == 1280 and shapes["visual.positional_embedding"][0] == 257


def build(config: Config, state: Mapping[str, Tensor], *, dtype: torch.dtype = torch.float32) -> Model:
    """A model with exactly these weights (under transformers' names), in evaluation mode.

    Position embeddings for another resolution are resized as the release does.

    Raises:
        InputError: a weight is missing, left over or of another shape.
    """
    with torch.device("meta"):
        model = model_class(config)(config)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    state = dict(state)
    positions = "vision_model.embeddings.position_embedding.weight"
    if positions in state and state[positions].shape != expected[positions]:
        state[positions] = resize_positions(state[positions], expected[positions][0])
    faults = [
        *(f"lacks {name}" for name in expected.keys() - state.keys()),
        *(f"has {name}, which this size has not" for name in state.keys() - expected.keys()),
        *(
            f"has {name} of shape {tuple(state[name].shape)} instead of {expected[name]}"
            for name in expected.keys() & state.keys()
            if tuple(state[name].shape) != expected[name]
        ),
    ]
    if faults:
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise InputError(f"the checkpoint does not fit this size: it {sorted(faults)[0]}{more}")
    model.to_empty(device="cpu")
    model.load_state_dict({name: tensor.to(dtype) for name, tensor in state.items()}, strict=True)
    # Numbers of positions are buffers that no checkpoint has.
    for part in (model.vision_model.embeddings, model.text_model.embeddings):
        part.position_ids = torch.arange(part.position_embedding.num_embeddings).expand(1, -1)
    return model.to(dtype).eval()


def resize_positions(positions: Tensor, wanted: int) -> Tensor:
    """Position embeddings [1 + patches, width] for another square of patches: bicubic, with aligned corners."""
    grid, side = round((len(positions) - 1) ** 0.5), round((wanted - 1) ** 0.5)
    patches = positions[1:].float().T.reshape(1, -1, grid, grid)
    resized = interpolate(patches, size=(side, side), mode="bicubic", align_corners=True)
    return torch.cat([positions[:1], resized.flatten(2)[0].T.to(positions.dtype)])


def read_published(path: Path) -> dict[str, Tensor]:
    """The tensors of a published file: a state dict, bare or inside of a training checkpoint.

    Raises:
        InputError: the file is missing, damaged, or holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise InputError(f"{path} is no readable checkpoint ({reason}): fetch it again") from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise InputError(f"{path} holds no state dict: give a MetaCLIP checkpoint")
    return state


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    base: str | None = None,
    quick_gelu: bool | None = None,
) -> Path:
    """Makes a folder that `MetaClip.load` takes from a file of the release (`b32_400m.pt`, ...).

    Args:
        source: the file, or a folder with that file alone.
        target: the folder to make.
        base: folder or hub id of the tokenizer, by default the one that the release uses.
        quick_gelu: which activation it was trained with, by default what its name says (`has_quick_gelu`).

    Raises:
        InputError: the file is none of the release's, or there is no tokenizer to be had.
    """
    path = _published_file(Path(source))
    published = read_published(path)
    state = convert_state(published)
    config = infer_config(
        published, quick_gelu=has_quick_gelu(path.name, published) if quick_gelu is None else quick_gelu
    )
    model = build(config, state)
    tokenizer = load_tokenizer(base or TOKENIZERS[tokens_of(config)])
    with write_atomically(Path(target)) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return Path(target)


def load_folder(
    folder: str | os.PathLike[str], *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> Model:
    """A model from a folder (or hub id) in transformers' layout, such as the release's on the hub; in evaluation mode.

    Raises:
        InputError: it holds another model or is damaged.
    """
    try:
        config = AutoConfig.from_pretrained(folder)
        if not isinstance(config, CLIPConfig | MetaClip2Config):
            raise InputError(f"{folder} holds a model of type {config.model_type!r}, no CLIP: give MetaCLIP's weights")
        model: Model = model_class(config).from_pretrained(folder, dtype=dtype or torch.float32)
    except (OSError, ValueError, SafetensorError, json.JSONDecodeError) as error:
        if isinstance(error, InputError):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise InputError(
            f"{folder} holds no readable MetaCLIP ({reason}): give a folder that koine made, or a hub id"
        ) from error
    return model.to(device or "cpu").eval()  # type: ignore[arg-type]


def load_tokenizer(source: str | os.PathLike[str]) -> Any:
    """A tokenizer from a folder or from the hub.

    Raises:
        InputError: there is none.
    """
    try:
        return AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, ImportError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise InputError(
            f"there is no tokenizer at {source} ({reason}): give its folder or hub id with --base"
        ) from error


def tokens_of(config: Config) -> Tokens:
    """Whose tokens a model reads."""
    if isinstance(config, CLIPConfig):
        return Tokens.CLIP
    end: Any = config.text_config.eos_token_id  # type: ignore[union-attr]
    return Tokens.MT5 if end == 1 else Tokens.XLM_V


def _published_file(source: Path) -> Path:
    if source.is_dir():
        files = sorted(path for path in source.iterdir() if path.suffix in _ENDINGS)
        if len(files) != 1:
            raise InputError(f"{source} holds {len(files)} checkpoints: name the file itself")
        return files[0]
    if not source.is_file():
        raise InputError(f"there is no checkpoint {source}: give the file of a release, such as b32_400m.pt")
    return source


def _find_size(dim: int, vision: int, patch: int, text: int) -> Size:
    for size in SIZES.values():
        if (size.dim, size.vision.width, size.patch, size.text.width) == (dim, vision, patch, text):
            return size
    raise InputError(
        f"no published MetaCLIP has widths {vision} (pictures) and {text} (texts), patches of {patch} pixels and {dim} "
        "shared dimensions: give one of the release's checkpoints"
    )
