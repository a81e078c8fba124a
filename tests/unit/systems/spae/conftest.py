"""A SPAE and a language model of a few thousand weights, untrained, with the tiny tokenizer of Ferret's golden data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from koine.foundations.tokenizer import load_tokenizer
from koine.sentence import Image
from koine.systems.spae.config import SpaeConfig
from koine.systems.spae.in_context import InContextModel
from koine.systems.spae.model import SpaeModel
from koine.systems.spae.system import Spae, processor_of
from koine.systems.spae.vocabulary import Vocabulary, build_vocabulary, choose_words, input_table

TOKENIZER = Path(__file__).parents[3] / "golden" / "ferret"
WIDTH = 16


def tiny_config(codes: int = 20, **options: Any) -> SpaeConfig:
    """16 x 16 pixels, 4 x 4 places, layers of 1, 4 and 16 words."""
    settings: dict[str, Any] = {
        "image_size": 16,
        "filters": 8,
        "multipliers": (1, 2),
        "groups": 4,
        "attention_heads": 2,
        "pyramid": (1, 2, 4),
        "thresholds": (0.9, 0.8),
    }
    return SpaeConfig.nano(codes, WIDTH, **{**settings, **options})


def tiny_language_model(seed: int = 0, **options: Any) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        "hidden_size": WIDTH,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 381,
        "max_position_embeddings": 256,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return LlamaForCausalLM(LlamaConfig(**{**settings, **options})).eval()


@pytest.fixture(scope="session")
def tokenizer():
    return load_tokenizer(TOKENIZER)


@pytest.fixture
def language_model():
    return tiny_language_model()


@pytest.fixture
def reader(language_model, tokenizer) -> InContextModel:
    return InContextModel(language_model, tokenizer, batch_size=3)


@pytest.fixture
def vocabulary(language_model, tokenizer) -> Vocabulary:
    words = choose_words(tokenizer)[:20]
    return build_vocabulary(input_table(language_model), words, normalized=True)


@pytest.fixture
def model(vocabulary) -> SpaeModel:
    torch.manual_seed(0)
    model = SpaeModel(tiny_config(len(vocabulary.words))).eval()
    model.set_table(vocabulary.table, vocabulary.token_ids)
    return model


@pytest.fixture
def spae(model, tokenizer, reader) -> Spae:
    return Spae(model, processor_of(model, tokenizer), language_model=reader)


@pytest.fixture
def images() -> list[Image]:
    rng = np.random.default_rng(0)
    return [Image(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)) for _ in range(4)]
