"""Encoder, codebook and decoder: one grid of codes (VQ-VAE), or a coarse and a fine one (VQ-VAE-2)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from koine.errors import InputError
from koine.parts.moving_codebook import Averaging, EMAVectorQuantizer, SphericalQuantizer
from koine.parts.quantize import Quantized, VectorQuantizer
from koine.systems.vqvae.config import VQVAEConfig

Quantizer = VectorQuantizer | EMAVectorQuantizer | SphericalQuantizer

_CONVOLUTION = {1: nn.Conv1d, 2: nn.Conv2d}
_TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d}
_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}


class ResidualBlock(nn.Module):
    """x + 1x1(relu(3x3(relu(x)))), with batch norm after each convolution if the layout has it."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        convolution, norm = _CONVOLUTION[config.dimensions], _NORM[config.dimensions]
        self.spatial = convolution(config.width, config.block_width, 3, padding=1)
        self.pointwise = convolution(config.block_width, config.width, 1)
        self.spatial_norm = norm(config.block_width) if config.norm else nn.Identity()
        self.pointwise_norm = norm(config.width) if config.norm else nn.Identity()
        self.skip_after_relu = config.skip_after_relu

    def forward(self, features: Tensor) -> Tensor:
        """[b, width, *grid] to the same."""
        active = F.relu(features)
        inner = F.relu(self.spatial_norm(self.spatial(active)))
        return (active if self.skip_after_relu else features) + self.pointwise_norm(self.pointwise(inner))


class Encoder(nn.Module):
    """Strided convolutions (kernel 4), perhaps one of 3 more, and a residual stack."""

    def __init__(self, config: VQVAEConfig, channels: int, downsamplings: int) -> None:
        super().__init__()
        convolution, norm = _CONVOLUTION[config.dimensions], _NORM[config.dimensions]
        widths = [channels, config.first_width, *[config.width] * (downsamplings - 1)]
        layers = [convolution(before, after, 4, 2, 1) for before, after in pairwise(widths)]
        if config.entry_convolution:
            layers.append(convolution(widths[-1], config.width, 3, padding=1))
        self.convolutions = nn.ModuleList(layers)
        inner = [layer.out_channels for layer in layers[:-1]]
        self.norms = nn.ModuleList(norm(width) if config.norm else nn.Identity() for width in inner)
        self.blocks = nn.Sequential(*[ResidualBlock(config) for _ in range(config.blocks)])
        self.entry_activation, self.exit_activation = config.entry_activation, config.exit_activation

    def forward(self, pixels: Tensor) -> Tensor:
        """[b, channels, *size] to [b, width, *grid]."""
        features = pixels
        for convolution, norm in zip(self.convolutions, self.norms, strict=False):
            features = F.relu(norm(convolution(features)))
        features = self.convolutions[-1](features)
        features = self.blocks(F.relu(features) if self.entry_activation else features)
        return F.relu(features) if self.exit_activation else features


class Decoder(nn.Module):
    """The encoder's mirror: perhaps a convolution of 3, a residual stack, transposed convolutions (kernel 4)."""

    def __init__(self, config: VQVAEConfig, code_width: int, channels: int, upsamplings: int, *, output: str) -> None:
        super().__init__()
        dimensions = config.dimensions
        self.entry = (
            _CONVOLUTION[dimensions](code_width, config.width, 3, padding=1)
            if config.entry_convolution
            else nn.Identity()
        )
        self.blocks = nn.Sequential(*[ResidualBlock(config) for _ in range(config.blocks)])
        widths = [*[config.width] * max(upsamplings - 1, 1), *[config.first_width] * (upsamplings > 1), channels]
        self.convolutions = nn.ModuleList(
            _TRANSPOSED[dimensions](before, after, 4, 2, 1) for before, after in pairwise(widths)
        )
        self.norms = nn.ModuleList(_NORM[dimensions](width) if config.norm else nn.Identity() for width in widths[1:-1])
        self.output = output

    def forward(self, codes: Tensor) -> Tensor:
        """[b, code_width, *grid] to [b, channels, *size]."""
        features = F.relu(self.blocks(self.entry(codes)))
        for convolution, norm in zip(self.convolutions, self.norms, strict=False):
            features = F.relu(norm(convolution(features)))
        pixels = self.convolutions[-1](features)
        return torch.tanh(pixels) if self.output == "tanh" else pixels


