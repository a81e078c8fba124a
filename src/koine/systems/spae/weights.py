"""SPAE's weights: folders of our own, and checkpoints in MAGVIT's layout.

No weights of SPAE or MAGVIT were ever published. MAGVIT's code was, so checkpoints that somebody trained with it load
here: flax trees saved as safetensors, names joined by "/", such as `encoder/ResBlock_0/Conv_0/kernel`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig

from koine.errors import InputError
from koine.files import write_atomically
from koine.quiet_loading import without_reports
from koine.systems.spae.config import SpaeConfig
from koine.systems.spae.model import SpaeModel

NANO_WEIGHTS = Path(__file__).parents[2] / "weights" / "spae"

_CONV = {"kernel": "weight", "bias": "bias"}
_NORM = {"scale": "weight", "bias": "bias"}
_ATTENTION = {"q": "query", "k": "key", "v": "value", "proj_out": "out"}


def published_names(config: SpaeConfig) -> dict[str, str]:
    """flax's name of every tensor of a learnt-codebook model -> ours.

    flax numbers modules of a kind in the order in which they are made, not by level.
    """
    return {
        **{f"encoder/{theirs}": f"encoder.{ours}" for theirs, ours in _side_names(_encoder_order(config), config)},
        **{f"decoder/{theirs}": f"decoder.{ours}" for theirs, ours in _side_names(_decoder_order(config), config)},
        "quantizer/codebook": "quantizer.codebook",
    }


def discriminator_names(blocks: int) -> dict[str, str]:
    """flax's name of every tensor of the discriminator -> ours."""
    names = {"Conv_0": "conv_in", "Conv_1": "conv_out", "Dense_0": "hidden", "Dense_1": "out"}
    found = {f"{theirs}/{a}": f"{ours}.{b}" for theirs, ours in names.items() for a, b in _CONV.items()}
    for number in range(blocks):
        inside = {"Conv_0": "conv1", "Conv_1": "shortcut", "Conv_2": "conv2"}
        for theirs, ours in inside.items():
            for a, b in _CONV.items():
                if not (ours == "shortcut" and a == "bias"):
                    found[f"ResBlock_{number}/{theirs}/{a}"] = f"blocks.{number}.{ours}.{b}"
    return found


def _encoder_order(config: SpaeConfig) -> Iterator[tuple[str, str, bool]]:
    """(flax's kind, our module, what of it there may be) in the order of creation; see `_side_names`."""
    yield "Conv", "conv_in", False
    channels, last = config.filters, len(config.multipliers) - 1
    for level, multiplier in enumerate(config.multipliers):
        for number in range(config.encoder_blocks):
            yield "ResBlock", f"levels.{level}.{number}", channels != config.filters * multiplier
            channels = config.filters * multiplier
        if level < last and config.downsample == "conv":
            yield "Conv", f"downs.{level}", True
    for number in range(config.encoder_blocks):
        if config.attention_heads and number == config.encoder_blocks - 1:
            yield "AttnBlock", "attention", False
        yield "ResBlock", f"middle.{number}", False
    yield "Norm", "norm_out", False
    yield "Conv", "conv_out", True


def _decoder_order(config: SpaeConfig) -> Iterator[tuple[str, str, bool]]:
    """As `_encoder_order`."""
    yield "Conv", "conv_in", True
    channels = config.filters * config.multipliers[-1]
    for number in range(config.decoder_blocks):
        yield "ResBlock", f"middle.{number}", False
        if config.attention_heads and number == 0:
            yield "AttnBlock", "attention", False
    last = len(config.multipliers) - 1
    for place, multiplier in enumerate(reversed(config.multipliers)):
        for number in range(config.decoder_blocks):
            yield "ResBlock", f"levels.{place}.{number}", channels != config.filters * multiplier
            channels = config.filters * multiplier
        if place < last:
            inside = f"ups.{place}" if config.upsample == "deconv" else f"ups.{place}.{_place_of_conv(config)}"
            yield ("ConvTranspose" if config.upsample == "deconv" else "Conv"), inside, True
    yield "Norm", "norm_out", False
    yield "Conv", "conv_out", True


