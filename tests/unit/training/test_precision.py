"""The arithmetic: half precision where the device computes in it; weights, gradients and loss in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from koine.errors import InputError
from koine.training import run
from koine.training.precision import autocast_dtype, computes_in_bf16

from .tiny_recipe import TinyRecipe


def test_auto_follows_the_device() -> None:
    expected = torch.bfloat16 if computes_in_bf16("cpu") else torch.float32
    assert autocast_dtype("auto", "cpu") is expected
    assert autocast_dtype("auto", "mps") is torch.float32
    assert autocast_dtype("fp32", "cpu") is torch.float32


def test_fp16_on_a_cpu_is_refused() -> None:
    with pytest.raises(InputError, match="fp16"):
        autocast_dtype("fp16", "cpu")


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_forward_pass_computes_in_it_and_the_weights_stay_float32(
    precision: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    seen = set()

    class Watching(TinyRecipe):
        def loss(self, model: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            seen.add(model(batch["x"]).dtype)
            return super().loss(model, batch)

    final = run(Watching(), tmp_path, overrides={"precision": precision, "steps": 5}, quiet=True)
    assert seen == {dtype}
    weights = load_file(final / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()} == {torch.float32}
