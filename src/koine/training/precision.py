"""The arithmetic of the forward pass: float32, or a half precision under autocast where the device computes in it."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

import torch

from koine.errors import InputError
from koine.training.stage import Precision


@cache
def computes_in_bf16(device_type: str) -> bool:
    """Whether the device has bfloat16 arithmetic of its own. Emulated bfloat16 is slower than float32.

    On a CPU the instructions are avx512_bf16 or amx_bf16 (x86) or bf16 (Arm); only Linux tells, elsewhere it is False.
    """
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type != "cpu" or platform.system() != "Linux":
        return False
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return False
    return not flags.isdisjoint({"avx512_bf16", "amx_bf16", "bf16"})


def autocast_dtype(precision: Precision, device_type: str) -> torch.dtype:
    """The dtype that `precision` means on the device; float32 means no autocast.

    Raises:
        InputError: fp16 on a CPU, where nothing is gained by it and much is lost to its narrow range.
    """
    if precision == "auto":
        return torch.bfloat16 if computes_in_bf16(device_type) else torch.float32
    if precision == "fp16" and device_type == "cpu":
        raise InputError("precision = 'fp16' isn't for training on a cpu: give auto, bf16 or fp32")
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
