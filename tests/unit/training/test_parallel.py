"""Several processes: the gradients of each become the mean of all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, multiprocessing, nn

from koine.training import parallel


def in_one_of_two(process: int, folder: str) -> None:
    """Process p has gradient p + 1 in parameter 0, one only in process 1 in parameter 1, none in parameter 2."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=process, world_size=2)
    parallel.BUCKET_ELEMENTS = 10  # several buckets
    parameters = [nn.Parameter(torch.zeros(3, 2)), nn.Parameter(torch.zeros(7)), nn.Parameter(torch.zeros(1))]
    parameters[0].grad = torch.full((3, 2), process + 1.0)
    if process == 1:
        parameters[1].grad = torch.arange(7.0)
    parallel.average_gradients(parameters, 2)
    buffers = [torch.tensor([1.0, 5.0]) * (process + 1), torch.tensor(10 + process)]
    parallel.share_buffers(buffers, 2)
    mean = parallel.mean_over_processes(torch.tensor([0.0, float(process)]), 2)
    results: list[Tensor | None] = [*(parameter.grad for parameter in parameters), *buffers, mean]
    torch.save(results, f"{folder}/{process}.pt")
    distributed.barrier()  # neither leaves while the other still talks to it
    distributed.destroy_process_group()


@pytest.mark.slow
def test_gradients_and_buffers_become_their_means(tmp_path: Path) -> None:
    multiprocessing.spawn(in_one_of_two, (str(tmp_path),), nprocs=2)
    for process in range(2):
        first, second, third, statistics, counter, mean = torch.load(tmp_path / f"{process}.pt")
        assert torch.equal(first, torch.full((3, 2), 1.5))
        assert torch.equal(second, torch.arange(7.0) / 2)
        assert third is None  # the optimiser passes over it, as it does in a single process
        assert statistics.tolist() == [1.5, 7.5] and counter.item() == 10
        assert mean.tolist() == [0.0, 0.5]


def test_a_single_process_needs_no_group() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.ones(2)
    parallel.average_gradients([parameter], 1)
    assert parameter.grad.tolist() == [1.0, 1.0]
    assert parallel.mean_over_processes(torch.tensor(3.0), 1) == 3.0
