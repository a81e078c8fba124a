"""Linear maps for few rows at a time, as in decoding word by word: weights laid out as oneDNN's kernels read them.

On CPUs a product with few rows costs what reading the weights costs, and BLAS reads them badly: it lays them out anew
in every product, which takes two to three times as long. Laid out once, they are read as fast as memory gives them.
torch's own compiler does the same when it freezes a model.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn


class PackedLinear(nn.Module):
    """Computes what a linear map does, from a packed copy of its weights as they are now.

    It has no parameters: nothing of it is trained or saved, and later changes of the weights don't reach it.

    Args:
        linear: in float32 on the CPU, where `can_pack` says so.
        rows: of the input in a call, about.
    """

    def __init__(self, linear: nn.Linear, *, rows: int) -> None:
        super().__init__()
        self.bias = None if linear.bias is None else linear.bias.detach()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), rows)

    def forward(self, inputs: Tensor) -> Tensor:
        """[.., width] to [.., other width]."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, self.packed, self.bias, "none", [], "")
        return product


def can_pack(weight: Tensor) -> bool:
    """Whether weights like this one can be packed: float32 on a CPU that oneDNN knows, outside autocast."""
    return (
        weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    )


def packed(linear: nn.Linear, *, rows: int) -> nn.Module:
    """The map packed, or as it is where it can't be: another class, device or dtype."""
    plain = type(linear).forward is nn.Linear.forward
    return PackedLinear(linear, rows=rows) if plain and can_pack(linear.weight) else linear


def with_packed(model: nn.Module, parts: Iterable[nn.Module], *, rows: int) -> nn.Module:
    """A copy of `model` that shares everything with it but the linear maps inside `parts`, which are packed.

    Args:
        parts: modules inside `model`, or itself.
    """
    linears = {id(module) for part in parts for module in part.modules() if isinstance(module, nn.Linear)}

    def copied(module: nn.Module) -> nn.Module:
        if isinstance(module, nn.Linear) and id(module) in linears:
            return packed(module, rows=rows)
        inside = {name: None if child is None else copied(child) for name, child in module._modules.items()}
        if all(inside[name] is child for name, child in module._modules.items()):
            return module
        twin = copy.copy(module)
        twin._modules = inside
        return twin

    return copied(model)
