"""Vector quantisation: each vector is replaced by the nearest one of a codebook (VQ-VAE, arXiv 1711.00937, section 3).

The steps are functions; `VectorQuantizer` holds a codebook that gradients move, `koine.parts.moving_codebook` has those
that follow averages. Vectors come with their width last, whatever the shape before: [batch, height, width, D] or
[batch, time, D].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from koine.errors import InputError

Estimator = Literal["straight-through", "rotation"]

_SEARCHED_AT_ONCE = 2**24
"""Distances held in memory at a time by `nearest_codes`: 64 MB."""


@dataclass(frozen=True)
class Quantized:
    """What a quantiser makes of vectors [.., D].

    Attributes:
        vectors: [.., D], the chosen codes; gradients go to the input by the quantiser's estimator.
        indices: [..] long, which codes.
        loss: the weighted sum of the terms below that the quantiser has.
        commitment_loss, codebook_loss, entropy_loss: unweighted means over all elements; 0 where not used.
        perplexity: exp of the entropy, in nats, of how often codes were chosen in this call; 1 .. codes.
    """

    vectors: Tensor
    indices: Tensor
    loss: Tensor
    commitment_loss: Tensor
    codebook_loss: Tensor
    entropy_loss: Tensor
    perplexity: Tensor


def squared_distances(vectors: Tensor, codebook: Tensor) -> Tensor:
    """|v - c|^2 of each of [n, D] vectors to each of [codes, D] as [n, codes], in float32 or better.

    Lower precision would confuse codes that lie close together, so autocast is off inside.
    """
    with torch.autocast(vectors.device.type, enabled=False):
        vectors, codebook = _in_one_precision(vectors, codebook)
        squares = vectors.square().sum(1, keepdim=True) + codebook.square().sum(1)
        return torch.addmm(squares, vectors, codebook.T, alpha=-2)


@torch.no_grad()
def nearest_codes(vectors: Tensor, codebook: Tensor, *, cosine: bool = False) -> Tensor:
    """[..] long: the place of the nearest row of `codebook` [codes, D] for each of `vectors` [.., D].

    The lowest place wins a tie. Memory stays bounded however many vectors there are.

    Args:
        cosine: compare directions only.
    Raises:
        InputError: the widths differ.
    """
    check_width(vectors, codebook)
    flat = vectors.reshape(-1, codebook.shape[1])
    if cosine:
        flat, codebook = F.normalize(flat.float(), dim=-1), F.normalize(codebook.float(), dim=-1)
    rows = max(1, _SEARCHED_AT_ONCE // max(1, len(codebook)))
    found = [squared_distances(part, codebook).argmin(dim=1) for part in flat.split(rows)]
    return torch.cat(found).view(vectors.shape[:-1]) if found else flat.new_zeros(vectors.shape[:-1], dtype=torch.long)


def straight_through(vectors: Tensor, chosen: Tensor) -> Tensor:
    """`chosen`, whose gradient goes to `vectors` unchanged (section 3.2 of the paper)."""
    return vectors + (chosen - vectors).detach()


def rotated_through(vectors: Tensor, chosen: Tensor) -> Tensor:
    """`chosen`, whose gradient is turned and scaled as `vectors` must be to reach it (Fifty et al. 2024)."""
    with torch.no_grad():
        start, end = F.normalize(vectors, dim=-1), F.normalize(chosen, dim=-1)
        middle = F.normalize(start + end, dim=-1)
        scale = chosen.norm(dim=-1, keepdim=True) / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    turned = (
        vectors
        - 2 * (vectors * middle).sum(-1, keepdim=True) * middle
        + 2 * (vectors * start).sum(-1, keepdim=True) * end
    )
    return scale * turned


def commitment_loss(vectors: Tensor, chosen: Tensor) -> Tensor:
    """Draws the vectors to their codes: the mean of |v - sg(c)|^2 over all elements, not its sum over the width."""
    return F.mse_loss(vectors.float(), chosen.detach().float())


def codebook_loss(vectors: Tensor, chosen: Tensor) -> Tensor:
    """Draws the codes to their vectors: the mean of |sg(v) - c|^2 over all elements."""
    return F.mse_loss(chosen.float(), vectors.detach().float())


def entropy_loss(
    distances: Tensor, *, temperature: float = 0.01, target: Literal["softmax", "argmax"] = "softmax"
) -> Tensor:
    """Entropy of each vector's choice minus that of all choices together: sure choices of many codes (MAGVIT).

    Args:
        distances: [n, codes], squared.
        target: the distribution whose entropy counts: the soft choice, or the nearest code with the soft one's
            gradient.
    """
    affinity = -distances / temperature
    soft = affinity.softmax(dim=-1)
    log_soft = (affinity + 1e-5).log_softmax(dim=-1)
    if target == "argmax":
        hard = F.one_hot(soft.argmax(dim=-1), soft.shape[-1]).to(soft.dtype)
        soft = straight_through(soft, hard)
    mean = soft.mean(dim=0)
    of_mean = -(mean * (mean + 1e-5).log()).sum()
    return -(soft * log_soft).sum(dim=-1).mean() - of_mean


def code_counts(indices: Tensor, codes: int) -> Tensor:
    """[codes] float32: how often each code occurs."""
    return torch.bincount(indices.flatten(), minlength=codes).float()


def perplexity(counts: Tensor) -> Tensor:
    """exp of the entropy of code frequencies: how many codes would be as even, 1 .. codes; 0 counts allowed."""
    share = counts / counts.sum().clamp(min=1e-10)
    return (-(share * (share + 1e-10).log()).sum()).exp()


def usage(counts: Tensor) -> Tensor:
    """The share of codes that occur at all, 0 .. 1. Count a whole data set: a batch may be too small to use all."""
    return (counts > 0).float().mean()


@torch.no_grad()
def k_means(vectors: Tensor, means: Tensor, *, iterations: int = 10, cosine: bool = False) -> tuple[Tensor, Tensor]:
    """Lloyd's iterations from given means; a mean that nobody chooses stays.

    Args:
        vectors: [n, D].
        means: [codes, D], where to start.
        cosine: by direction; the means are unit vectors.
    Returns:
        means [codes, D], and how many vectors chose each in the last iteration, [codes] float32.
    """
    vectors, means = _in_one_precision(vectors, means)
    counts = means.new_zeros(len(means))
    for _ in range(iterations):
        chosen = (vectors @ means.T).argmax(dim=1) if cosine else nearest_codes(vectors, means)
        counts, sums = sums_by_code(vectors, chosen, len(means))
        moved = sums / counts.clamp(min=1)[:, None]
        if cosine:
            moved = F.normalize(moved, dim=-1)
        means = torch.where(counts[:, None] > 0, moved, means)
    return means, counts


@torch.no_grad()
def drawn_vectors(vectors: Tensor, count: int, *, generator: torch.Generator | None = None) -> Tensor:
    """[count, D] rows of `vectors` [n, D] at random: different ones if there are enough.

    All processes of a training get those of the first.
    """
    if len(vectors) >= count:
        places = torch.randperm(len(vectors), generator=generator, device=vectors.device)[:count]
    else:
        places = torch.randint(len(vectors), (count,), generator=generator, device=vectors.device)
    return of_first_process(vectors[places].clone())


def estimated(vectors: Tensor, chosen: Tensor, estimator: Estimator) -> Tensor:
    """`chosen`, with gradients to `vectors` by that estimator; where no gradients are kept, the codes to the bit."""
    if not torch.is_grad_enabled():
        return chosen
    return rotated_through(vectors, chosen) if estimator == "rotation" else straight_through(vectors, chosen)


def sums_by_code(vectors: Tensor, indices: Tensor, codes: int) -> tuple[Tensor, Tensor]:
    """How many of the vectors [n, D] chose each code, [codes], and their sum, [codes, D]."""
    sums = vectors.new_zeros(codes, vectors.shape[1]).index_add_(0, indices, vectors)
    return torch.bincount(indices, minlength=codes).to(vectors.dtype), sums


def k_means_start(vectors: Tensor, codes: int, *, cosine: bool = False) -> Tensor:
    """[codes, D] from one batch [n, D]; the same in all processes."""
    means, _ = k_means(vectors.detach(), drawn_vectors(vectors.detach(), codes), cosine=cosine)
    return of_first_process(means)


def add_over_processes(*tensors: Tensor) -> None:
    """Replaces each tensor by its sum over the processes of a training."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for tensor in tensors:
            torch.distributed.all_reduce(tensor)


