"""Checkpoints of a stage: everything that the rest of the training depends on, written whole or not at all.

A checkpoint is the folder `checkpoints/<stage>/step-00000500/`:

    model/                  what `Recipe.save` writes, so that a checkpoint can be tried out like a finished model
    training.safetensors    exact weights and buffers of what may change, the optimiser's moments, the moving average
    progress.json           step, seconds, the open log row's sums, the length of the log

There are no generator states in it: `seeds` makes every draw a function of the step.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from koine.errors import InputError
from koine.files import write_atomically
from koine.training.optimizers import Optimizer

KEPT = 2


@dataclass
class Progress:
    """How far a stage has come."""

    step: int = 0
    seconds: float = 0.0
    log_bytes: int = 0
    meter: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)


def write_checkpoint(
    folder: Path, progress: Progress, tensors: Mapping[str, Tensor], save_model: Callable[[Path], None]
) -> Path:
    """Writes `folder/step-<step>` and removes all but the newest two.

    Raises:
        InputError: the disk is full or read-only; older checkpoints are untouched then.
    """
    target = folder / f"step-{progress.step:08d}"
    with write_atomically(target) as partial:
        (partial / "model").mkdir(parents=True)
        save_model(partial / "model")
        # The copy gives every tensor memory of its own, which safetensors insists on.
        whole = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
        save_file(whole, partial / "training.safetensors")
        (partial / "progress.json").write_text(json.dumps(asdict(progress)), encoding="utf-8")
    for old in list_checkpoints(folder)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, newest first."""
    return sorted((path for path in folder.glob("step-*") if path.is_dir()), reverse=True)


def read_checkpoint(path: Path) -> tuple[Progress, dict[str, Tensor]]:
    """The content of one checkpoint, tensors on the CPU.

    Raises:
        InputError: a file is missing or damaged.
    """
    try:
        progress = Progress(**json.loads((path / "progress.json").read_text(encoding="utf-8")))
        with safe_open(path / "training.safetensors", framework="pt") as file:
            return progress, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise InputError(f"checkpoint {path} can't be read ({error}): delete it to resume from an older one") from error


def copy_into(targets: Mapping[str, Tensor], saved: Mapping[str, Tensor], *, checkpoint: Path) -> None:
    """Copies the saved tensors into the targets of the same names, in place.

    Raises:
        InputError: a name is missing or a shape differs: the checkpoint is of another model.
    """
    with torch.no_grad():
        for name, target in targets.items():
            if name not in saved or saved[name].shape != target.shape:
                found = f"shape {tuple(saved[name].shape)}" if name in saved else "no such tensor"
                raise InputError(
                    f"checkpoint {checkpoint} is of another model: {name} has {found}, the recipe's model wants "
                    f"{tuple(target.shape)}: give another folder, or start over with resume=False"
                )
            target.copy_(saved[name])


def optimizer_tensors(optimizer: Optimizer, trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The optimiser's state by names such as `optimizer/exp_avg/<parameter>`."""
    return {
        f"optimizer/{kind}/{name}": value
        for name, parameter in trained.items()
        for kind, value in optimizer.state[parameter].items()
    }


def restore_optimizer(optimizer: Optimizer, trained: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`. A parameter that never had a gradient has no state, as before."""
    for key, value in saved.items():
        room, _, rest = key.partition("/")
        if room == "optimizer":
            kind, _, name = rest.partition("/")
            optimizer.state[trained[name]][kind] = value.to(trained[name].device)
