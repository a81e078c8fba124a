"""The parameters of a stage: which are trained, which decay, which modules are in training mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from koine.errors import InputError
from koine.training.stage import Stage


@dataclass(frozen=True)
class Selection:
    """A stage's choice among the model's parameters."""

    trained: dict[str, nn.Parameter]
    frozen: frozenset[str]  # by the stage; what the model itself freezes isn't in it


def freeze(model: nn.Module, stage: Stage) -> Selection:
    """Freezes the parameters that `stage.trainable` leaves out.

    A parameter that two modules share is trained if either of its names has a trainable prefix.

    Raises:
        InputError: a prefix that no parameter's name begins with, or nothing left to train.
    """
    every_name = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    for prefix in stage.trainable:
        if not any(name.startswith(prefix) for name in every_name):
            modules = {name for name, _ in model.named_modules() if name}
            raise InputError.unknown(f"parameter that begins with (stage {stage.name!r}, trainable)", prefix, modules)
    chosen = {
        id(parameter)
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if name.startswith(stage.trainable)
    }
    # What needs no gradient was frozen by the model itself (fixed positions, a codebook that moves by averages).
    candidates = {name: p for name, p in model.named_parameters(remove_duplicate=False) if p.requires_grad}
    frozen = {name: parameter for name, parameter in candidates.items() if id(parameter) not in chosen}
    for parameter in frozen.values():
        parameter.requires_grad_(False)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not trained:
        raise InputError(f"stage {stage.name!r}: trainable = {stage.trainable} trains nothing: give another prefix")
    return Selection(trained, frozenset(frozen))


def set_modes(module: nn.Module) -> None:
    """Training mode for what is trained; eval mode for a module whose parameters are all frozen, and all within it.

    A module without parameters (dropout, an activation) goes with the module that holds it.
    """
    parameters = list(module.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        module.eval()
        return
    module.training = True
    for child in module.children():
        set_modes(child)


def decay_groups(trained: dict[str, nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """AdamW's parameter groups: weights decay; norms, biases and scales (fewer than two dimensions) don't."""
    weights = [parameter for parameter in trained.values() if parameter.ndim >= 2]
    others = [parameter for parameter in trained.values() if parameter.ndim < 2]
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def changing_tensors(model: nn.Module, constant: frozenset[str]) -> dict[str, Tensor]:
    """What training may change: the model's state, each tensor once, less what is known to stay.

    Buffers and the parameters that the model itself keeps without gradient belong to it: batch statistics and
    codebooks move though no optimiser moves them.

    Args:
        constant: names of what the stage froze or the recipe rebuilds.
    """
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if isinstance(tensor, Tensor) and name not in constant and id(tensor) not in seen:
            seen.add(id(tensor))
            tensors[name] = tensor
    return tensors
