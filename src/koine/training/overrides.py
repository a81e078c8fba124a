"""Settings from outside: changes of a recipe's stages, checked against the stages' own fields and types."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import get_type_hints

from koine.errors import InputError
from koine.settings import read_setting
from koine.training.stage import Stage


def apply_overrides(stages: Sequence[Stage], overrides: Mapping[str, object]) -> tuple[Stage, ...]:
    """The stages with the overrides put in.

    A key is a field of `Stage` (for every stage) or `<stage>.<field>` (for one; it wins over the former). A value
    has the field's type or is text that reads as it, as the command line gives it: `"1e-3"`, `"0.9,0.95"`, `"none"`.

    Raises:
        InputError: an unknown key (with the nearest names), a value of the wrong type or out of range.
    """
    names = [stage.name for stage in stages]
    fields = [field.name for field in dataclasses.fields(Stage) if field.name != "name"]
    known = [*fields, *(f"{name}.{field}" for name in names for field in fields)]
    for key in overrides:
        if key not in known:
            raise _unknown_setting(key, names, fields)
    kinds = get_type_hints(Stage)
    changed = []
    for stage in stages:
        values = {}
        for field in fields:
            for key in (field, f"{stage.name}.{field}"):
                if key in overrides:
                    values[field] = read_setting(key, overrides[key], kinds[field])
        changed.append(dataclasses.replace(stage, **values))
    return tuple(changed)


def _unknown_setting(key: str, names: Sequence[str], fields: Sequence[str]) -> InputError:
    stage, dot, field = key.rpartition(".")
    if dot and stage not in names:
        return InputError.unknown("stage", stage, names)
    return InputError.unknown("setting of a stage", field, fields)
