"""A Ferret of a few thousand weights, untrained, with the tiny tokenizer of the golden data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPVisionConfig, LlamaConfig

from koine.sentence import Image
from koine.systems.ferret.config import FerretConfig
from koine.systems.ferret.model import FerretForConditionalGeneration
from koine.systems.ferret.processor import FerretProcessor
from koine.systems.ferret.prompt import load_tokenizer

TOKENIZER = Path(__file__).parents[3] / "golden" / "ferret" / "tokenizer.model"


def tiny_config(**options) -> FerretConfig:
    """Four by four patches, two layers each."""
    settings = {
        "vision_config": CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=16,
            patch_size=4,
            projection_dim=16,
        ),
        "text_config": LlamaConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            vocab_size=381,
            pad_token_id=0,
        ),
        "sampler_points": 16,
        "sampler_anchors": (8, 4),
        "sampler_neighbours": (4, 4),
    }
    return FerretConfig.nano(381, **{**settings, **options})


def tiny_model(seed: int = 0, **options) -> FerretForConditionalGeneration:
    torch.manual_seed(seed)
    return FerretForConditionalGeneration(tiny_config(**options)).eval()


def tiny_processor(**options) -> FerretProcessor:
    return FerretProcessor(load_tokenizer(TOKENIZER), tiny_config(**options))


@pytest.fixture
def model() -> FerretForConditionalGeneration:
    return tiny_model()


@pytest.fixture
def processor() -> FerretProcessor:
    return tiny_processor()


@pytest.fixture
def image() -> Image:
    """40 x 30 pixels of noise."""
    return Image(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))
