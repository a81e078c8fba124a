"""The learning rate: a linear rise to the peak, then cosine, linear or constant."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import get_scheduler

from koine.training.schedule import learning_rate
from koine.training.stage import Stage


@pytest.mark.parametrize(
    ("schedule", "reference"),
    [("cosine", "cosine"), ("linear", "linear"), ("constant", "constant_with_warmup")],
)
def test_after_the_warmup_it_is_transformers_schedule(schedule: Any, reference: str) -> None:
    stage = Stage("s", 100, 1, 0.5, warmup=0.1, schedule=schedule)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler = get_scheduler(reference, optimizer, num_warmup_steps=10, num_training_steps=100)
    expected = []
    for _ in range(100):
        expected.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert [learning_rate(stage, step) for step in range(11, 101)] == pytest.approx(expected[10:])


def test_the_warmup_rises_in_equal_steps_from_above_zero() -> None:
    rates = [learning_rate(Stage("s", 100, 1, 1.1, warmup=0.1), step) for step in range(1, 12)]
    assert rates == pytest.approx([0.1 * step for step in range(1, 12)])


def test_a_single_step_has_the_full_rate() -> None:
    assert learning_rate(Stage("s", 1, 1, 0.5), 1) == 0.5


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_it_falls_towards_the_least_rate(schedule: Any) -> None:
    settings: dict[str, Any] = {"warmup": 0.1, "schedule": schedule}
    free, held = Stage("s", 100, 1, 0.5, **settings), Stage("s", 100, 1, 0.5, **settings, min_learning_rate=0.2)
    for step in range(1, 101):
        rate = learning_rate(free, step)
        # the way from peak to zero, shrunk to the way from peak to 0.2; the rise is the same
        expected = rate if step <= 10 else 0.2 + 0.6 * rate
        assert learning_rate(held, step) == pytest.approx(expected)
    assert 0.2 < learning_rate(held, 100) < 0.21


def test_a_constant_rate_knows_no_least_one() -> None:
    assert learning_rate(Stage("s", 100, 1, 0.5, schedule="constant", min_learning_rate=0.2), 100) == 0.5
