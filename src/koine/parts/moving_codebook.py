"""Codebooks that follow moving averages of the vectors that chose their codes, freely or on the unit sphere."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from koine.errors import InputError
from koine.parts.quantize import (
    Estimator,
    Quantized,
    add_over_processes,
    check_sizes,
    check_width,
    code_counts,
    commitment_loss,
    drawn_vectors,
    estimated,
    k_means_start,
    nearest_codes,
    perplexity,
    sums_by_code,
)


@dataclass(frozen=True)
class Averaging:
    """How a codebook follows its vectors: N <- decay N + (1 - decay) n, M likewise, code = M / N (appendix A.1).

    Attributes:
        decay: of both averages.
        epsilon: added to each count, the total kept (Laplace smoothing), so that no count is zero.
        debiased: averages start at zero and are divided by 1 - decay^t, so that the first step is one step of k-means.
            Otherwise counts start at `counts_from` and sums at the codebook itself.
        counts_from: counts before the first step, if not debiased.
        update_first: quantise with the codebook that has already moved.
        restart_below: a code whose average count falls below this is put on a vector of the batch; 0 never does.
    """

    decay: float = 0.99
    epsilon: float = 1e-5
    debiased: bool = True
    counts_from: float = 0.0
    update_first: bool = False
    restart_below: float = 0.0


SONNET = Averaging()
"""DeepMind's own. A code that the first batch doesn't use becomes the zero vector."""
VQVAE2 = Averaging(debiased=False)
"""The published port of VQ-VAE-2. A code that is never used grows without bound, because its count decays faster than
its sum; `restart_below` cures it."""
ZALANDO = Averaging(update_first=True, debiased=False)
"""A widespread PyTorch port: the codebook moves before it quantises."""
LUCIDRAINS = Averaging(decay=0.8, debiased=False, counts_from=1.0)
"""The library vector-quantize-pytorch, apart from its rotation estimator (`estimator="rotation"`)."""


class EMAVectorQuantizer(nn.Module):
    """A codebook that follows moving averages of the vectors that chose each code; only the encoder gets gradients.

    Everything that moves is a buffer in float32; counts and sums are added up over the processes of a training.

    Args:
        codes, width: size of the codebook; it starts uniform in +-sqrt(3/D).
        commitment: weight of the only loss.
        averaging: how the codebook moves; `SONNET`, `VQVAE2`, ... are published settings.
        estimator, warm_start: as `VectorQuantizer`.
    """

    codebook: Tensor
    counts: Tensor
    sums: Tensor
    steps: Tensor
    started: Tensor

    def __init__(
        self,
        codes: int,
        width: int,
        *,
        commitment: float = 0.25,
        averaging: Averaging = SONNET,
        estimator: Estimator = "straight-through",
        warm_start: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(codes, width)
        reach = (3 / width) ** 0.5
        self.register_buffer("codebook", torch.empty(codes, width).uniform_(-reach, reach))
        self.register_buffer(
            "counts", torch.zeros(codes) if averaging.debiased else torch.full((codes,), averaging.counts_from)
        )
        self.register_buffer("sums", torch.zeros(codes, width) if averaging.debiased else self.codebook.clone())
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.register_buffer("started", torch.tensor(not warm_start))
        self.commitment, self.averaging, self.estimator = commitment, averaging, estimator

    def forward(self, vectors: Tensor) -> Quantized:
        """[.., D] to codes; in training the codebook moves, after they are chosen.

        Raises:
            InputError: another width than the codebook's; or, in training, a codebook in half precision.
        """
        check_width(vectors, self.codebook)
        flat = _flat(vectors, self.codebook)
        learns = self.training and len(flat) > 0
        if learns:
            _check_precision(self.codebook)
        if learns and not self.started:
            self._start(flat)
        indices = nearest_codes(flat, self.codebook)
        if learns and self.averaging.update_first:
            self.update(flat, indices)
        chosen = F.embedding(indices, self.codebook).view(vectors.shape).to(vectors.dtype)
        committed = commitment_loss(vectors, chosen)
        if learns and not self.averaging.update_first:
            self.update(flat, indices)
        nothing = committed.new_zeros(())
        return Quantized(
            vectors=estimated(vectors, chosen, self.estimator),
            indices=indices.view(vectors.shape[:-1]),
            loss=self.commitment * committed,
            commitment_loss=committed,
            codebook_loss=nothing,
            entropy_loss=nothing,
            perplexity=perplexity(code_counts(indices, len(self.codebook))),
        )

    @torch.no_grad()
    def update(self, vectors: Tensor, indices: Tensor) -> None:
        """Moves the codebook by one step towards the vectors [n, D] that chose the codes [n]."""
        how, codes = self.averaging, len(self.codebook)
        counts, sums = sums_by_code(vectors, indices, codes)
        add_over_processes(counts, sums)
        self.counts.lerp_(counts, 1 - how.decay)
        self.sums.lerp_(sums, 1 - how.decay)
        self.steps += 1
        seen = 1 - how.decay**self.steps if how.debiased else torch.ones_like(self.counts[0])
        if how.restart_below > 0:
            # A code put anew counts as one that is used just enough to stay, so that the next steps can tell.
            dead = self.counts / seen < how.restart_below
            fresh = drawn_vectors(vectors, codes)
            self.counts.copy_(torch.where(dead, how.restart_below * seen, self.counts))
            self.sums.copy_(torch.where(dead[:, None], fresh * how.restart_below * seen, self.sums))
        average, total = self.counts / seen, self.counts.sum() / seen
        smoothed = (average + how.epsilon) / (total + codes * how.epsilon) * total
        self.codebook.copy_(self.sums / seen / smoothed[:, None])

    def _start(self, vectors: Tensor) -> None:
        self.codebook.copy_(k_means_start(vectors, len(self.codebook)))
        if not self.averaging.debiased:
            self.sums.copy_(self.codebook * max(self.averaging.counts_from, 1.0))
            self.counts.fill_(max(self.averaging.counts_from, 1.0))
        self.started.fill_(True)


class SphericalQuantizer(nn.Module):
    """Unit vectors and unit codes that follow the mean direction of those who chose them (BEiT v2's VQ-KD tokenizer).

    A code that nobody chooses stays where it is.

    Args:
        codes, width: size of the codebook.
        commitment: weight of the only loss, mean |v - sg(c)|^2 on unit vectors.
        decay: of the codes, and of `counts`, which follows how often codes are chosen, outside training too.
        warm_start: set the codes by k-means to the first batch that is trained on.
    """

    codebook: Tensor
    counts: Tensor
    started: Tensor

    def __init__(
        self, codes: int, width: int, *, commitment: float = 1.0, decay: float = 0.99, warm_start: bool = True
    ) -> None:
        super().__init__()
        check_sizes(codes, width)
        self.register_buffer("codebook", F.normalize(torch.randn(codes, width), dim=-1))
        self.register_buffer("counts", torch.zeros(codes))
        self.register_buffer("started", torch.tensor(not warm_start))
        self.commitment, self.decay = commitment, decay

    def forward(self, vectors: Tensor) -> Quantized:
        """[.., D] of any length to unit codes.

        Raises:
            InputError: another width than the codebook's; or, in training, a codebook in half precision.
        """
        check_width(vectors, self.codebook)
        vectors = F.normalize(vectors, dim=-1)
        flat = _flat(vectors, self.codebook)
        if self.training:
            _check_precision(self.codebook)
        if self.training and len(flat) and not self.started:
            self.codebook.copy_(k_means_start(flat, len(self.codebook), cosine=True))
            self.started.fill_(True)
        indices = nearest_codes(flat, self.codebook)
        chosen = F.embedding(indices, self.codebook).view(vectors.shape).to(vectors.dtype)
        committed = commitment_loss(vectors, chosen)
        counts = self._follow(flat, indices)
        nothing = committed.new_zeros(())
        return Quantized(
            vectors=estimated(vectors, chosen, "straight-through"),
            indices=indices.view(vectors.shape[:-1]),
            loss=self.commitment * committed,
            commitment_loss=committed,
            codebook_loss=nothing,
            entropy_loss=nothing,
            perplexity=perplexity(counts),
        )

    @torch.no_grad()
    def _follow(self, vectors: Tensor, indices: Tensor) -> Tensor:
        """Moves codes (in training) and counts; returns this call's counts, in training those of all processes."""
        counts, sums = sums_by_code(vectors, indices, len(self.codebook))
        if self.training:  # outside training one process may be asked alone
            add_over_processes(counts, sums)
        self.counts.lerp_(counts.to(self.counts.dtype), 1 - self.decay)
        if self.training:
            mean = F.normalize(sums / counts.clamp(min=1)[:, None], dim=-1)
            target = torch.where(counts[:, None] > 0, mean, self.codebook)
            self.codebook.copy_(F.normalize(self.codebook.lerp(target, 1 - self.decay), dim=-1))
        return counts


def _flat(vectors: Tensor, codebook: Tensor) -> Tensor:
    """[n, D] without gradients, as precise as the codebook and at least float32."""
    kind = torch.promote_types(codebook.dtype, torch.float32)
    return vectors.detach().reshape(-1, vectors.shape[-1]).to(kind)


def _check_precision(codebook: Tensor) -> None:
    if codebook.element_size() < 4:
        raise InputError(
            f"a codebook that follows averages in {codebook.dtype} would stand still, for its steps are too small for "
            "such numbers: keep the model in float32 and train it under autocast"
        )
