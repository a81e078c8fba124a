"""What can lie between an encoder and a decoder: Gaussian latents, categorical ones, or codes; and what each costs.

The paper compares its codes with the other two (section 4.1). Each counts the nats by which its posterior differs from
a fixed prior; together with those of the pixels, given the latents, they bound -log p(x) from above.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from koine.errors import InputError
from koine.systems.vqvae.autoencoder import build_quantizer
from koine.systems.vqvae.config import VQVAEConfig

LatentKind = Literal["gaussian", "categorical", "codes"]

_NARROW = -4.0
"""Log variance of Gaussian latents before training. Draws as wide as the prior say nothing of the picture at first, and
a decoder that has learnt to look away from them may never look again."""


class BottleneckConfig(VQVAEConfig):
    """A VQ-VAE's networks around latents of a kind to be chosen.

    Attributes:
        latents: "gaussian", "categorical" or "codes"; `codes`, `code_width` and `codes_per_cell` say how many, and the
            decoder gets `codes_per_cell * code_width` channels from each.
    """

    model_type = "koine_vqvae_bottleneck"

    latents: LatentKind = "codes"


@dataclass(frozen=True)
class Latents:
    """What the decoder gets of some pictures.

    Attributes:
        vectors: [b, codes_per_cell * code_width, *grid].
        nats: [b] float32, the divergence of the posterior from the prior, KL(q || p).
        commitment: what a codebook adds to the loss; 0 for latents without one.
    """

    vectors: Tensor
    nats: Tensor
    commitment: Tensor


class GaussianLatents(nn.Module):
    """Independent Gaussians whose prior is the standard one (Kingma and Welling, arXiv 1312.6114)."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.projection = nn.Conv2d(config.width, 2 * config.codes_per_cell * config.code_width, 1)

    def forward(
        self, features: Tensor, *, temperature: float = 0.0, generator: torch.Generator | None = None
    ) -> Latents:
        """One draw for each of the features [b, width, *grid]. `temperature` is that of categorical latents."""
        mean, widening = self.projection(features).float().chunk(2, dim=1)
        log_variance = _NARROW + widening
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        vectors = mean + noise * (0.5 * log_variance).exp()
        return Latents(vectors, gaussian_nats(mean, log_variance), mean.new_zeros(()))


class CategoricalLatents(nn.Module):
    """Independent choices among codes, all as likely beforehand, learnt by the Gumbel-softmax relaxation.

    Jang et al. (arXiv 1611.01144), Maddison et al. (1611.00712). The paper's own rival is VIMCO.
    """

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.codes_per_cell = config.codes_per_cell
        self.projection = nn.Conv2d(config.width, config.codes_per_cell * config.codes, 1)
        reach = (3 / config.code_width) ** 0.5  # as a VQ-VAE's codebook
        self.codebook = nn.Parameter(torch.empty(config.codes, config.code_width).uniform_(-reach, reach))

    def forward(
        self, features: Tensor, *, temperature: float = 0.0, generator: torch.Generator | None = None
    ) -> Latents:
        """One draw for each of the features [b, width, *grid].

        Args:
            temperature: of the relaxation, whose draws are mixtures of codes; 0 chooses one code, by the true
                probabilities.
        """
        cells = self.projection(features).float().movedim(1, -1)
        logits = cells.unflatten(-1, (self.codes_per_cell, -1))
        # -log of a waiting time is Gumbel noise; a time of zero would be chosen whatever the logits are.
        waiting = torch.empty(logits.shape).exponential_(generator=generator).clamp_(min=1e-30).to(logits)
        perturbed = logits - waiting.log()
        if temperature:
            vectors = (perturbed / temperature).softmax(dim=-1) @ self.codebook
        else:
            vectors = F.embedding(perturbed.argmax(dim=-1), self.codebook)
        return Latents(vectors.flatten(-2).movedim(-1, 1), categorical_nats(logits), logits.new_zeros(()))


class CodeLatents(nn.Module):
    """A VQ-VAE's codes. The posterior is sure of each, so it costs log K under the uniform prior (section 3.2)."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.codes, self.codes_per_cell = config.codes, config.codes_per_cell
        self.projection = nn.Conv2d(config.width, config.codes_per_cell * config.code_width, 1)
        self.quantizer = build_quantizer(config)

    def forward(
        self, features: Tensor, *, temperature: float = 0.0, generator: torch.Generator | None = None
    ) -> Latents:
        """The nearest codes of the features [b, width, *grid]. Nothing is drawn."""
        cells = self.projection(features).movedim(1, -1).unflatten(-1, (self.codes_per_cell, -1))
        found = self.quantizer(cells)
        nats = found.loss.new_full((len(features),), found.indices[0].numel() * math.log(self.codes))
        return Latents(found.vectors.flatten(-2).movedim(-1, 1), nats, found.loss)


def build_latents(config: BottleneckConfig) -> GaussianLatents | CategoricalLatents | CodeLatents:
    """The bottleneck that a configuration asks for.

    Raises:
        InputError: there is none of that name.
    """
    kinds: dict[str, type[GaussianLatents | CategoricalLatents | CodeLatents]] = {
        "gaussian": GaussianLatents,
        "categorical": CategoricalLatents,
        "codes": CodeLatents,
    }
    if config.latents not in kinds:
        raise InputError.unknown("kind of latents", config.latents, kinds)
    return kinds[config.latents](config)


def gaussian_nats(mean: Tensor, log_variance: Tensor) -> Tensor:
    """[b]: the divergence of independent Gaussians [b, ..] from the standard one, summed over all of them."""
    return 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).flatten(1).sum(dim=1)


def categorical_nats(logits: Tensor) -> Tensor:
    """[b]: the divergence of independent choices with logits [b, .., codes] from the uniform one, summed over all."""
    logs = logits.log_softmax(dim=-1)
    return (logs.exp() * (logs + math.log(logits.shape[-1]))).flatten(1).sum(dim=1)
