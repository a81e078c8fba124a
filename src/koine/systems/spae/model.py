"""The network: pictures to layers of codes, and any number of layers back to pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from koine.errors import InputError
from koine.parts.quantize import Quantized, VectorQuantizer, straight_through
from koine.parts.residual_quantize import LayeredCodes, Pyramid, combine_codes, fill, quantize_layers
from koine.systems.spae.autoencoder import Decoder, Encoder, initialise
from koine.systems.spae.config import SpaeConfig


@dataclass(frozen=True)
class SpaeOutput:
    """What a forward pass yields.

    Attributes:
        pixels: [batch, 3, H, W], the decoder's picture, not squashed.
        features: [batch, rows, columns, width], what was quantised.
        codes: the layers, with a frozen codebook.
        quantized: what the learnt codebook did, with one.
    """

    pixels: Tensor
    features: Tensor
    codes: LayeredCodes | None = None
    quantized: Quantized | None = None


class SpaeModel(PreTrainedModel):
    """Encoder, codebook and decoder.

    `table` [codes, width] is the frozen codebook and `token_ids` [codes] the language model's token of each row;
    neither is trained. A learnt codebook (`config.codebook`) has a quantiser instead.
    """

    config: SpaeConfig
    config_class = SpaeConfig
    base_model_prefix = "spae"
    main_input_name = "pixel_values"
    table: Tensor
    token_ids: Tensor

    def __init__(self, config: SpaeConfig) -> None:
        super().__init__(config)
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        if config.codebook == "learnt":
            self.quantizer = VectorQuantizer(
                config.codebook_size,
                config.width,
                spread=(3 / config.codebook_size) ** 0.5,
                commitment=config.commitment,
                codebook=config.codebook_weight,
                entropy=config.entropy,
                temperature=config.temperature,
                entropy_target=config.entropy_target,
                normalized=config.normalized,
            )
        else:
            self.register_buffer("table", torch.zeros(config.codebook_size, config.width))
            self.register_buffer("token_ids", torch.zeros(config.codebook_size, dtype=torch.int64))
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: Any) -> None:
        initialise(module)

    @torch.no_grad()
    def set_table(self, table: Tensor, token_ids: Tensor) -> None:
        """Takes over rows of a language model's table.

        Args:
            table: [codes, width] float.
            token_ids: [codes] int64, the language model's token that each row belongs to.
        Raises:
            InputError: another number of rows or another width than configured.
        """
        if tuple(table.shape) != tuple(self.table.shape) or len(token_ids) != len(self.table):
            raise InputError(
                f"a table of {tuple(table.shape)} with {len(token_ids)} tokens doesn't fit a codebook of "
                f"{tuple(self.table.shape)}: configure codebook_size and width by the table, or project it"
            )
        self.table.copy_(table)
        self.token_ids.copy_(token_ids)

    @property
    def words(self) -> Tensor:
        """The codebook [codes, width], frozen or learnt."""
        return self.quantizer.codebook if self.config.codebook == "learnt" else self.table

    @torch.no_grad()
    def start_at_scale_of_table(self) -> None:
        """Scales the first weights so that features begin as large as words, and the decoder takes these as of size 1.

        A table's numbers may be a tenth of what a fresh encoder puts out, and all of the first steps would go to that.
        """
        size = self.table.square().mean().sqrt()
        self.encoder.conv_out.weight.mul_(size)
        self.decoder.conv_in.weight.div_(size)

    def forward(self, pixel_values: Tensor, *, layers: Tensor | None = None) -> SpaeOutput:
        """Reconstructs pictures [batch, 3, H, W] in [0, 1].

        Args:
            layers: [batch] long, how many layers the decoder gets of each picture; all by default. Gradients pass
                straight through to the features (section 3.2 of the paper), but not where these layers have no code:
                what is decoded there doesn't depend on the features.
        Raises:
            InputError: an empty batch, another size than the model's, pixels that aren't numbers, or `layers` that
                aren't one number for each picture from 1 to as many as there are.
        """
        if layers is not None:
            _check_layers(layers, len(pixel_values), self.config.layers)
        features = self.encode(pixel_values)
        if self.config.codebook == "learnt":
            quantized = self.quantizer(features.float())
            return SpaeOutput(self.decode(quantized.vectors), features, quantized=quantized)
        codes = self.quantize(features)
        chosen = self.partial(codes, layers)
        vectors = straight_through(features.float(), chosen)
        if layers is not None:
            vectors = torch.where(codes.counts[layers - 1][..., None] > 0, vectors, chosen)
        return SpaeOutput(self.decode(vectors), features, codes=codes)

    def encode(self, pixel_values: Tensor) -> Tensor:
        """Pictures [batch, 3, H, W] in [0, 1] -> features [batch, rows, columns, width]."""
        _check_pixels(pixel_values, self.config.image_size)
        features: Tensor = self.encoder(pixel_values)
        return features.permute(0, 2, 3, 1)

    def decode(self, vectors: Tensor) -> Tensor:
        """Vectors [batch, rows, columns, width] of any number type -> pictures [batch, 3, H, W]."""
        pixels: Tensor = self.decoder(vectors.permute(0, 3, 1, 2).to(self.decoder.conv_in.weight.dtype))
        return pixels

    def quantize(self, features: Tensor) -> LayeredCodes:
        """The layers of words of features [batch, rows, columns, width]."""
        return quantize_layers(features.float(), self.table.float(), self.config.layers, rule=self.config.rule)

    def partial(self, codes: LayeredCodes, layers: Tensor | None = None) -> Tensor:
        """What the first `layers` [batch] layers stand for, empty places filled: [batch, rows, columns, width]."""
        if layers is None:
            return fill(codes.reconstructions[-1], codes.counts[-1], self.config.filling)
        filled = torch.stack(
            [
                fill(vectors, counts, self.config.filling)
                for vectors, counts in zip(codes.reconstructions, codes.counts, strict=True)
            ]
        )
        return filled[layers - 1, torch.arange(len(layers), device=layers.device)]

    def pixels_of_codes(self, tokens: Sequence[Tensor]) -> Tensor:
        """Pictures [batch, 3, H, W] of the codes [batch, h_l, w_l] of the first layers.

        Raises:
            InputError: see `combine_codes`.
        """
        settings: dict[str, Any] = {"rule": self.config.rule, "filling": self.config.filling}
        return self.decode(combine_codes(tokens, self.words.float(), self.config.layers, **settings))


def _check_layers(layers: Tensor, pictures: int, pyramid: Pyramid) -> None:
    # Zero would count from the end, and a single number would give all pictures the first one's words.
    if tuple(layers.shape) != (pictures,):
        raise InputError(f"layers of shape {tuple(layers.shape)} for {pictures} pictures: give one number for each")
    for count in {int(layers.min()), int(layers.max())} if pictures else ():
        pyramid.length(count)  # says so if there are not so many


def _check_pixels(pixel_values: Tensor, size: int) -> None:
    if pixel_values.ndim != 4 or pixel_values.shape[1] != 3 or pixel_values.shape[0] == 0:
        raise InputError(
            f"pictures have shape {tuple(pixel_values.shape)}: give at least one as [batch, 3, {size}, {size}]"
        )
    if tuple(pixel_values.shape[2:]) != (size, size):
        height, width = pixel_values.shape[2:]
        raise InputError(f"pictures of {width}x{height} pixels don't fit the model's {size}x{size}: resize them")
    if not pixel_values.is_floating_point():
        raise InputError(f"pixels are {pixel_values.dtype}: give floating-point numbers from 0 to 1")
    if not bool(torch.isfinite(pixel_values).all()):
        raise InputError("pixels are nan or infinite: give numbers from 0 to 1")
