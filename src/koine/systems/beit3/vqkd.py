"""BEiT v2's visual tokenizer: codes for patches that tell a teacher's features (VQ-KD, arXiv 2208.06366)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers import initialization as init

from koine.parts.moving_codebook import SphericalQuantizer
from koine.parts.quantize import Quantized
from koine.systems.beit3.config import VisualTokenizerConfig

if TYPE_CHECKING:
    from transformers import CLIPModel


class Attention(nn.Module):
    """Self-attention whose keys have no bias, as BEiT's."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """[batch, tokens, width] to the same."""
        bias = torch.cat((self.q_bias, torch.zeros_like(self.q_bias), self.v_bias))
        projected = F.linear(tokens, self.qkv.weight, bias).unflatten(-1, (3, self.heads, -1))
        queries, keys, values = projected.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(queries, keys, values)
        return self.proj(attended.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear maps."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """[.., width] to the same."""
        return self.fc2(F.gelu(self.fc1(tokens)))


class Block(nn.Module):
    """A layer with norms before attention and mlp."""

    def __init__(self, config: VisualTokenizerConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.norm1 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.attn = Attention(width, config.num_attention_heads)
        self.norm2 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.mlp = Mlp(width, config.intermediate_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """[batch, tokens, width] to the same."""
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class PatchEmbedding(nn.Module):
    """Patches of an image, or of a map of codes, as tokens."""

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, kernel_size=patch, stride=patch)

    def forward(self, image: Tensor) -> Tensor:
        """[batch, channels, height, width] to a map [batch, width, rows, columns]."""
        return self.proj(image)


class PatchTransformer(nn.Module):
    """A vision transformer that returns its normalised patch tokens; encoder and decoder of the tokenizer."""

    def __init__(self, config: VisualTokenizerConfig, *, channels: int, patch: int, layers: int) -> None:
        super().__init__()
        width = config.hidden_size
        self.patch_embed = PatchEmbedding(channels, width, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, config.grid**2 + 1, width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(layers))
        self.fc_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)

    def forward(self, image: Tensor) -> Tensor:
        """[batch, channels, height, width] to [batch, patches, width], row by row; any size of whole patches."""
        embedded = self.patch_embed(image)
        rows, columns = embedded.shape[-2:]
        tokens = torch.cat((self.cls_token.expand(len(image), -1, -1), embedded.flatten(2).transpose(1, 2)), dim=1)
        tokens = tokens + self._positions(rows, columns)
        for block in self.blocks:
            tokens = block(tokens)
        return self.fc_norm(tokens[:, 1:])

    def _positions(self, rows: int, columns: int) -> Tensor:
        """[1, 1 + patches, width], interpolated if the image isn't of the trained size."""
        patches = self.pos_embed.shape[1] - 1
        grid = round(patches**0.5)
        if (rows, columns) == (grid, grid):
            return self.pos_embed
        square = self.pos_embed[:, 1:].reshape(1, grid, grid, -1).permute(0, 3, 1, 2)
        # The tenth keeps the product from being rounded down to one patch less; it is a part of the factor, as in the
        # original, so that values depend on it.
        factor = ((rows + 0.1) / grid, (columns + 0.1) / grid)
        resized = F.interpolate(square, scale_factor=factor, mode="bicubic")
        return torch.cat((self.pos_embed[:, :1], resized.flatten(2).transpose(1, 2)), dim=1)


@dataclass(frozen=True)
class TokenizerOutput:
    """What training the tokenizer looks at.

    Attributes:
        loss: the sum of the two below, [].
        reconstruction_loss: 1 minus the cosine of what the decoder says and the teacher's features, mean.
        commitment_loss: of encoder outputs to their codes.
        predicted: [images, patches, teacher width].
        codes: [images, patches] long.
        perplexity: how many codes the batch used as if evenly, [].
    """

    loss: Tensor
    reconstruction_loss: Tensor
    commitment_loss: Tensor
    predicted: Tensor
    codes: Tensor
    perplexity: Tensor


class VisualTokenizer(PreTrainedModel):
    """Images to codes, one a patch; the decoder is for training only.

    Images are given as [images, 3, height, width] in 0..1. (The original decides by a batch's maximum whether its
    values are 0..1 or 0..255, so that it takes a dark batch for the former.)
    """

    config_class = VisualTokenizerConfig
    config: VisualTokenizerConfig
    base_model_prefix = "tokenizer"
    main_input_name = "images"

    def __init__(self, config: VisualTokenizerConfig) -> None:
        super().__init__(config)
        width, code = config.hidden_size, config.code_width
        self.encoder = PatchTransformer(
            config, channels=config.num_channels, patch=config.patch_size, layers=config.num_hidden_layers
        )
        self.encode_task_layer = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, code))
        self.quantizer = SphericalQuantizer(config.num_codes, code, decay=config.decay)
        self.decoder = PatchTransformer(config, channels=code, patch=1, layers=config.decoder_layers)
        self.decode_task_layer = nn.Sequential(
            nn.Linear(width, width), nn.Tanh(), nn.Linear(width, config.teacher_width)
        )
        self.post_init()

    @torch.no_grad()
    def tokenize(self, images: Tensor) -> Tensor:
        """Codes [images, patches] long, row by row."""
        return self.quantize(images).indices

    def quantize(self, images: Tensor) -> Quantized:
        """The codes and unit vectors [images, patches, code width] of images.

        It counts which codes are chosen, also outside training; in training the codebook follows.
        """
        return self.quantizer(self.encode(images))

    def encode(self, images: Tensor) -> Tensor:
        """What is quantised, of any length: [images, patches, code width]."""
        features = self.encoder(to_signed(images))
        with torch.autocast(features.device.type, enabled=False):
            return self.encode_task_layer(features.to(self.encode_task_layer[0].weight.dtype))

    def decode(self, vectors: Tensor) -> Tensor:
        """What codes [images, patches, code width] say of the teacher's features [images, patches, teacher width]."""
        side = round(vectors.shape[1] ** 0.5)
        image = vectors.transpose(1, 2).unflatten(2, (side, side))
        return self.decode_task_layer(self.decoder(image))

    def forward(self, images: Tensor, targets: Tensor) -> TokenizerOutput:
        """Learns to keep in codes what the teacher sees (section 3.1, equation 3).

        Args:
            images: [images, 3, size, size] in 0..1.
            targets: the teacher's patch features [images, patches, teacher width] (`clip_targets`).
        """
        quantized = self.quantize(images)
        predicted = self.decode(quantized.vectors)
        reconstruction = 1 - F.cosine_similarity(predicted.float(), targets.float(), dim=-1).mean()
        return TokenizerOutput(
            loss=reconstruction + quantized.loss,
            reconstruction_loss=reconstruction,
            commitment_loss=quantized.commitment_loss,
            predicted=predicted,
            codes=quantized.indices,
            perplexity=quantized.perplexity,
        )

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Conv2d):
            init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, PatchTransformer):
            init.trunc_normal_(module.pos_embed, std=0.02)
            init.trunc_normal_(module.cls_token, std=0.02)
        elif isinstance(module, Attention):
            init.zeros_(module.q_bias)
            init.zeros_(module.v_bias)


def to_signed(images: Tensor) -> Tensor:
    """0..1 to -1..1, by way of bytes as the original does."""
    return images * 255.0 / 127.5 - 1.0


@torch.no_grad()
def clip_targets(teacher: CLIPModel, images: Tensor) -> Tensor:
    """The features that CLIP's picture encoder has for each patch, in the space of its texts.

    Args:
        teacher: its images must have as many patches as the tokenizer's.
        images: [images, 3, size, size] in 0..1.
    Returns:
        [images, patches, shared width].
    """
    from koine.foundations.clip import MEAN, STD

    mean, deviation = (images.new_tensor(each).view(3, 1, 1) for each in (MEAN, STD))
    vision: Any = teacher.vision_model
    hidden = vision((images - mean) / deviation).last_hidden_state[:, 1:]
    return teacher.visual_projection(vision.post_layernorm(hidden))
