"""MAGVIT's convolutional encoder and decoder (arXiv 2212.05199), whose two-dimensional form SPAE uses."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from koine.systems.spae.config import SpaeConfig

_ACTIVATIONS: dict[str, type[nn.Module]] = {"swish": nn.SiLU, "relu": nn.ReLU}
_EPSILON = 1e-6  # flax's, whose default differs from torch's


def normalisation(config: SpaeConfig, channels: int) -> nn.Module:
    """Group normalisation, or the one over channels that the original offers beside it."""
    if config.norm == "layer":
        return ChannelNorm(channels, eps=_EPSILON)
    return nn.GroupNorm(config.groups, channels, eps=_EPSILON)


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each cell of [batch, channels, height, width]."""

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features.movedim(1, -1)).movedim(-1, 1)


class ResidualBlock(nn.Module):
    """Norm, activation, convolution, twice; a 1x1 convolution on the side if the number of channels changes."""

    def __init__(self, config: SpaeConfig, channels: int, out: int) -> None:
        super().__init__()
        self.norm1 = normalisation(config, channels)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1, bias=False)
        self.norm2 = normalisation(config, out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(channels, out, 1, bias=False) if channels != out else None
        self.activation = _ACTIVATIONS[config.activation]()

    def forward(self, features: Tensor) -> Tensor:
        """[batch, channels, height, width] -> [batch, out, height, width]."""
        hidden = self.conv1(self.activation(self.norm1(features)))
        hidden = self.conv2(self.activation(self.norm2(hidden)))
        return hidden + (features if self.shortcut is None else self.shortcut(features))


class AttentionBlock(nn.Module):
    """Self-attention between all cells, added to its input; it starts as the identity."""

    def __init__(self, config: SpaeConfig, channels: int) -> None:
        super().__init__()
        self.heads = config.attention_heads
        self.norm = normalisation(config, channels)
        self.query, self.key, self.value = (nn.Linear(channels, channels) for _ in range(3))
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, features: Tensor) -> Tensor:
        """[batch, channels, height, width] -> the same."""
        cells = self.norm(features).flatten(2).mT
        query, key, value = (
            part(cells).unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)  # [batch, heads, cells, width of a head]
        mixed = self.out(mixed.transpose(1, 2).flatten(2))
        return features + mixed.mT.unflatten(2, features.shape[2:])


class DepthToSpace(nn.Module):
    """Four channels become a square of 2x2 cells; row and column of the square are the slowest channel indices.

    In torch's own `PixelShuffle` they are the fastest.
    """

    def forward(self, features: Tensor) -> Tensor:
        """[batch, 4 * channels, height, width] -> [batch, channels, 2 * height, 2 * width]."""
        batch, _, height, width = features.shape
        squares = features.view(batch, 2, 2, -1, height, width)  # [batch, row, column, channels, height, width]
        return squares.permute(0, 3, 4, 1, 5, 2).reshape(batch, -1, 2 * height, 2 * width)


def downsampling(config: SpaeConfig, channels: int) -> nn.Module:
    """Halves height and width."""
    if config.downsample == "conv":
        return nn.Conv2d(channels, channels, 4, stride=2, padding=1)
    return nn.AvgPool2d(2)


def upsampling(config: SpaeConfig, channels: int) -> nn.Module:
    """Doubles height and width."""
    if config.upsample == "deconv":
        return nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1)
    if config.upsample == "depth_to_space":
        return nn.Sequential(nn.Conv2d(channels, 4 * channels, 3, padding=1), DepthToSpace())
    return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(channels, channels, 3, padding=1))


class Encoder(nn.Module):
    """Pictures to features; each level but the last halves the sides."""

    def __init__(self, config: SpaeConfig) -> None:
        super().__init__()
        self.stem = nn.PixelUnshuffle(config.patch)
        self.conv_in = nn.Conv2d(3 * config.patch**2, config.filters, 3, padding=1, bias=False)
        self.levels, self.downs = nn.ModuleList(), nn.ModuleList()
        channels, last = config.filters, len(config.multipliers) - 1
        for level, multiplier in enumerate(config.multipliers):
            out = config.filters * multiplier
            self.levels.append(_blocks(config, channels, out, config.encoder_blocks))
            channels = out
            if level < last:
                self.downs.append(downsampling(config, channels))
        self.middle = _blocks(config, channels, channels, config.encoder_blocks)
        self.attention = AttentionBlock(config, channels) if config.attention_heads else None
        self.norm_out = normalisation(config, channels)
        self.activation = _ACTIVATIONS[config.activation]()
        self.conv_out = nn.Conv2d(channels, config.width, 1)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """[batch, 3, H, W] in [0, 1] -> [batch, width, H / stride, W / stride]."""
        hidden = self.conv_in(self.stem(pixel_values))
        for number, level in enumerate(self.levels):
            hidden = level(hidden)
            if number < len(self.downs):
                hidden = self.downs[number](hidden)
        for number, block in enumerate(self.middle, start=1):
            if self.attention is not None and number == len(self.middle):
                hidden = self.attention(hidden)
            hidden = block(hidden)
        out: Tensor = self.conv_out(self.activation(self.norm_out(hidden)))
        return out


class Decoder(nn.Module):
    """Features to pictures; the mirror of the encoder."""

    def __init__(self, config: SpaeConfig) -> None:
        super().__init__()
        channels = config.filters * config.multipliers[-1]
        self.conv_in = nn.Conv2d(config.width, channels, 3, padding=1)
        self.middle = _blocks(config, channels, channels, config.decoder_blocks)
        self.attention = AttentionBlock(config, channels) if config.attention_heads else None
        self.levels, self.ups = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(len(config.multipliers))):
            out = config.filters * config.multipliers[level]
            self.levels.append(_blocks(config, channels, out, config.decoder_blocks))
            channels = out
            if level > 0:
                self.ups.append(upsampling(config, channels))
        self.norm_out = normalisation(config, channels)
        self.activation = _ACTIVATIONS[config.activation]()
        self.conv_out = nn.Conv2d(channels, 3 * config.patch**2, 3, padding=1)
        self.unstem = nn.PixelShuffle(config.patch)

    def forward(self, features: Tensor) -> Tensor:
        """[batch, width, h, w] -> [batch, 3, h * stride, w * stride], not squashed: about [0, 1]."""
        hidden = self.conv_in(features)
        for number, block in enumerate(self.middle):
            hidden = block(hidden)
            if self.attention is not None and number == 0:
                hidden = self.attention(hidden)
        for number, level in enumerate(self.levels):
            hidden = level(hidden)
            if number < len(self.ups):
                hidden = self.ups[number](hidden)
        pixels: Tensor = self.unstem(self.conv_out(self.activation(self.norm_out(hidden))))
        return pixels


def _blocks(config: SpaeConfig, channels: int, out: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(config, channels if number == 0 else out, out) for number in range(count)))


@torch.no_grad()
def initialise(module: nn.Module) -> None:
    """flax's initial convolutions and linear maps: LeCun's truncated normal, biases zero."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        fan_in = module.weight[0].numel() if not isinstance(module, nn.ConvTranspose2d) else module.weight[:, 0].numel()
        deviation = fan_in**-0.5 / 0.87962566  # cut off at two deviations, a normal distribution keeps this share
        nn.init.trunc_normal_(module.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, AttentionBlock):
        nn.init.zeros_(module.out.weight)
