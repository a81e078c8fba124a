"""Settings of what a recipe holds, such as the weights of its loss: `--set objective.alpha=0`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from koine.cli.train import _configured
from koine.errors import InputError


@dataclass(frozen=True)
class Weights:
    alpha: float = 1.0
    dynamic: bool = True


@dataclass
class Holding:
    objective: Weights = field(default_factory=Weights)
    options: dict[str, Any] = field(default_factory=lambda: {"width": 256})


def test_fields_and_options_are_set_and_the_others_stay() -> None:
    settings = {"objective.alpha": "0", "options.image_size": "64", "options.layers": "[1, 2]", "match.steps": "5"}
    recipe, overrides = _configured(Holding(), {}, settings)
    assert recipe == Holding(Weights(alpha=0.0), {"width": 256, "image_size": 64, "layers": [1, 2]})
    assert overrides == {"match.steps": "5"}, "a stage's own settings are for the stage"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("objective.alfa", "0", "no setting of objective 'alfa': did you mean 'alpha'"),
        ("objective.dynamic", "2", "objective.dynamic = '2' is of the wrong kind: give true or false"),
    ],
)
def test_what_it_does_not_hold_is_bad_input(key: str, value: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        _configured(Holding(), {}, {key: value})
