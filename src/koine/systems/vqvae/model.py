"""The whole model: the autoencoder with its codebooks, and the priors over their codes; tensors in, tensors out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from koine.errors import InputError
from koine.parts.quantize import Quantized
from koine.systems.vqvae.autoencoder import Autoencoder, TwoLevelAutoencoder, check_pixels, start_convolutions
from koine.systems.vqvae.cached_sampling import sample
from koine.systems.vqvae.code_classifier import CodeClassifier, agreement
from koine.systems.vqvae.config import VQVAEConfig
from koine.systems.vqvae.pixelcnn import GatedPixelCNN
from koine.systems.vqvae.pixelsnail import PixelSnail
from koine.systems.vqvae.sampling import SamplingOptions, draw_uniforms, sample_naively


@dataclass(frozen=True)
class Reconstruction:
    """What the autoencoder makes of pictures.

    Attributes:
        pixels: [b, channels, *size], in the model's pixel range (but not cut to it).
        quantized: one grid after another, coarse to fine.
        reconstruction_loss: mean squared error over `data_variance`.
        loss: that, and the codebooks' losses.
    """

    pixels: Tensor
    quantized: Sequence[Quantized]
    reconstruction_loss: Tensor
    loss: Tensor


class VQVAEModel(PreTrainedModel):
    """A VQ-VAE (arXiv 1711.00937) or VQ-VAE-2 (1906.00446) with its prior or priors, if the configuration has any.

    Pictures are [b, channels, rows, columns] in the configuration's pixel range, signals [b, channels, samples]; grids
    of codes are [b, rows, columns] or [b, steps] long, in a list from coarse to fine.
    """

    config_class = VQVAEConfig
    main_input_name = "pixels"
    config: VQVAEConfig

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__(config)
        self.autoencoder = Autoencoder(config) if config.levels == 1 else TwoLevelAutoencoder(config)
        start_convolutions(self.autoencoder)
        self.priors = nn.ModuleList(_build_priors(config))
        self.classifier = _build_classifier(config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leaves modules as their constructors filled them; `weights.build` sees that no weight is missing."""

    def forward(self, pixels: Tensor) -> Reconstruction:
        """
        Raises:
            InputError: see `check_pixels`.
        """
        check_pixels(pixels, self.config)
        quantized = self.autoencoder.encode(pixels)
        rebuilt = self.autoencoder.decode([grid.vectors for grid in quantized])
        error = F.mse_loss(rebuilt.float(), pixels.float()) / self.config.data_variance
        return Reconstruction(rebuilt, quantized, error, error + sum(grid.loss for grid in quantized))

    def encode(self, pixels: Tensor) -> list[Tensor]:
        """Grids of codes, coarse to fine.

        Raises:
            InputError: see `check_pixels`.
        """
        check_pixels(pixels, self.config)
        return [grid.indices for grid in self.autoencoder.encode(pixels)]

    def decode(self, grids: Sequence[Tensor]) -> Tensor:
        """Pixels [b, channels, *size] of grids of codes, coarse to fine.

        Raises:
            InputError: too few or too many grids, of shapes that don't fit, or codes that the codebooks haven't.
        """
        self._check_grids(grids)
        quantizers = self.autoencoder.quantizers
        return self.autoencoder.decode(
            [F.embedding(grid, quantizer.codebook) for grid, quantizer in zip(grids, quantizers, strict=True)]
        )

    def prior_nats(
        self, grids: Sequence[Tensor], *, classes: Tensor | None = None, text: Tensor | None = None
    ) -> Tensor:
        """-log p of every code under the priors, [b, codes of all grids] float32; bits are nats / ln 2.

        Args:
            classes: [b, attributes] long, what the pictures show; -1 where that is left open.
            text: [b, text width].
        Raises:
            InputError: the model has no prior, the grids don't fit (see `decode`), or the condition doesn't.
        """
        self._check_priors(told=classes is not None or text is not None)
        self._check_grids(grids)
        nats = []
        for level, (prior, grid) in enumerate(zip(self.priors, grids, strict=True)):
            rows = grid if grid.ndim == 3 else grid[:, None]
            if isinstance(prior, PixelSnail):
                logits = prior(rows, grids[level - 1] if level else None)
            else:
                logits = prior(rows, classes, text)
            nats.append(F.cross_entropy(logits.float(), rows, reduction="none").flatten(1))
        return torch.cat(nats, dim=1)

    def classify(self, grids: Sequence[Tensor]) -> list[Tensor]:
        """Logits [b, classes] of each of the prior's attributes, told from grids of codes.

        Raises:
            InputError: the model has no classifier, or the grids don't fit (see `decode`).
        """
        if self.classifier is None:
            raise InputError(
                "this VQ-VAE has no classifier of codes: take weights that have one, or draw one candidate only"
            )
        self._check_grids(grids)
        logits: list[Tensor] = self.classifier(grids[0], self.autoencoder.quantizers[0].codebook)
        return logits

    @torch.no_grad()  # not inference_mode, so that what is drawn can be learnt from
    def sample(
        self,
        count: int,
        *,
        classes: Tensor | None = None,
        text: Tensor | None = None,
        options: SamplingOptions | None = None,
        generator: torch.Generator | None = None,
        grid: Sequence[int] | None = None,
    ) -> list[Tensor]:
        """Grids of codes from the priors, coarse to fine.

        Args:
            count: how many.
            classes, text: see `prior_nats`.
            generator: on the CPU.
            grid: rows and columns of the coarsest grid, by default those trained on; a signal has its steps only.
        Raises:
            InputError: the model has no prior, the condition doesn't fit, there is nothing to draw, or nothing by which
                to choose among candidates.
        """
        self._check_priors(told=classes is not None or text is not None)
        options = options or SamplingOptions()
        if options.candidates > 1 and (classes is not None or text is not None):
            if classes is None or text is not None or self.classifier is None:
                raise InputError(
                    f"candidates {options.candidates}: a choice takes a classifier of codes, and classes, not a text, "
                    "that are asked for: give 1"
                )
            return self._fittest(count, classes, options, generator, grid)
        sides = list(grid or self.config.prior_grid)
        if count < 1 or not sides or min(sides) < 1:
            raise InputError(f"{count} samples of a grid {sides}: give at least 1 of each")
        if len(sides) != self.config.dimensions:
            raise InputError(f"a grid {sides} in {self.config.dimensions} dimensions: give as many sides")
        self._check_columns(sides[-1])
        grids: list[Tensor] = []
        for prior in self.priors:
            rows = sides if len(sides) == 2 else [1, *sides]
            uniforms = draw_uniforms(count, rows, generator=generator).to(self.device)
            if isinstance(prior, PixelSnail):
                drawn = sample_naively(_bound(prior, grids[-1] if grids else None), uniforms, options)
            else:
                drawn = sample(prior, uniforms, classes=classes, text=text, options=options)  # type: ignore[arg-type]
            grids.append(drawn if len(sides) == 2 else drawn[:, 0])
            sides = [2 * side for side in sides]
        return grids

    def _fittest(
        self,
        count: int,
        classes: Tensor,
        options: SamplingOptions,
        generator: torch.Generator | None,
        grid: Sequence[int] | None,
    ) -> list[Tensor]:
        """Draws `options.candidates` for each and keeps the one that the classifier finds likeliest."""
        several = classes.repeat_interleave(options.candidates, dim=0)
        single = replace(options, candidates=1)
        drawn = self.sample(len(several), classes=several, options=single, generator=generator, grid=grid)
        best = agreement(self.classify(drawn), several.to(self.device)).view(count, -1).argmax(dim=1)
        places = best + options.candidates * torch.arange(count, device=best.device)
        return [one[places] for one in drawn]

    def _check_priors(self, *, told: bool) -> None:
        if not len(self.priors):
            raise InputError(
                "this VQ-VAE has no prior over its codes: take weights that have one, or train its prior stage"
            )
        if told and self.config.prior == "pixelsnail":
            raise InputError("a PixelSNAIL takes no condition: leave classes and text out, or take prior='pixelcnn'")

    def _check_grids(self, grids: Sequence[Tensor]) -> None:
        levels, codes = len(self.autoencoder.quantizers), self.config.codes
        if len(grids) != levels:
            raise InputError(f"{len(grids)} grids of codes for a model of {levels} levels: give one for each")
        for grid in grids:
            if grid.dtype not in (torch.long, torch.int):
                raise InputError(f"a grid holds codes of {grid.dtype}: give whole numbers, torch.long")
            if grid.ndim != self.config.dimensions + 1:
                sides = "rows, columns" if self.config.dimensions == 2 else "steps"
                raise InputError(f"a grid of codes has the shape {list(grid.shape)}: give [batch, {sides}]")
            if grid.numel() == 0 or int(grid.min()) < 0 or int(grid.max()) >= codes:
                raise InputError(f"a grid is empty or holds codes outside of 0 to {codes - 1}")
        for coarse, fine in pairwise(grids):
            if [2 * side for side in coarse.shape[1:]] != list(fine.shape[1:]):
                raise InputError(
                    f"the fine grid {list(fine.shape[1:])} is not twice {list(coarse.shape[1:])}: "
                    "give grids of one picture"
                )
        self._check_columns(grids[0].shape[-1])

    def _check_columns(self, columns: int) -> None:
        if columns % self.config.codes_per_cell:
            raise InputError(f"{columns} codes in a row, {self.config.codes_per_cell} to a cell: give a multiple")


