"""A few dozen steps on four plain colours: pixels are learnt, and guided words mean what they were said to mean."""

from __future__ import annotations

import pytest
import torch

from koine.systems.spae.model import SpaeModel
from koine.systems.spae.objective import Objective, spae_loss
from koine.systems.spae.vocabulary import Vocabulary, build_vocabulary, choose_words, input_table
from tests.unit.systems.spae.conftest import tiny_config, tiny_language_model

COLOURS = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.8, 0.2], [0.1, 0.2, 0.9], [0.9, 0.9, 0.1]])
STEPS, BATCH = 60, 16


def plain_pictures(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures [count, 3, 16, 16] of one colour, a little noisy, and which colour [count]."""
    which = torch.randint(len(COLOURS), (count,), generator=generator)
    noise = 0.05 * torch.randn(count, 3, 16, 16, generator=generator)
    return (COLOURS[which][..., None, None] + noise).clamp(0, 1), which


def trained(vocabulary: Vocabulary, **weights: float) -> tuple[SpaeModel, list[float]]:
    """A model after `STEPS` steps, and the pixel errors on the way."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model = SpaeModel(tiny_config(len(vocabulary.words))).train()
    model.set_table(vocabulary.table, vocabulary.token_ids)
    model.start_at_scale_of_table()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    errors = []
    for _ in range(STEPS):
        pixels, which = plain_pictures(BATCH, generator)
        similarity = torch.nn.functional.one_hot(which, len(vocabulary.words)).float()
        found = spae_loss(model, pixels, objective=Objective(**weights), similarity=similarity, generator=generator)
        found["loss"].backward()
        optimiser.step()
        optimiser.zero_grad()
        errors.append(found["pixels"].item())
    return model.eval(), errors


def upper_words_right(model: SpaeModel) -> float:
    """The share of the words of the guided layers that are those of the colour."""
    pixels, which = plain_pictures(64, torch.Generator().manual_seed(1))
    tokens = model.quantize(model.encode(pixels)).tokens[:2]
    right = [(layer.flatten(1) == which[:, None]).float() for layer in tokens]
    return float(torch.cat(right, dim=1).mean())


@pytest.fixture(scope="module")
def learnt(tokenizer) -> dict[str, tuple[SpaeModel, list[float]]]:
    """One model with guidance and one without."""
    words = choose_words(tokenizer)
    vocabulary = build_vocabulary(input_table(tiny_language_model()), words, normalized=True)
    return {"guided": trained(vocabulary), "unguided": trained(vocabulary, alpha=0.0)}


@pytest.mark.parametrize("kind", ["guided", "unguided"])
def test_pixels_are_learnt_with_and_without_guidance(kind, learnt):
    _, errors = learnt[kind]
    assert sum(errors[-5:]) < 0.25 * sum(errors[:5])


def test_only_guided_words_mean_the_colour(learnt):
    assert upper_words_right(learnt["guided"][0]) > 0.9
    assert upper_words_right(learnt["unguided"][0]) < 0.6