def of_first_process(tensor: Tensor) -> Tensor:
    """The first process's tensor, in all processes of a training."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.broadcast(tensor, src=0)
    return tensor


def check_width(vectors: Tensor, codebook: Tensor) -> None:
    """
    Raises:
        InputError: the codebook's width is not the vectors'.
    """
    if vectors.shape[-1] != codebook.shape[1]:
        raise InputError(
            f"vectors of width {vectors.shape[-1]} don't fit a codebook of width {codebook.shape[1]}: "
            "project them to it, or take the codebook that belongs to the encoder"
        )


def check_sizes(codes: int, width: int) -> None:
    """
    Raises:
        InputError: a codebook without codes or width.
    """
    if codes < 1 or width < 1:
        raise InputError(f"a codebook of {codes} codes of width {width} holds nothing: give at least 1 of each")


def _in_one_precision(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both as float64 if one is, else as float32."""
    kind = torch.promote_types(torch.promote_types(first.dtype, second.dtype), torch.float32)
    return first.to(kind), second.to(kind)


class VectorQuantizer(nn.Module):
    """A codebook learnt by gradients (sections 3.1 and 3.2; with an entropy term as in MAGVIT).

    Args:
        codes, width: size of the codebook; its weights start uniform in +-`spread`, by default as Sonnet's, sqrt(3/D).
        commitment, codebook, entropy: weights of the three losses.
        temperature, entropy_target: see `entropy_loss`.
        normalized: search by direction, and count the losses on normalised vectors; the codes that come out keep
            their length (MAGVIT's `latent_normalize`).
        estimator: how gradients pass.
        warm_start: set the codes by k-means to the first batch that is trained on.
    """

    started: Tensor | None

    def __init__(
        self,
        codes: int,
        width: int,
        *,
        spread: float | None = None,
        commitment: float = 0.25,
        codebook: float = 1.0,
        entropy: float = 0.0,
        temperature: float = 0.01,
        entropy_target: Literal["softmax", "argmax"] = "softmax",
        normalized: bool = False,
        estimator: Estimator = "straight-through",
        warm_start: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(codes, width)
        reach = (3 / width) ** 0.5 if spread is None else spread
        self.codebook = nn.Parameter(torch.empty(codes, width).uniform_(-reach, reach))
        self.register_buffer("started", torch.tensor(False) if warm_start else None)
        self.weights = (commitment, codebook, entropy)
        self.temperature, self.entropy_target = temperature, entropy_target
        self.normalized, self.estimator = normalized, estimator

    def forward(self, vectors: Tensor) -> Quantized:
        """[.., D] to codes.

        Raises:
            InputError: another width than the codebook's.
        """
        check_width(vectors, self.codebook)
        if self.normalized:
            vectors = F.normalize(vectors, dim=-1)
        flat = vectors.reshape(-1, vectors.shape[-1])
        if self.training and self.started is not None and not self.started:
            with torch.no_grad():
                self.codebook.copy_(k_means_start(flat, len(self.codebook)))
            self.started.fill_(True)
        commitment, codebook, entropy = self.weights
        searched = F.normalize(self.codebook, dim=-1) if self.normalized else self.codebook
        if entropy:
            distances = squared_distances(flat, searched)
            indices = distances.argmin(dim=1)
            unsure = entropy_loss(distances, temperature=self.temperature, target=self.entropy_target)
        else:
            indices, unsure = nearest_codes(flat, searched), flat.new_zeros((), dtype=torch.float32)
        chosen = F.embedding(indices, self.codebook).view(vectors.shape)
        committed, followed = commitment_loss(vectors, chosen), codebook_loss(vectors, chosen)
        return Quantized(
            vectors=estimated(vectors, chosen, self.estimator),
            indices=indices.view(vectors.shape[:-1]),
            loss=commitment * committed + codebook * followed + entropy * unsure,
            commitment_loss=committed,
            codebook_loss=followed,
            entropy_loss=unsure,
            perplexity=perplexity(code_counts(indices, len(self.codebook))),
        )
