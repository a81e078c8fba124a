"""What the paper compares a VQ-VAE with (section 4.1): the same networks around Gaussian or categorical latents."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from koine.systems.vqvae.autoencoder import Decoder, Encoder, check_pixels, start_convolutions
from koine.systems.vqvae.bottlenecks import BottleneckConfig, Latents, build_latents


@dataclass(frozen=True)
class Rebuilt:
    """Pictures from one draw of their latents.

    Attributes:
        pixels: [b, channels, *size], in the model's pixel range.
        latents: that draw.
    """

    pixels: Tensor
    latents: Latents


class VariationalAutoencoder(PreTrainedModel):
    """A VQ-VAE's encoder and decoder with other latents between them. Pictures are as `VQVAEModel` takes them."""

    config_class = BottleneckConfig
    main_input_name = "pixels"
    config: BottleneckConfig

    def __init__(self, config: BottleneckConfig) -> None:
        super().__init__(config)
        self.encoder = Encoder(config, config.channels, config.downsamplings)
        self.latents = build_latents(config)
        cell = config.codes_per_cell * config.code_width
        self.decoder = Decoder(config, cell, config.channels, config.downsamplings, output=config.output)
        start_convolutions(self)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leaves modules as their constructors filled them."""

    def forward(self, pixels: Tensor, *, temperature: float = 0.0, generator: torch.Generator | None = None) -> Rebuilt:
        """
        Args:
            temperature: see `CategoricalLatents`.
            generator: of the draws, on the CPU; by default torch's global one.
        Raises:
            InputError: see `check_pixels`.
        """
        check_pixels(pixels, self.config)
        latents = self.latents(self.encoder(pixels), temperature=temperature, generator=generator)
        return Rebuilt(self.decoder(latents.vectors), latents)


def bound(rebuilt: Rebuilt, pixels: Tensor, *, weight: float = 1.0) -> Tensor:
    """What training minimises: nats per pixel and channel, but for a constant, of pixels [b, channels, *size].

    Pixels are Gaussian around what the decoder says. Their deviation is the one that fits the batch best, the root of
    the mean squared error, so that no weight between pixels and latents is to be chosen (arXiv 2006.13202).

    Args:
        weight: of the latents' nats; it is a bound with 1 only.
    """
    error = F.mse_loss(rebuilt.pixels.float(), pixels.float())
    latents = rebuilt.latents
    return 0.5 * error.log() + weight * latents.nats.mean() / pixels[0].numel() + latents.commitment