def _bound(prior: PixelSnail, coarse: Tensor | None) -> Any:
    return lambda grids: prior(grids, coarse)


def _build_classifier(config: VQVAEConfig) -> CodeClassifier | None:
    if not config.classifier_width:
        return None
    return CodeClassifier(
        config.code_width,
        codes_per_cell=config.codes_per_cell,
        attributes=[len(words) for words in config.prior_labels],
        width=config.classifier_width,
    )


def _build_priors(config: VQVAEConfig) -> list[nn.Module]:
    if config.prior == "pixelcnn":
        if config.levels != 1:
            raise InputError("a gated PixelCNN draws one grid but the model has two: take prior='pixelsnail'")
        return [
            GatedPixelCNN(
                config.codes,
                width=config.prior_width,
                layers=config.prior_layers,
                head=config.prior_head,
                first_kernel=config.prior_first_kernel,
                kernel=config.prior_kernel,
                codes_per_cell=config.codes_per_cell,
                attributes=[len(words) for words in config.prior_labels],
                text_width=config.prior_text_width,
                rows=config.dimensions == 2,
            )
        ]
    if config.prior == "pixelsnail":
        if config.dimensions == 1 and config.levels == 2:
            raise InputError("PixelSNAILs can't draw two grids of a signal: take levels=1 or prior='none'")
        sizes = [config.snail_top, config.snail_bottom][: config.levels]
        return [PixelSnail(config.codes, **(size or {})) for size in sizes]
    return []
