"""A VQ-VAE so small that every test builds one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from koine.systems.vqvae.config import VQVAEConfig
from koine.systems.vqvae.model import VQVAEModel
from koine.systems.vqvae.processor import VQVAEProcessor
from koine.systems.vqvae.system import VQVAE

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