def _place_of_conv(config: SpaeConfig) -> int:
    """Where in `upsampling`'s sequence the convolution stands."""
    return 0 if config.upsample == "depth_to_space" else 1


def _side_names(order: Iterator[tuple[str, str, bool]], config: SpaeConfig) -> Iterator[tuple[str, str]]:
    """Pairs of flax's names and ours for the modules of encoder or decoder.

    The flag of a convolution says whether it has a bias, that of a residual block whether it has a shortcut.
    """
    norm = "GroupNorm" if config.norm == "group" else "LayerNorm"
    made: dict[str, int] = {}
    for kind, ours, flag in order:
        name = f"{norm if kind == 'Norm' else kind}_{made.get(kind, 0)}"
        made[kind] = made.get(kind, 0) + 1
        if kind == "ResBlock":
            yield from _block_names(name, ours, norm, shortcut=flag)
        elif kind == "AttnBlock":
            yield from ((f"{name}/norm/{a}", f"{ours}.norm.{b}") for a, b in _NORM.items())
            for theirs, part in _ATTENTION.items():
                yield from ((f"{name}/{theirs}/{a}", f"{ours}.{part}.{b}") for a, b in _CONV.items())
        elif kind == "Norm":
            yield from ((f"{name}/{a}", f"{ours}.{b}") for a, b in _NORM.items())
        else:
            yield from ((f"{name}/{a}", f"{ours}.{b}") for a, b in _CONV.items() if flag or a == "kernel")


def _block_names(name: str, ours: str, norm: str, *, shortcut: bool) -> Iterator[tuple[str, str]]:
    for number in (0, 1):
        yield f"{name}/Conv_{number}/kernel", f"{ours}.conv{number + 1}.weight"
        yield from ((f"{name}/{norm}_{number}/{a}", f"{ours}.norm{number + 1}.{b}") for a, b in _NORM.items())
    if shortcut:
        yield f"{name}/Conv_2/kernel", f"{ours}.shortcut.weight"


def convert_tensor(name: str, tensor: Tensor) -> Tensor:
    """A flax array as torch has it: kernels of convolutions, of linear maps and of attention, others unchanged."""
    if not name.endswith("kernel"):
        return tensor.flatten() if "/AttnBlock" in name and tensor.ndim == 2 else tensor
    if "/ConvTranspose" in name:  # torch's is turned by 180 degrees
        return tensor.permute(2, 3, 0, 1).flip(2, 3).contiguous()
    if tensor.ndim == 4:
        return tensor.permute(3, 2, 0, 1).contiguous()
    if name.endswith("/proj_out/kernel"):
        return tensor.flatten(0, 1).T.contiguous()  # [heads, width of a head, channels]
    return tensor.flatten(1).T.contiguous()  # [channels, heads, width of a head], or [in, out]


def convert_state(published: Mapping[str, Tensor], config: SpaeConfig) -> dict[str, Tensor]:
    """MAGVIT's tensors under our names and in our shapes.

    Raises:
        InputError: a tensor is missing or left over.
    """
    names = published_names(config)
    faults = [
        *(f"lacks {name}" for name in sorted(names.keys() - published.keys())),
        *(f"has {name}, which this size has not" for name in sorted(published.keys() - names.keys())),
    ]
    if faults:
        raise InputError(
            f"the checkpoint {faults[0]}{f' ({len(faults)} such faults)' if len(faults) > 1 else ''}: name the options "
            "of the network it was trained with"
        )
    return {ours: convert_tensor(theirs, published[theirs]) for theirs, ours in names.items()}


def build(config: SpaeConfig, state: Mapping[str, Tensor]) -> SpaeModel:
    """A model with exactly these weights (under our names), in evaluation mode.

    Raises:
        InputError: a weight is missing, left over or of another shape.
    """
    with torch.device("meta"):
        model = SpaeModel(config)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    faults = [
        *(f"lacks {name}" for name in sorted(expected.keys() - state.keys())),
        *(f"has {name}, which this size has not" for name in sorted(state.keys() - expected.keys())),
        *(
            f"has {name} of shape {tuple(state[name].shape)} instead of {expected[name]}"
            for name in sorted(expected.keys() & state.keys())
            if tuple(state[name].shape) != expected[name]
        ),
    ]
    if faults:
        raise InputError(f"the weights don't fit this SPAE: it {faults[0]}: give the weights that belong to it")
    fresh = SpaeModel(config)
    fresh.load_state_dict(dict(state))
    return fresh.eval()


