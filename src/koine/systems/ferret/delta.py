"""Weights published as differences: adding the base, and telling whether the base is the right one.

A delta d = f - b was computed in float16 from float16 weights f and b. Wherever |d| <= |b| / 2 that difference is exact
(Sterbenz), so with the right base the exact sum d + b is a float16 number in every single place. With any other base
the sums fall off the float16 grid. On simulated weights: in about a third of the places for an unrelated
model (Vicuna v1.5 stems from LLaMA 2), in a few of a hundred for a relative (LLaMA itself, Vicuna v1.1), in a few of a
thousand for the right base rounded to bfloat16. No published number is needed. What the test can't tell: whether a
delta that fits no base was made in another way than the published tool makes it; `trust` is for that case.
"""

from __future__ import annotations

import torch
from torch import Tensor

from koine.errors import InputError
from koine.systems.ferret.checkpoint import Checkpoint

# A right base gives 1 exactly; the nearest wrong one that was tried (rounded to bfloat16) at most 0.9985.
EXACT = 0.9995
_TENSORS, _VALUES = 12, 1 << 16
_NORM = "model.norm.weight"


def looks_like_delta(checkpoint: Checkpoint) -> bool:
    """Whether these are differences: then the norm's weights, around 1 in a model, lie around 0.

    Raises:
        InputError: the checkpoint has no language model.
    """
    if _NORM not in checkpoint:
        raise InputError(
            f"{checkpoint.folder} holds no language model: it lacks {_NORM}; give Ferret's weights or delta"
        )
    return float(checkpoint.read(_NORM).float().abs().mean()) < 0.05


def add_base(delta: Checkpoint, base: Checkpoint, key: str) -> Tensor:
    """The merged tensor of that published name, in the delta's type.

    Embedding tables of the delta may have more rows (new tokens), which are taken as they are; so are tensors that the
    base doesn't have.
    """
    difference = delta.read(key)
    if key not in base:
        return difference
    under = base.read(key).float()
    merged = difference.float()
    merged[: len(under)] += under
    return merged.to(difference.dtype)


def check_base(delta: Checkpoint, base: Checkpoint, *, trust: bool = False) -> None:
    """
    Args:
        trust: skip the comparison of values (names and shapes must fit all the same).
    Raises:
        InputError: the base is another model, or a changed copy of the right one.
    """
    _check_settings(delta, base)
    names = [key for key in base.files if not key.endswith("rotary_emb.inv_freq")]
    if missing := [key for key in names if key not in delta]:
        raise InputError(
            f"base {base.folder} is not the delta's: the delta lacks its {missing[0]} ({len(missing)} such tensors); "
            "give Vicuna v1.3 of the delta's size"
        )
    for key in names:
        ours, theirs = delta.shape(key), base.shape(key)
        grown = key.endswith(("embed_tokens.weight", "lm_head.weight")) and ours[0] >= theirs[0]
        if ours[1:] != theirs[1:] or not (grown or ours == theirs):
            raise InputError(
                f"base {base.folder} is not the delta's: {key} is {list(theirs)} there and {list(ours)} in the delta; "
                "give Vicuna v1.3 of the delta's size"
            )
    if trust:
        return
    share = share_on_grid(delta, base, names)
    if share is not None and share < EXACT:
        raise InputError(
            f"base {base.folder} is not the delta's: only {share:.2%} of the sums are float16 numbers, not all "
            "(about 70% mean another model, such as Vicuna v1.5; above 90% a relative or a rounded copy); give Vicuna "
            "v1.3 in float16 as published, or set trust_base (--trust-base)"
        )


def _check_settings(delta: Checkpoint, base: Checkpoint) -> None:
    """Vicuna v1.5 differs from v1.3 in two settings: 4096 positions and an epsilon of 1e-5."""
    ours, theirs = delta.config(), base.config()
    for name in ("max_position_embeddings", "rms_norm_eps"):
        if name in ours and name in theirs and ours[name] != theirs[name]:
            raise InputError(
                f"base {base.folder} is not the delta's: its {name} is {theirs[name]}, the delta's {ours[name]}; "
                "give Vicuna v1.3 (v1.5 stems from LLaMA 2)"
            )


def share_on_grid(delta: Checkpoint, base: Checkpoint, names: list[str]) -> float | None:
    """The share of sums delta + base that are exact float16 numbers, among a sample where they must be.

    Returns:
        0..1; None if the delta changes too little to tell (it then hardly matters), or isn't float16.
    """
    matrices = [key for key in names if len(base.shape(key)) == 2]
    step = max(1, len(matrices) // _TENSORS)
    on_grid = counted = 0
    for key in matrices[::step][:_TENSORS]:
        difference, under = delta.read(key), base.read(key)
        if difference.dtype != torch.float16:
            return None
        d, b = _sample(difference[: len(under)]), _sample(under)
        told = (d != 0) & (d.abs() <= b.abs() / 2)
        total = (d + b)[told]
        on_grid += int((total.to(torch.float16).double() == total).sum())
        counted += len(total)
    return on_grid / counted if counted >= 1000 else None


def _sample(tensor: Tensor) -> Tensor:
    """About `_VALUES` values spread over a tensor, as float64."""
    flat = tensor.reshape(-1)
    return flat[:: max(1, len(flat) // _VALUES)].double()
