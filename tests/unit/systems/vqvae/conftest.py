"""A VQ-VAE so small that every test builds one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from koine.systems.vqvae.config import VQVAEConfig
from koine.systems.vqvae.model import VQVAEModel
from koine.systems.vqvae.processor import VQVAEProcessor
from koine.systems.vqvae.system import VQVAE
from koine.world.cache import RenderedScenes

TINY: dict[str, Any] = {
    "width": 8,
    "first_width": 4,
    "blocks": 1,
    "block_width": 4,
    "codes": 12,
    "code_width": 4,
    "image_size": 16,
    "prior": "pixelcnn",
    "prior_width": 8,
    "prior_layers": 3,
    "prior_head": 16,
    "prior_first_kernel": 5,
    "prior_labels": [["small", "large"], ["red", "blue", "green"]],
}
PALETTE: dict[str, Any] = {
    **{name: TINY[name] for name in ("width", "first_width", "blocks", "block_width", "codes", "code_width")},
    "image_size": 16,
    "prior_width": 8,
    "prior_layers": 3,
    "prior_head": 8,
    "prior_first_kernel": 3,
    "prior_kernel": 3,
}
"""Of pictures of 16x16 palette colours."""


def noise_scenes(split: Any, count: int, *, kind: Any = "any", **_: Any) -> RenderedScenes:
    """At most 24 scenes whose pictures are noise, for tests that don't look at them."""
    images = np.random.default_rng(count).integers(0, 256, (min(count, 24), 64, 64, 3), dtype=np.uint8)
    nothing = np.zeros((len(images), 5, 4), np.float32)
    return RenderedScenes(
        images, np.zeros(images.shape[:3], np.int8), nothing, nothing, nothing[..., 0].astype(np.int32), split, kind, 0
    )


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def config() -> VQVAEConfig:
    return VQVAEConfig(**TINY)


@pytest.fixture
def model(config: VQVAEConfig) -> VQVAEModel:
    return VQVAEModel(config).eval()


@pytest.fixture
def vqvae(model: VQVAEModel) -> VQVAE:
    return VQVAE(model, VQVAEProcessor(model.config))
