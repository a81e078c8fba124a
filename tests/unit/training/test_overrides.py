"""Settings from outside: checked names, checked types, the stage's own setting before the one for all."""

from __future__ import annotations

import pytest

from koine.errors import InputError
from koine.training.overrides import apply_overrides
from koine.training.stage import Stage

STAGES = (Stage("align", 10, 4, 1e-3), Stage("tune", 20, 4, 1e-4))


def test_a_setting_for_all_and_a_setting_for_one() -> None:
    align, tune = apply_overrides(STAGES, {"tune.steps": 7, "steps": 5, "align.precision": "bf16"})
    assert (align.steps, tune.steps) == (5, 7)
    assert (align.precision, tune.precision) == ("bf16", "auto")
    assert align.learning_rate == 1e-3


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("steps", "12", 12),
        ("learning_rate", "3e-4", 3e-4),
        ("learning_rate", 1, 1.0),
        ("betas", "0.9,0.95", (0.9, 0.95)),
        ("betas", [0.5, 0.6], (0.5, 0.6)),
        ("trainable", "projector,head", ("projector", "head")),
        ("ema", "0.99", 0.99),
        ("ema", "none", None),
        ("compile", "true", True),
        ("schedule", "linear", "linear"),
    ],
)
def test_text_reads_as_the_settings_type(key: str, text: object, value: object) -> None:
    changed = getattr(apply_overrides(STAGES, {key: text})[0], key)
    assert changed == value and type(changed) is type(value)


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("steps", "many", "a whole number"),
        ("steps", 1.5, "a whole number"),
        ("steps", True, "a whole number"),
        ("tune.learning_rate", "fast", "a number"),
        ("betas", "0.9", "2 numbers"),
        ("schedule", "cosinus", "cosine or constant or linear"),
        ("ema", "no", "a number or none"),
        ("trainable", 3, "a list of texts"),
        ("compile", 1, "true or false"),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_what_is_wanted(key: str, value: object, wanted: str) -> None:
    with pytest.raises(InputError, match=f"setting {key} = {value!r} is of the wrong kind: give {wanted}"):
        apply_overrides(STAGES, {key: value})


def test_a_value_out_of_range_is_refused() -> None:
    with pytest.raises(InputError, match="stage 'tune': steps = 0 is out of range"):
        apply_overrides(STAGES, {"tune.steps": 0})


@pytest.mark.parametrize(
    ("key", "near"),
    [("learning_rat", "'learning_rate'"), ("tune.step", "'steps'"), ("tun.steps", "'tune'"), ("name", "no setting")],
)
def test_an_unknown_name_gets_the_nearest_ones(key: str, near: str) -> None:
    with pytest.raises(InputError, match=near if key != "name" else "there is no setting of a stage 'name'"):
        apply_overrides(STAGES, {key: 1})
