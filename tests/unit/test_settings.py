"""Options of a configuration that it hasn't are refused: transformers' classes keep any, and nothing comes of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from koine.errors import InputError
from koine.systems.beit3.config import Beit3Config
from koine.systems.ferret.config import FerretConfig
from koine.systems.spae.config import SpaeConfig
from koine.systems.vqvae.config import VQVAEConfig
from koine.systems.vqvae.recipe import nano_config


@pytest.mark.parametrize(
    ("build", "near"),
    [
        (lambda **options: Beit3Config.nano(100, **options), "num_hidden_layers"),
        (lambda **options: FerretConfig.nano(100, **options), "point_radius"),
        (lambda **options: SpaeConfig.nano(100, **options), "encoder_blocks"),
        (nano_config, "prior_layers"),
        (lambda **options: VQVAEConfig.published("sonnet", **options), "code_width"),
    ],
)
def test_a_misspelt_option_names_the_one_meant(build: Callable[..., object], near: str) -> None:
    with pytest.raises(InputError, match=f"no option of .* '{near}x': did you mean '{near}'"):
        build(**{f"{near}x": 1})
