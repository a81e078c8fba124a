"""A VQ-VAE's weights: folders of our own, and published checkpoints, whose sizes are told from their tensors."""

from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from koine.errors import InputError
from koine.files import write_atomically
from koine.quiet_loading import without_reports
from koine.systems.vqvae.config import VQVAEConfig
from koine.systems.vqvae.model import VQVAEModel
from koine.systems.vqvae.published_names import State, from_pixelcnn, from_pytorch_vqvae, from_vqvae2

NANO_WEIGHTS = Path(__file__).parents[2] / "weights" / "vqvae"
PUBLISHED_FACES = "vqvae_560"
"""The published VQ-VAE-2 of faces; it was trained by code whose residual blocks add to relu(x)."""


def infer_autoencoder(published: Mapping[str, Tensor], **options: Any) -> tuple[VQVAEConfig, State]:
    """The configuration and our tensors of a published autoencoder, told by its names and shapes.

    Args:
        options: fields of the configuration that its tensors don't tell.
    Raises:
        InputError: it is no VQ-VAE of a known layout.
    """
    names = {name.removeprefix("module."): tensor for name, tensor in published.items()}
    try:
        if "quantize_t.embed" in names:
            code_width, codes = names["quantize_t.embed"].shape
            width, first_width = names["enc_b.blocks.4.weight"].shape[0], names["enc_b.blocks.0.weight"].shape[0]
            stacked = [name for name in names if re.fullmatch(r"dec\.blocks\.\d+\.conv\.1\.weight", name)]
            sizes = {
                "codes": codes,
                "code_width": code_width,
                "width": width,
                "first_width": first_width,
                "blocks": len(stacked),
                "block_width": names[stacked[0]].shape[0],
                "channels": names["enc_b.blocks.0.weight"].shape[1],
            }
            return VQVAEConfig.published("vq-vae-2", **{**sizes, **options}), from_vqvae2(names)
        if "codebook.embedding.weight" in names:
            codes, width = names["codebook.embedding.weight"].shape
            same = dict.fromkeys(("width", "first_width", "block_width", "code_width"), width)
            sizes = {**same, "codes": codes, "channels": names["encoder.0.weight"].shape[1]}
            return VQVAEConfig.published("pytorch-vqvae", **{**sizes, **options}), from_pytorch_vqvae(names)
    except KeyError as error:
        raise InputError(f"the checkpoint lacks {error} of a VQ-VAE: give a whole one") from error
    except (IndexError, ValueError) as error:
        raise InputError(
            f"the checkpoint lacks blocks of a VQ-VAE, or its tensors have other shapes ({error}): give a whole one"
        ) from error
    raise InputError("the checkpoint is no VQ-VAE that koine knows: give a VQ-VAE-2's or a pytorch-vqvae's")


def infer_pixelcnn(published: Mapping[str, Tensor]) -> tuple[dict[str, Any], State]:
    """The fields of `VQVAEConfig` that describe a published gated PixelCNN, and our tensors of it.

    Raises:
        InputError: it is none.
    """
    names = {name.removeprefix("module."): tensor for name, tensor in published.items()}
    try:
        classes = len(names["layers.0.class_cond_embedding.weight"])
        fields: dict[str, Any] = {
            "prior": "pixelcnn",
            "prior_width": names["embedding.weight"].shape[1],
            "prior_layers": len({name.split(".")[1] for name in names if name.startswith("layers.")}),
            "prior_head": names["output_conv.0.weight"].shape[0],
            "prior_first_kernel": names["layers.0.vert_stack.weight"].shape[3],
            "prior_kernel": names["layers.1.vert_stack.weight"].shape[3],
            "prior_labels": [[str(number) for number in range(classes)]],
        }
    except KeyError as error:
        raise InputError(f"the checkpoint lacks {error} of a gated PixelCNN: give pytorch-vqvae's prior") from error
    except IndexError as error:
        raise InputError(
            f"the checkpoint's tensors aren't a gated PixelCNN's ({error}): give pytorch-vqvae's"
        ) from error
    return fields, from_pixelcnn(names)


def build(config: VQVAEConfig, state: Mapping[str, Tensor]) -> VQVAEModel:
    """A model with exactly these weights, in evaluation mode.

    What a published file lacks and nothing needs is filled in: how many steps an average has seen, and debiased
    averages, which begin anew.

    Raises:
        InputError: a weight is missing, left over or of another shape.
    """
    with torch.device("meta"):
        expected = VQVAEModel(config).state_dict()
    state = dict(state)
    for name, tensor in expected.items():
        what = name.rpartition(".")[2]
        if name not in state and what in _FILLED and (config.ema_debiased or what not in ("counts", "sums")):
            state[name] = _FILLED[what](tensor)
    faults = [
        *(f"lacks {name}" for name in expected.keys() - state.keys()),
        *(f"has {name}, which this size has not" for name in state.keys() - expected.keys()),
        *(
            f"has {name} of shape {list(state[name].shape)} instead of {list(expected[name].shape)}"
            for name in expected.keys() & state.keys()
            if state[name].shape != expected[name].shape
        ),
    ]
    if faults:
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise InputError(f"the checkpoint does not fit this VQ-VAE: it {sorted(faults)[0]}{more}")
    model = VQVAEModel(config)
    model.load_state_dict(state)
    return model.eval()