class Autoencoder(nn.Module):
    """One grid of codes (van den Oord et al. 2017, section 3)."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config, config.channels, config.downsamplings)
        pointwise = _CONVOLUTION[config.dimensions]
        self.codes_per_cell = config.codes_per_cell
        cell = config.codes_per_cell * config.code_width
        self.projection = pointwise(config.width, cell, 1) if config.projection else nn.Identity()
        self.quantizer = build_quantizer(config)
        self.decoder = Decoder(config, cell, config.channels, config.downsamplings, output=config.output)

    @property
    def quantizers(self) -> Sequence[Quantizer]:
        """The only one."""
        return (self.quantizer,)

    def features(self, pixels: Tensor) -> Tensor:
        """[b, channels, *size] to [b, *grid, code_width], what will be replaced by codes.

        Several codes per cell lie side by side: the grid's last axis is so many times as long.
        """
        cells = self.projection(self.encoder(pixels)).movedim(1, -1)
        return cells.unflatten(-1, (self.codes_per_cell, -1)).flatten(-3, -2)

    def encode(self, pixels: Tensor) -> list[Quantized]:
        """[b, channels, *size] to one grid: vectors [b, *grid, code_width], indices [b, *grid]."""
        return [self.quantizer(self.features(pixels))]

    def decode(self, vectors: Sequence[Tensor]) -> Tensor:
        """Codes [b, *grid, code_width], in a sequence of one, to [b, channels, *size]."""
        cells = vectors[0].unflatten(-2, (-1, self.codes_per_cell)).flatten(-2)
        return self.decoder(cells.movedim(-1, 1))


class TwoLevelAutoencoder(nn.Module):
    """A coarse grid, and a fine one that is chosen knowing the coarse (Razavi et al. 2019, section 3.1)."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        pointwise, transposed = _CONVOLUTION[config.dimensions], _TRANSPOSED[config.dimensions]
        width, code_width = config.width, config.code_width
        self.bottom_encoder = Encoder(config, config.channels, config.downsamplings)
        self.top_encoder = Encoder(config, width, 1)
        self.top_projection = pointwise(width, code_width, 1)
        self.top_quantizer = build_quantizer(config)
        self.top_decoder = Decoder(config, code_width, code_width, 1, output="linear")
        self.bottom_projection = pointwise(code_width + width, code_width, 1)
        self.bottom_quantizer = build_quantizer(config)
        self.upsampling = transposed(code_width, code_width, 4, 2, 1)
        self.decoder = Decoder(config, 2 * code_width, config.channels, config.downsamplings, output=config.output)

    @property
    def quantizers(self) -> Sequence[Quantizer]:
        """Coarse, fine."""
        return (self.top_quantizer, self.bottom_quantizer)

    def encode(self, pixels: Tensor) -> list[Quantized]:
        """[b, channels, *size] to the coarse grid and the fine one."""
        fine = self.bottom_encoder(pixels)
        top = self.top_quantizer(self.top_projection(self.top_encoder(fine)).movedim(1, -1))
        known = self.top_decoder(top.vectors.movedim(-1, 1))
        bottom = self.bottom_quantizer(self.bottom_projection(torch.cat([known, fine], dim=1)).movedim(1, -1))
        return [top, bottom]

    def decode(self, vectors: Sequence[Tensor]) -> Tensor:
        """Codes of the coarse and the fine grid, [b, *grid, code_width] each, to [b, channels, *size]."""
        top, bottom = (codes.movedim(-1, 1) for codes in vectors)
        return self.decoder(torch.cat([self.upsampling(top), bottom], dim=1))


def build_quantizer(config: VQVAEConfig) -> Quantizer:
    """The codebook that a configuration asks for."""
    if config.codebook == "gradient":
        return VectorQuantizer(
            config.codes,
            config.code_width,
            spread=config.codebook_spread,
            commitment=config.commitment,
            estimator=config.estimator,
            warm_start=config.warm_start,
        )
    if config.codebook == "spherical":
        return SphericalQuantizer(
            config.codes,
            config.code_width,
            commitment=config.commitment,
            decay=config.ema_decay,
            warm_start=config.warm_start,
        )
    averaging = Averaging(
        decay=config.ema_decay,
        epsilon=config.ema_epsilon,
        debiased=config.ema_debiased,
        counts_from=config.ema_counts_from,
        update_first=config.ema_update_first,
        restart_below=config.ema_restart_below,
    )
    return EMAVectorQuantizer(
        config.codes,
        config.code_width,
        commitment=config.commitment,
        averaging=averaging,
        estimator=config.estimator,
        warm_start=config.warm_start,
    )


def start_convolutions(network: nn.Module) -> None:
    """Sonnet's start: a normal distribution of deviation 1 / sqrt(fan in), cut at twice that; biases zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d):
            inputs = module.weight[0].numel() if not module.transposed else module.weight[:, 0].numel()
            deviation = inputs**-0.5
            nn.init.trunc_normal_(module.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def check_pixels(pixels: Tensor, config: VQVAEConfig) -> None:
    """
    Raises:
        InputError: pictures of another shape than [b, channels, *size], none at all, smaller than a code's cell, of
            sides that aren't multiples of it, or with values that are whole numbers, nan or infinite.
    """
    shape = list(pixels.shape)
    if pixels.ndim != config.dimensions + 2 or shape[1] != config.channels:
        sides = ", height, width" if config.dimensions == 2 else ", samples"
        raise InputError(f"pixels have the shape {shape}: give [batch, {config.channels}{sides}]")
    if shape[0] == 0:
        raise InputError(f"the batch of shape {shape} is empty: give at least one picture")
    if any(side == 0 or side % config.stride for side in shape[2:]):
        raise InputError(
            f"sides {shape[2:]} aren't multiples of {config.stride} pixels, the side of a code's cell: pad or crop"
        )
    if not pixels.is_floating_point():
        raise InputError(f"pixels are {pixels.dtype}: give floating-point numbers within the model's pixel range")
    if not torch.isfinite(pixels).all():
        raise InputError("pixels hold nan or infinite values: give numbers within the model's pixel range")
