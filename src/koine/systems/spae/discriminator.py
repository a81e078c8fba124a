"""MAGVIT's discriminator, which is StyleGAN's, and the losses of the two sides (optional in SPAE's training)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Kind = Literal["non-saturating", "hinge"]


class BlurPool(nn.Module):
    """Halves the sides after a blur by [1, 3, 3, 1] (Zhang 2019)."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
        square = taps[:, None] * taps
        self.register_buffer("kernel", (square / square.sum())[None, None], persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """[batch, channels, height, width] -> [batch, channels, height / 2, width / 2]."""
        channels = features.shape[1]
        kernel = self.kernel.to(features.dtype).expand(channels, 1, 4, 4)
        return functional.conv2d(features, kernel, stride=2, padding=1, groups=channels)


class DiscriminatorBlock(nn.Module):
    """Two convolutions with a halving between them, and a 1x1 convolution on the side."""

    def __init__(self, channels: int, out: int, *, blur: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.shortcut = nn.Conv2d(channels, out, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, out, 3, padding=1)
        self.pool = BlurPool() if blur else nn.AvgPool2d(2)

    def forward(self, features: Tensor) -> Tensor:
        """[batch, channels, height, width] -> [batch, out, height / 2, width / 2]."""
        hidden = self.pool(_leaky(self.conv1(features)))
        hidden = _leaky(self.conv2(hidden))
        side: Tensor = self.shortcut(self.pool(features))
        return (side + hidden) / 2**0.5


class Discriminator(nn.Module):
    """Pictures to one number each: how real they look.

    Args:
        image_size: pixels along each side.
        filters: channels of the first convolution; those of block i are `filters * multipliers[i]`.
        blur: halve by `BlurPool` instead of the mean of 2x2.
    """

    def __init__(
        self, image_size: int, *, filters: int = 64, multipliers: Sequence[int] = (2, 4, 4, 4), blur: bool = False
    ) -> None:
        super().__init__()
        widths = [filters, *(filters * multiplier for multiplier in multipliers)]
        self.conv_in = nn.Conv2d(3, filters, 3, padding=1)
        self.blocks = nn.ModuleList(DiscriminatorBlock(channels, out, blur=blur) for channels, out in pairwise(widths))
        self.conv_out = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)
        side = image_size >> len(multipliers)
        self.hidden = nn.Linear(side * side * widths[-1], widths[-1])
        self.out = nn.Linear(widths[-1], 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """[batch, 3, H, W] in [0, 1] -> logits [batch, 1]."""
        hidden = _leaky(self.conv_in(pixel_values))
        for block in self.blocks:
            hidden = block(hidden)
        hidden = _leaky(self.conv_out(hidden))
        # rows, columns, channels: the order in which the original unrolls its maps
        logits: Tensor = self.out(_leaky(self.hidden(hidden.permute(0, 2, 3, 1).flatten(1))))
        return logits


def discriminator_loss(real: Tensor, fake: Tensor, kind: Kind = "non-saturating") -> Tensor:
    """What the discriminator minimises, from its logits of real pictures and of reconstructions."""
    if kind == "hinge":
        return functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()
    return functional.softplus(-real).mean() + functional.softplus(fake).mean()


def generator_loss(fake: Tensor, kind: Kind = "non-saturating") -> Tensor:
    """What the autoencoder minimises, from the discriminator's logits of its reconstructions."""
    return -fake.mean() if kind == "hinge" else functional.softplus(-fake).mean()


def gradient_penalty(discriminator: nn.Module, real: Tensor, *, cost: float = 10.0) -> Tensor:
    """R1: `cost` times the squared gradient of the logit with respect to real pictures [batch, 3, H, W].

    The original calls clips of frames one sample: sum over the frames of a clip before the mean if there are any.
    """
    return cost * squared_gradients(discriminator, real).mean()


def squared_gradients(discriminator: nn.Module, real: Tensor) -> Tensor:
    """[batch]: squared norms of the logits' gradients with respect to the pictures, differentiable."""
    with torch.enable_grad():
        real = real.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return gradient.float().flatten(1).square().sum(dim=1)


def lecam_loss(real: Tensor, fake: Tensor, mean_real: Tensor, mean_fake: Tensor) -> Tensor:
    """LeCam's regularisation (Tseng et al. 2021) from batch means of logits and their moving averages, all scalars."""
    return functional.relu(real - mean_fake).square().mean() + functional.relu(mean_real - fake).square().mean()


def _leaky(features: Tensor) -> Tensor:
    return functional.leaky_relu(features, 0.2)