_FILLED: dict[str, Callable[[Tensor], Tensor]] = {
    "steps": lambda like: torch.zeros(like.shape, dtype=torch.long),
    "started": lambda like: torch.ones(like.shape, dtype=torch.bool),
    "counts": lambda like: torch.zeros(like.shape),
    "sums": lambda like: torch.zeros(like.shape),
}


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    base: str | os.PathLike[str] | None = None,
    skip_after_relu: bool | None = None,
) -> Path:
    """Makes a folder that `VQVAE.load` takes from a published file.

    Args:
        source: a VQ-VAE-2 (such as `vqvae_560.pt`), a pytorch-vqvae, or that port's gated PixelCNN.
        target: the folder to make.
        base: for a PixelCNN, the converted folder of the VQ-VAE whose codes it draws.
        skip_after_relu: whether the file's residual blocks add to relu(x), which its tensors don't tell. By default
            as its code did: always in pytorch-vqvae; in VQ-VAE-2 for the published `vqvae_560.pt`, which is older than
            the change of 2021-01-23.
    Raises:
        InputError: the file is none of these, or it is damaged; a prior without a base, or a base without a prior.
    """
    path = Path(source)
    published = read_published(path)
    if any(name.removeprefix("module.") == "layers.0.vert_stack.weight" for name in published):
        if base is None:
            raise InputError(f"{path} is a prior alone: name the folder of the VQ-VAE whose codes it draws with --base")
        fields, prior = infer_pixelcnn(published)
        under = load_folder(base)
        config = VQVAEConfig(**{**under.config.to_diff_dict(), **fields})
        autoencoder = {name: tensor for name, tensor in under.state_dict().items() if name.startswith("autoencoder.")}
        model = build(config, autoencoder | {f"priors.0.{name}": tensor for name, tensor in prior.items()})
    elif base is not None:
        raise InputError(f"{path} is no prior, which alone is joined to a base: leave --base {base} out")
    else:
        options: dict[str, Any] = {}
        if skip_after_relu is not None:
            options["skip_after_relu"] = skip_after_relu
        elif path.name.startswith(PUBLISHED_FACES):
            options["skip_after_relu"] = True
        config, state = infer_autoencoder(published, **options)
        model = build(config, {f"autoencoder.{name}": tensor for name, tensor in state.items()})
    with write_atomically(Path(target)) as folder:
        model.save_pretrained(folder)
    return Path(target)


def read_published(path: Path) -> State:
    """The tensors of a published file: a state dict, bare or under `model` beside what its training kept.

    Raises:
        InputError: the file is missing, damaged, or holds something else.
    """
    if not path.is_file():
        raise InputError(f"there is no checkpoint {path}: give the file, such as vqvae_560.pt")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise InputError(f"{path} is no readable checkpoint ({reason}): fetch it again") from error
    state = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in state.items()
    ):
        raise InputError(f"{path} holds no state dict: give a VQ-VAE's checkpoint")
    return state


def load_folder(
    folder: str | os.PathLike[str], *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> VQVAEModel:
    """A model from a folder (or hub id) that koine made, in evaluation mode.

    Raises:
        InputError: it holds another model or is damaged.
    """
    try:
        config = json.loads((Path(folder) / "config.json").read_text()) if Path(folder).is_dir() else {}
        kind = config.get("model_type", VQVAEConfig.model_type) if isinstance(config, dict) else None
        if kind != VQVAEConfig.model_type:
            raise InputError(f"{folder} holds a model of type {kind!r}, no VQ-VAE of koine's: give another folder")
        with without_reports():
            loaded: Any = VQVAEModel.from_pretrained(
                folder, dtype=dtype or torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if isinstance(error, InputError):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise InputError(f"{folder} holds no readable VQ-VAE ({reason}): give a folder that koine made") from error
    model, notes = loaded
    if others := sorted(notes["mismatched_keys"]):
        name, given, expected = others[0]
        raise InputError(
            f"{folder} is damaged: {name} has the shape {list(given)}, and {list(expected)} by its config: give "
            "weights and config of one model"
        )
    for fault in ("missing_keys", "unexpected_keys"):
        if notes[fault]:
            raise InputError(f"{folder} is damaged: {fault.replace('_', ' ')} {sorted(map(str, notes[fault]))[0]}")
    return model.to(device or "cpu").eval()
