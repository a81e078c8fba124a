"""A BEiT-3 so small that it answers at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from koine.systems.beit3.config import HEADS, Beit3Config
from koine.systems.beit3.model import Beit3Model

SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": 8,
    "patch_size": 4,
    "vocab_size": 40,
    "mask_token_id": 39,
    "max_text_tokens": 20,
    "num_classes": 5,
    "num_answers": 6,
    "num_image_codes": 7,
    "initialization": "sub-ln",
}


@pytest.fixture
def tiny() -> Callable[..., Beit3Model]:
    """`tiny(heads=[...], ...)` is a model in evaluation mode; by default it has all heads that belong together."""

    def make(**options: Any) -> Beit3Model:
        torch.manual_seed(0)
        return Beit3Model(Beit3Config(**{"heads": list(HEADS), **SIZES, **options})).eval()

    return make


@pytest.fixture
def pixels() -> torch.Tensor:
    """Three images."""
    return torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def ids() -> torch.Tensor:
    """Three texts of six, four and three tokens."""
    return torch.tensor([[0, 7, 8, 9, 10, 2], [0, 11, 12, 2, 1, 1], [0, 13, 2, 1, 1, 1]])
