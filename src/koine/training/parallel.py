"""Several processes as one: averages over them of gradients and figures.

torch's DistributedDataParallel would do the first too, but it hides the model behind a wrapper whose forward must be
the one way in; recipes call whatever methods of the model their loss needs. One averaging after the backward pass
sets them free, at the price of not overlapping it with the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, distributed, nn

BUCKET_ELEMENTS = 8_000_000  # 32 MB of float32: few messages, little extra memory


def mean_over_processes(values: Tensor, processes: int) -> Tensor:
    """The mean of `values` (any shape, the same in every process) over the processes."""
    if processes > 1:
        distributed.all_reduce(values)
        values = values / processes
    return values


def average_gradients(parameters: Sequence[nn.Parameter], processes: int) -> None:
    """Replaces each gradient by its mean over the processes.

    A parameter that had no gradient in some of them counts as zero there; one that had none anywhere keeps none, so
    that the optimiser passes over it as in a single process.
    """
    if processes == 1:
        return
    used = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.int32)
    used = used.to(parameters[0].device)
    distributed.all_reduce(used, op=distributed.ReduceOp.MAX)
    gradients = []
    for parameter, anywhere in zip(parameters, used.tolist(), strict=True):
        if anywhere:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
    for bucket in _buckets(gradients):
        flat = torch.cat([gradient.flatten() for gradient in bucket])
        distributed.all_reduce(flat)
        flat /= processes
        for gradient, piece in zip(bucket, flat.split([each.numel() for each in bucket]), strict=True):
            gradient.copy_(piece.view_as(gradient))


def share_buffers(buffers: Sequence[Tensor], processes: int) -> None:
    """Makes the buffers of all processes one: each moved them by its own slices.

    Moving statistics (means, counts, sums of a codebook) are linear in the data, so their mean over the processes is
    what the whole batch would have given; integers (counters of steps) are the main process's.
    """
    if processes == 1:
        return
    for buffer in buffers:
        if buffer.is_floating_point():
            buffer.copy_(mean_over_processes(buffer, processes))
        else:
            distributed.broadcast(buffer, src=0)


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Groups of one dtype and at most BUCKET_ELEMENTS elements (or a single larger tensor)."""
    for dtype in dict.fromkeys(gradient.dtype for gradient in gradients):
        bucket: list[Tensor] = []
        size = 0
        for gradient in (each for each in gradients if each.dtype == dtype):
            if bucket and size + gradient.numel() > BUCKET_ELEMENTS:
                yield bucket
                bucket, size = [], 0
            bucket.append(gradient)
            size += gradient.numel()
        if bucket:
            yield bucket
