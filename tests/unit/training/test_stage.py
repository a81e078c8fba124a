"""A stage refuses values that no training can have."""

from __future__ import annotations

from typing import Any

import pytest

from koine.errors import InputError
from koine.training.stage import Stage


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("steps", 0),
        ("batch_size", -1),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("weight_decay", -0.1),
        ("betas", (0.9, 1.0)),
        ("warmup", 1.0),
        ("schedule", "cosinus"),
        ("gradient_accumulation", 0),
        ("max_grad_norm", float("inf")),
        ("precision", "fp8"),
        ("optimizer", "sgd"),
        ("muon_scale", 0.0),
        ("seed", -1),
        ("trainable", ()),
        ("ema", 1.0),
        ("min_learning_rate", -1e-6),
        ("min_learning_rate", 1.1),
        ("min_learning_rate", float("nan")),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(setting: str, value: Any) -> None:
    settings = {"name": "s", "steps": 1, "batch_size": 1, "learning_rate": 1.0}
    Stage(**settings)
    with pytest.raises(InputError, match=f"stage 's': {setting} = "):
        Stage(**settings | {setting: value})


@pytest.mark.parametrize("name", ["", "../up", "a b", "checkpoints", ".hidden"])
def test_a_name_that_cant_be_a_folder_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="stage name"):
        Stage(name, 1, 1, 1.0)
