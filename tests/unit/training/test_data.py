"""Batches: a function of seed, step and slice, whoever asks, in which order, on how many processes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from koine.errors import InputError
from koine.training.data import Order, batches, slice_size
from koine.training.stage import Stage

STAGE = Stage("s", steps=6, batch_size=8, learning_rate=1.0, seed=5)


class Numbers:
    """Its batches say which examples were asked for and what the generator drew."""

    def __len__(self) -> int:
        return 20

    def batch(self, indices: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        return {"index": indices, "noise": torch.rand(len(indices), generator=generator)}


def test_every_epoch_visits_each_example_once_in_an_order_of_its_own() -> None:
    order = Order(20, 8, seed=0)
    seen = torch.cat([order.indices(step) for step in range(1, 6)])  # 40 = two epochs
    first, second = seen[:20], seen[20:]
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(20))
    assert first.tolist() != second.tolist()


def test_a_step_can_be_asked_for_directly() -> None:
    order = Order(20, 8, seed=0)
    in_turn = [order.indices(step) for step in range(1, 30)]
    assert torch.equal(Order(20, 8, seed=0).indices(29), in_turn[-1])
    assert not torch.equal(Order(20, 8, seed=1).indices(29), in_turn[-1])


def test_a_batch_larger_than_the_data_goes_through_several_epochs() -> None:
    counts = torch.bincount(Order(3, 8, seed=0).indices(1), minlength=3)
    assert counts.sum() == 8 and counts.min() >= 2


def test_batches_of_one_length_hold_each_example_once_an_epoch_in_an_order_of_its_own() -> None:
    lengths = np.arange(60) % 5
    order = Order(60, 6, seed=0, lengths=lengths)
    epochs = [torch.stack([order.indices(step) for step in range(first, first + 10)]) for first in (1, 11)]
    for epoch in epochs:
        assert sorted(epoch.ravel().tolist()) == list(range(60))
        assert (np.ptp(lengths[epoch.numpy()], axis=1) == 0).all()
    assert epochs[0].tolist() != epochs[1].tolist()
    assert sorted(lengths[epochs[0][:, 0]]) != list(lengths[epochs[0][:, 0]]), "batches come sorted by length"


def test_what_fills_no_batch_of_one_length_has_its_turn_in_another_epoch() -> None:
    order = Order(20, 8, seed=0, lengths=np.arange(20))
    assert len(torch.unique(torch.cat([order.indices(step) for step in (1, 2)]))) == 16
    seen = torch.cat([order.indices(step) for step in range(1, 41)])
    assert len(torch.unique(seen)) == 20


def test_lengths_of_the_data_group_its_batches() -> None:
    class Ragged(Numbers):
        lengths = torch.arange(20) // 8

    drawn = [batch[0]["index"] // 8 for batch in batches(Ragged(), STAGE, first_step=1)]
    assert all(len(torch.unique(lengths)) <= 2 for lengths in drawn)


def test_no_data_is_an_error() -> None:
    with pytest.raises(InputError, match="0 examples"):
        Order(0, 8, seed=0)


@pytest.mark.parametrize("prefetch", [0, 1, 5, 50])
def test_working_ahead_changes_nothing(prefetch: int) -> None:
    here = list(batches(Numbers(), replace(STAGE, prefetch=prefetch), first_step=3))
    reference = list(batches(Numbers(), replace(STAGE, prefetch=0), first_step=1))[2:]
    assert len(here) == 4
    for a, b in zip(here, reference, strict=True):
        assert torch.equal(a[0]["index"], b[0]["index"]) and torch.equal(a[0]["noise"], b[0]["noise"])


def test_slices_are_the_same_whether_processes_or_parts_share_them() -> None:
    parts = next(batches(Numbers(), replace(STAGE, gradient_accumulation=4), first_step=2))
    two_by_two = [
        batch
        for process in range(2)
        for batch in next(
            batches(Numbers(), replace(STAGE, gradient_accumulation=2), first_step=2, process=process, processes=2)
        )
    ]
    assert [batch["index"].tolist() for batch in parts] == [batch["index"].tolist() for batch in two_by_two]
    assert [batch["noise"].tolist() for batch in parts] == [batch["noise"].tolist() for batch in two_by_two]
    whole = next(batches(Numbers(), STAGE, first_step=2))
    assert torch.equal(torch.cat([batch["index"] for batch in parts]), whole[0]["index"])
    assert len({tuple(batch["noise"].tolist()) for batch in parts}) == 4


def test_a_batch_that_cant_be_shared_equally_is_refused() -> None:
    with pytest.raises(InputError, match=r"batch_size = 8 .* give a multiple of 3"):
        slice_size(STAGE, 3)


def test_an_error_of_the_data_reaches_the_caller() -> None:
    class Broken(Numbers):
        def batch(self, indices: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
            raise RuntimeError("no such picture")

    with pytest.raises(RuntimeError, match="no such picture"):
        next(batches(Broken(), STAGE, first_step=1))
