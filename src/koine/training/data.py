"""Batches: which examples a step sees and who draws them, as a function of (seed, step, slice) alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from koine.errors import InputError
from koine.training.seeds import Purpose, derive_seed
from koine.training.stage import Stage

Batch = dict[str, Tensor]

_POOL = 50
"""Batches' worth of examples that are sorted by length together."""


class TrainingData(Protocol):
    """The examples of a stage.

    One whose examples differ in length may have an attribute `lengths`, [len(self)] int64: then a batch is made of
    examples of about one length, so that little of it is padding.
    """

    def __len__(self) -> int:
        """How many examples there are; an epoch visits each once."""

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """Examples `indices: [b] int64` in [0, len(self)) as tensors whose first dimension is b.

        The result is a function of the two arguments; random draws (augmentation, masking, noise) take `generator`
        (on the CPU). It may be called from a background thread (never from two at once), so it must not draw from
        torch's or numpy's global generators.
        """


class Order:
    """The order of the examples: a new permutation for each epoch, from a counter-based generator (Philox).

    Step s (counted from 1) sees positions (s - 1) * batch_size ... s * batch_size - 1 of the endless sequence of
    epochs; a batch may hold the end of one epoch and the beginning of the next, so none is ever short.

    With `lengths`, an epoch is cut into batches of examples of similar length: of every `_POOL` batches' worth of the
    permutation, sorted; the batches come in random order, and what does not fill one is left to other epochs.
    """

    def __init__(self, length: int, batch_size: int, *, seed: int, lengths: np.ndarray | None = None) -> None:
        if length < 1:
            raise InputError("the training data has 0 examples: give data with at least one example")
        if lengths is not None and length < batch_size:
            lengths = None
        self.length = length if lengths is None else length - length % batch_size
        self.batch_size = batch_size

        def permutation(epoch: int) -> np.ndarray:
            order = _permutation(length, seed, epoch)
            if lengths is None:
                return order
            return _grouped(
                order[: self.length],
                lengths,
                batch_size,
                _permutation(self.length // batch_size, seed, epoch, Purpose.GROUPS),
            )

        # Two epochs are enough for a batch on their border; more would hold needless memory with large data sets.
        self._permutation = lru_cache(maxsize=2)(permutation)

    def indices(self, step: int) -> Tensor:
        """[batch_size] int64 in [0, length)."""
        position = np.arange((step - 1) * self.batch_size, step * self.batch_size)
        epoch, offset = np.divmod(position, self.length)
        indices = np.empty(self.batch_size, dtype=np.int64)
        for number in range(epoch[0], epoch[-1] + 1):
            here = epoch == number
            indices[here] = self._permutation(number)[offset[here]]
        return torch.from_numpy(indices)


def _permutation(length: int, seed: int, epoch: int, purpose: Purpose = Purpose.ORDER) -> np.ndarray:
    key = derive_seed(purpose, seed)
    return np.random.Generator(np.random.Philox(key=[key, epoch])).permutation(length)


def _grouped(order: np.ndarray, lengths: np.ndarray, batch_size: int, shuffled: np.ndarray) -> np.ndarray:
    """`order`, whole batches of it, so that a batch's examples are of similar length; `shuffled`: order of batches."""
    pool = np.arange(len(order)) // (_POOL * batch_size)
    batches = order[np.lexsort((lengths[order], pool))].reshape(-1, batch_size)
    return batches[shuffled].ravel()


def slice_size(stage: Stage, processes: int) -> int:
    """Examples in one slice of a batch: one process, one accumulation part.

    Raises:
        InputError: batch_size can't be cut into equal slices.
    """
    slices = processes * stage.gradient_accumulation
    if stage.batch_size % slices:
        raise InputError(
            f"stage {stage.name!r}: batch_size = {stage.batch_size} can't be cut into {slices} equal slices "
            f"({processes} processes x gradient_accumulation = {stage.gradient_accumulation}): "
            f"give a multiple of {slices}"
        )
    return stage.batch_size // slices


def slices_of(stage: Stage, *, process: int) -> range:
    """The numbers of the slices that `process` works through in each step."""
    return range(process * stage.gradient_accumulation, (process + 1) * stage.gradient_accumulation)


def draw_slice(data: TrainingData, order: Order, stage: Stage, *, step: int, slice_number: int, size: int) -> Batch:
    """Slice `slice_number` of the batch of `step`, with a generator that belongs to this slice alone."""
    indices = order.indices(step)[slice_number * size : (slice_number + 1) * size]
    generator = torch.Generator().manual_seed(derive_seed(Purpose.DATA, stage.seed, step, slice_number))
    return data.batch(indices, generator)


def batches(
    data: TrainingData,
    stage: Stage,
    *,
    first_step: int,
    process: int = 0,
    processes: int = 1,
    device: torch.device | None = None,
) -> Generator[list[Batch], None, None]:
    """For each step from `first_step` (counted from 1) to the stage's last: this process's slices, on `device`.

    With `stage.prefetch` a background thread works that many batches ahead. Since a batch is a function of its step
    the order of events can't change it.
    """
    lengths = getattr(data, "lengths", None)
    order = Order(
        len(data), stage.batch_size, seed=stage.seed, lengths=None if lengths is None else np.asarray(lengths)
    )
    size = slice_size(stage, processes)

    def prepare(step: int) -> list[Batch]:
        slices = [
            draw_slice(data, order, stage, step=step, slice_number=number, size=size)
            for number in slices_of(stage, process=process)
        ]
        return [{name: tensor.to(device) for name, tensor in batch.items()} for batch in slices]

    steps = range(first_step, stage.steps + 1)
    if stage.prefetch == 0:
        yield from map(prepare, steps)
        return
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="koine-batches")
    try:
        waiting: deque[Future[list[Batch]]] = deque()
        for step in steps:
            waiting.append(executor.submit(prepare, step))
            if len(waiting) > stage.prefetch:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
