"""What moves the weights: AdamW, or Muon for the matrices inside the model beside AdamW for the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from koine.errors import InputError
from koine.training.stage import Stage

Groups = Sequence[dict[str, Any]]


class Optimizer(Protocol):
    """What a training asks of an optimiser; torch's own have all of it."""

    @property
    def param_groups(self) -> list[dict[str, Any]]: ...

    @property
    def state(self) -> Mapping[Any, dict[str, Tensor]]: ...

    def step(self) -> Any: ...

    def zero_grad(self, set_to_none: bool = True) -> None: ...


def build_optimizer(groups: Groups, hidden: Sequence[nn.Parameter], stage: Stage, device: torch.device) -> Optimizer:
    """
    Args:
        groups: of all trained parameters, see `Recipe.parameter_groups`.
        hidden: those that Muon moves if the stage asks for it.
    Raises:
        InputError: the stage asks for it and there are none.
    """
    if stage.optimizer == "adamw":
        return _adamw(groups, stage, device)
    if not hidden:
        raise InputError(
            f"stage {stage.name!r}: optimizer = 'muon', but its recipe names no hidden matrices among what is trained: "
            "give adamw"
        )
    chosen = {id(parameter) for parameter in hidden}

    def part(group: dict[str, Any], inside: bool) -> dict[str, Any]:
        kept = [parameter for parameter in group["params"] if (id(parameter) in chosen) == inside]
        return {**group, "params": kept}

    matrices, others = ([part(group, inside) for group in groups] for inside in (True, False))
    others = [group for group in others if group["params"]]
    matrices = [
        {"lr": stage.learning_rate, **group, "scale": stage.muon_scale * group.get("scale", 1.0)}
        for group in matrices
        if group["params"]
    ]
    return MuonAndAdamW(matrices, _adamw(others, stage, device) if others else None)


class MuonAndAdamW:
    """Muon for the matrices, which turns the momentum of each into its nearest orthogonal one; AdamW for the rest.

    The steps of a matrix are scaled to the size of AdamW's (Liu et al. 2025, arXiv 2502.16982, section 2.2), so that
    both take the same rates. A convolution's kernel is the matrix [channels out, channels in x places].

    Args:
        groups: parameters of two or more dimensions, with their decay and rate.
        others: the rest's optimiser, if there is a rest.
    Raises:
        RuntimeError: a kernel that isn't contiguous in memory.
    """

    def __init__(self, groups: Groups, others: torch.optim.Optimizer | None) -> None:
        self.groups = [dict(group) for group in groups]
        self.matrices = {
            parameter: parameter.detach().view(len(parameter), -1) for group in groups for parameter in group["params"]
        }
        as_matrices = [
            {**group, "params": [self.matrices[parameter] for parameter in group["params"]]} for group in groups
        ]
        self.muon = torch.optim.Muon(as_matrices, momentum=0.95, adjust_lr_fn="match_rms_adamw")
        self.others = others

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Of both."""
        return [*self.groups, *(self.others.param_groups if self.others else [])]

    @property
    def state(self) -> dict[Any, dict[str, Tensor]]:
        """By parameter."""
        states = {parameter: self.muon.state[matrix] for parameter, matrix in self.matrices.items()}
        if self.others:
            every = [parameter for group in self.others.param_groups for parameter in group["params"]]
            states |= {parameter: self.others.state[parameter] for parameter in every}
        return states

    def step(self) -> None:
        for group, inner in zip(self.groups, self.muon.param_groups, strict=True):
            inner["lr"] = group["lr"]
        for parameter, matrix in self.matrices.items():
            matrix.grad = None if parameter.grad is None else parameter.grad.reshape(matrix.shape)
        self.muon.step()
        if self.others:
            self.others.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for parameter in self.matrices:
            parameter.grad = None
        self.muon.zero_grad(set_to_none)
        if self.others:
            self.others.zero_grad(set_to_none)


def _adamw(groups: Groups, stage: Stage, device: torch.device) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        list(groups),
        lr=stage.learning_rate,
        betas=stage.betas,
        # One pass in C++ over all parameters: the loop in Python costs milliseconds per step on nano models.
        fused=device.type in ("cpu", "cuda", "mps"),
    )
