"""An autoencoder whose decoder is a PixelCNN over the pixels themselves, or, to compare, paints each by itself.

A strong decoder can do without latents, and a Gaussian VAE's then are ignored (sections 1 and 4.1). To be trained in
minutes, pictures are small and of few colours: each pixel is one of a palette, and the gated PixelCNN that draws grids
of codes elsewhere draws grids of these.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from koine.errors import InputError
from koine.systems.vqvae.autoencoder import Decoder, Encoder, start_convolutions
from koine.systems.vqvae.bottlenecks import BottleneckConfig, Latents, build_latents
from koine.systems.vqvae.pixelcnn import GatedPixelCNN


class PaletteConfig(BottleneckConfig):
    """Networks and latents of a `PaletteAutoencoder`; the PixelCNN's sizes are the fields `prior_*`.

    Attributes:
        painter: "pixelcnn", which sees the pixels before the one that it paints, or "independent".
        shades: of each channel, at equal distances; the palette has `shades`^3 colours.
    """

    model_type = "koine_vqvae_palette"

    painter: Literal["pixelcnn", "independent"] = "pixelcnn"
    shades: int = 4


class PaletteAutoencoder(PreTrainedModel):
    """Pictures as grids of palette colours [b, rows, columns] long, with their likelihood given latents."""

    config_class = PaletteConfig
    main_input_name = "grids"
    config: PaletteConfig

    def __init__(self, config: PaletteConfig) -> None:
        super().__init__(config)
        self.encoder = Encoder(config, 3, config.downsamplings)
        self.latents = build_latents(config)
        cell = config.codes_per_cell * config.code_width
        self.upsampling = Decoder(config, cell, config.width, config.downsamplings, output="linear")
        self.painter = (_Autoregressive if config.painter == "pixelcnn" else _Independent)(config)
        for network in (self.encoder, self.latents, self.upsampling):
            start_convolutions(network)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leaves modules as their constructors filled them."""

    def forward(self, grids: Tensor, *, generator: torch.Generator | None = None) -> tuple[Tensor, Latents]:
        """-log p of pictures given a draw of their latents, in nats [b], and that draw.

        Raises:
            InputError: colours that the palette hasn't, or sides that aren't multiples of a latent's cell.
        """
        latents = self.encode(grids, generator=generator)
        return self.pixel_nats(grids, latents.vectors), latents

    def encode(self, grids: Tensor, *, generator: torch.Generator | None = None) -> Latents:
        """A draw of the latents of pictures [b, rows, columns].

        Args:
            generator: on the CPU; by default torch's global one.
        Raises:
            InputError: see `forward`.
        """
        colours, stride = self.config.shades**3, self.config.stride
        if grids.ndim != 3 or any(side == 0 or side % stride for side in grids.shape[1:]):
            raise InputError(
                f"grids have the shape {list(grids.shape)}: give [batch, rows, columns], multiples of {stride}"
            )
        if int(grids.min()) < 0 or int(grids.max()) >= colours:
            raise InputError(f"grids hold colours outside of 0 to {colours - 1}: give those of the palette")
        return self.latents(self.encoder(self._pixels(grids)), generator=generator)

    def pixel_nats(self, grids: Tensor, vectors: Tensor) -> Tensor:
        """-log p, [b], of pictures [b, rows, columns] given latents [b, channels, *grid], theirs or others'."""
        logits = self.painter(grids, self.upsampling(vectors))
        return F.cross_entropy(logits.float(), grids, reduction="none").flatten(1).sum(dim=1)

    def _pixels(self, grids: Tensor) -> Tensor:
        """[b, 3, rows, columns] in the model's pixel range."""
        shades, (low, high) = self.config.shades, self.config.pixel_range
        channels = torch.stack([grids // shades**2, grids // shades % shades, grids % shades], dim=1)
        return channels * ((high - low) / (shades - 1)) + low


class _Autoregressive(nn.Module):
    """A gated PixelCNN over the palette; in each layer it sees at every place what the latents say of it."""

    def __init__(self, config: PaletteConfig) -> None:
        super().__init__()
        self.network = GatedPixelCNN(
            config.shades**3,
            width=config.prior_width,
            layers=config.prior_layers,
            head=config.prior_head,
            first_kernel=config.prior_first_kernel,
            kernel=config.prior_kernel,
        )
        self.asked = nn.ModuleList(nn.Conv2d(config.width, 2 * config.prior_width, 1) for _ in self.network.layers)
        start_convolutions(self.asked)

    def forward(self, grids: Tensor, told: Tensor) -> Tensor:
        """Logits [b, colours, rows, columns], with maps [b, width, rows, columns]."""
        vertical = horizontal = self.network.embed(grids).permute(0, 3, 1, 2)
        for layer, asked in zip(self.network.layers, self.asked, strict=True):
            vertical, horizontal = layer(vertical, horizontal, asked(told))
        return self.network.head(horizontal)


class _Independent(nn.Module):
    """The same last layers, without a look at any pixel."""

    def __init__(self, config: PaletteConfig) -> None:
        super().__init__()
        self.head = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(config.width, config.prior_head, 1),
            nn.ReLU(),
            nn.Conv2d(config.prior_head, config.shades**3, 1),
        )
        start_convolutions(self.head)

    def forward(self, grids: Tensor, told: Tensor) -> Tensor:
        """Logits [b, colours, rows, columns], with maps [b, width, rows, columns]; `grids` aren't looked at."""
        return self.head(told)


def palette_grids(images: Tensor, *, side: int, shades: int) -> Tensor:
    """Pictures uint8 [n, H, W, 3] as grids [n, side, side] long of palette colours.

    Each pixel is the mean of those that it stands for, in the nearest lower of `shades` equal steps of each channel.

    Raises:
        InputError: sides that aren't `side` times a whole number.
    """
    if images.shape[1] != images.shape[2] or images.shape[1] % side:
        raise InputError(
            f"pictures of {images.shape[2]}x{images.shape[1]} can't be shrunk to {side}x{side}: give squares"
        )
    means = F.avg_pool2d(images.movedim(-1, 1).float(), images.shape[1] // side)
    red, green, blue = (means * (shades / 256)).long().unbind(dim=1)
    return (red * shades + green) * shades + blue
