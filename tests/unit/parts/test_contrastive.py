"""Each vector finds its partner."""

import gc
import math

import torch
import torch.distributed as distributed
import torch.multiprocessing as multiprocessing
from torch.nn.functional import normalize

from koine.parts.contrastive import contrastive_loss


def test_it_is_zero_for_perfect_pairs_and_log_n_without_any_difference():
    apart = torch.eye(4)
    assert contrastive_loss(apart, apart, torch.tensor(100.0)) < 1e-6
    same = torch.ones(4, 2) / 2**0.5
    assert math.isclose(contrastive_loss(same, same, torch.tensor(10.0)), math.log(4), rel_tol=1e-6)


def test_both_directions_count():
    """Two texts fit the first image, so that the images are sure of themselves and the texts are not."""
    images, texts = torch.eye(2), torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    scale = torch.tensor(5.0)
    logits = scale * images @ texts.T
    rows, columns = (-side.log_softmax(1).diag().mean() for side in (logits, logits.T))
    torch.testing.assert_close(contrastive_loss(images, texts, scale), (rows + columns) / 2)
    assert not math.isclose(rows, columns, rel_tol=0.1)


def _pairs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(normalize(torch.randn(6, 8, generator=generator), dim=-1) for _ in range(2))  # type: ignore[return-value]


def _in_process(rank: int, store: str, results: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    torch.save(_loss_and_gradient(rank), f"{results}{rank}")
    gc.collect()  # what the graph held of the group is gone, so that its threads end before the interpreter does
    distributed.barrier()  # neither leaves while the other still talks to it
    distributed.destroy_process_group()


def _loss_and_gradient(rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    first, second = (part.chunk(2)[rank].clone().requires_grad_() for part in _pairs())
    loss = contrastive_loss(first, second, torch.tensor(10.0))
    loss.backward()
    return loss.detach(), first.grad


def test_processes_see_each_others_pairs(tmp_path):
    """The mean over two processes is the loss of all pairs together, gradients included."""
    multiprocessing.spawn(_in_process, (str(tmp_path / "store"), str(tmp_path / "result")), nprocs=2)
    (loss_0, gradient_0), (loss_1, gradient_1) = (torch.load(tmp_path / f"result{rank}") for rank in range(2))
    first, second = _pairs()
    first.requires_grad_()
    together = contrastive_loss(first, second, torch.tensor(10.0))
    together.backward()
    torch.testing.assert_close((loss_0 + loss_1) / 2, together.detach())
    torch.testing.assert_close(torch.cat((gradient_0, gradient_1)) / 2, first.grad)