def load_folder(
    folder: str | os.PathLike[str], *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> SpaeModel:
    """A SPAE from a folder that `save_pretrained` or `convert` wrote, in evaluation mode; float32 by default.

    Raises:
        InputError: the folder holds another model, nothing, or damaged files.
    """
    path = Path(folder)
    if not (path / "config.json").is_file():
        raise InputError(
            f"{path} holds no SPAE: it has no config.json; give a folder that koine train or convert wrote"
        )
    try:
        described = json.loads((path / "config.json").read_text(encoding="utf-8"))
        kind = described.get("model_type") if isinstance(described, dict) else None
        if kind != SpaeConfig.model_type:
            raise InputError(f"{path} holds a model of type {kind!r}, not a SPAE: give a folder of SPAE weights")
        with without_reports():
            loaded: Any = SpaeModel.from_pretrained(
                path, output_loading_info=True, dtype=dtype or torch.float32, ignore_mismatched_sizes=True
            )
    except InputError:
        raise
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"the weights in {path} can't be read ({reason}): get the folder again") from error
    model, report = loaded
    if others := sorted(report["mismatched_keys"]):
        name, given, expected = others[0]
        raise InputError(
            f"the weights in {path} are not those of its config: {name} has the shape {list(given)} instead of "
            f"{list(expected)}: give weights and config of one model"
        )
    if faults := [*report["missing_keys"], *report["unexpected_keys"]]:
        raise InputError(
            f"the weights in {path} are not those of its config: {sorted(faults)[0]} is missing or left over"
        )
    if device is not None:
        model.to(torch.device(device))
    return model.eval()


def convert(source: str | os.PathLike[str], out: str | os.PathLike[str], **options: Any) -> Path:
    """Writes a checkpoint in MAGVIT's layout as a folder of ours.

    Args:
        source: a safetensors file of the flax tree, names joined by "/"; `params/` and `ema_params/` in front are
            taken off, the moving average preferred.
        options: fields of `SpaeConfig` that differ from the 2D network's, such as `image_size` and `pyramid`. Filters
            and the codebook's size are read off the tensors.
    Raises:
        InputError: the file isn't there or damaged, or doesn't fit the options; or there is no such option.
    """
    for option in options:
        if option not in SpaeConfig.__annotations__:
            raise InputError(f"a checkpoint of MAGVIT needs no {option}: leave it away")
    try:
        arrays = load_file(source)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{source} can't be read as safetensors ({error}): save the flax tree so, names joined by '/'"
        ) from error
    tree = _chosen_tree(arrays)
    config = SpaeConfig.magvit(**{**_told_by(tree), **options})
    model = build(config, convert_state(tree, config))
    with write_atomically(out) as folder:
        folder.mkdir()
        model.save_pretrained(folder)
    return Path(out)


def _told_by(tree: Mapping[str, Tensor]) -> dict[str, Any]:
    """Settings that the shapes of MAGVIT's tensors tell."""
    first, codebook = tree.get("encoder/Conv_0/kernel"), tree.get("quantizer/codebook")
    if first is None or codebook is None or first.ndim != 4 or codebook.ndim != 2:
        raise InputError("the checkpoint has no encoder/Conv_0/kernel and quantizer/codebook: give a MAGVIT of 2D")
    return {"filters": first.shape[3], "codebook_size": codebook.shape[0], "width": codebook.shape[1]}


def _chosen_tree(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The moving average if the file has one, else the parameters, without the name of the tree in front."""
    for tree in ("ema_params/", "g_params/", "params/"):
        if found := {name.removeprefix(tree): array for name, array in arrays.items() if name.startswith(tree)}:
            return found
    return dict(arrays)


AutoConfig.register(SpaeConfig.model_type, SpaeConfig, exist_ok=True)
