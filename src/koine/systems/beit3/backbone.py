"""BEiT-3's transformer without any head: image and text embeddings and the Multiway encoder (section 2.1)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_outputs import BaseModelOutput

from koine.errors import InputError
from koine.systems.beit3.config import POSITION_OFFSET, Beit3Config
from koine.systems.beit3.multiway import KeyValueStore, Multiway, MultiwayLayer, Route


class VisionEmbedding(nn.Module):
    """An image's patches behind a class token."""

    def __init__(self, config: Beit3Config) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        self.image_size = config.image_size
        self.proj = nn.Conv2d(config.num_channels, width, kernel_size=patch, stride=patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))

    def forward(self, pixel_values: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """
        Args:
            pixel_values: [images, 3, size, size].
            patch_mask: [images, patches] bool; the mask token takes the place of the patches that are True.
        Returns:
            [images, 1 + patches, width], patches row by row.
        Raises:
            InputError: the images have another size than the model's.
        """
        if pixel_values.shape[-2:] != (self.image_size, self.image_size):
            height, width = pixel_values.shape[-2:]
            raise InputError(
                f"an image of {width}x{height} pixels came to a BEiT-3 for {self.image_size}x{self.image_size}: "
                "resize it, or the model with resize_images"
            )
        patches = self.proj(pixel_values).flatten(2).transpose(1, 2)
        if patch_mask is not None:
            patches = torch.where(patch_mask[..., None], self.mask_token.to(patches.dtype), patches)
        return torch.cat((self.cls_token.expand(len(patches), -1, -1).to(patches.dtype), patches), dim=1)


class Encoder(nn.Module):
    """Positions, layers, and the norm behind them if the configuration has one."""

    def __init__(self, config: Beit3Config) -> None:
        super().__init__()
        width = config.hidden_size
        # Images and texts count from the first position each, in tables of their own.
        tables = {"A": config.image_tokens, **({"B": config.max_text_tokens} if config.has_text else {})}
        self.embed_positions = nn.ModuleDict(
            {letter: nn.Embedding(positions + POSITION_OFFSET, width) for letter, positions in tables.items()}
        )
        self.layers = nn.ModuleList(MultiwayLayer(config, number) for number in range(config.num_hidden_layers))
        self.layer_norm = (
            Multiway(lambda: nn.LayerNorm(width, eps=config.layer_norm_eps), separate=config.decoupled)
            if config.has_final_norm
            else None
        )

    def positions(self, letter: str) -> nn.Embedding:
        """The table of images (A) or of texts (B), [2 + positions, width]."""
        return cast(nn.Embedding, self.embed_positions[letter])

    def forward(
        self,
        tokens: Tensor,
        route: Route,
        *,
        mask: Tensor | None = None,
        store: KeyValueStore | None = None,
        keep_states: bool = False,
    ) -> BaseModelOutput:
        """Embedded tokens [batch, tokens, width] through all layers; `mask` and `store` as `MultiwayLayer`'s."""
        states = [tokens]
        for layer in self.layers:
            tokens = layer(tokens, route, mask, store)
            if keep_states:
                states.append(tokens)
        if self.layer_norm is not None:
            tokens = self.layer_norm(tokens, route)
        return BaseModelOutput(last_hidden_state=tokens, hidden_states=tuple(states) if keep_states else None)

    def remember(self, tokens: Tensor, route: Route, store: KeyValueStore, *, mask: Tensor | None = None) -> None:
        """Puts all layers' keys and values of `tokens` into `store`; what they come to in the end is left out."""
        for layer in self.layers[:-1]:
            tokens = layer(tokens, route, mask, store)
        cast(MultiwayLayer, self.layers[-1]).remember(tokens, route, store)


class Backbone(nn.Module):
    """The transformer without any head."""

    def __init__(self, config: Beit3Config) -> None:
        super().__init__()
        self.text_embed = nn.Embedding(config.vocab_size, config.hidden_size) if config.has_text else None
        self.vision_embed = VisionEmbedding(config)
        self.encoder = Encoder(config)

    def embed_images(self, pixel_values: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """Image tokens with positions [images, 1 + patches, width]; the arguments are `VisionEmbedding`'s."""
        tokens = self.vision_embed(pixel_values, patch_mask)
        return tokens + self.encoder.positions("A").weight[POSITION_OFFSET:].to(tokens.dtype)

    def embed_texts(self, input_ids: Tensor, positions: Tensor | None = None) -> Tensor:
        """Text tokens with positions [texts, tokens, width].

        Args:
            input_ids: [texts, tokens].
            positions: where each stands in its text, [tokens] or [texts, tokens]; counted from 0 by default.
        Raises:
            InputError: the text is longer than there are positions, or this model reads images only.
        """
        if self.text_embed is None:
            raise InputError("this BEiT-3 has no language branch: load other weights than a classifier's")
        table = self.encoder.positions("B")
        if positions is None:
            longest = table.num_embeddings - POSITION_OFFSET
            if input_ids.shape[1] > longest:
                raise InputError(
                    f"a text of {input_ids.shape[1]} tokens is longer than the {longest} that this BEiT-3 has "
                    "positions for: shorten it"
                )
            positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        return self.text_embed(input_ids) + table(positions + POSITION_OFFSET)

    def embed(
        self,
        pixel_values: Tensor | None = None,
        input_ids: Tensor | None = None,
        *,
        attention_mask: Tensor | None = None,
        patch_mask: Tensor | None = None,
        positions: Tensor | None = None,
        source_tokens: int | None = None,
    ) -> tuple[Tensor, Route, Tensor | None]:
        """What the encoder takes of images, of texts, or of pairs.

        Args:
            pixel_values: [batch, 3, size, size].
            input_ids: [batch, tokens].
            attention_mask: [batch, tokens], 0 for padding in the text.
            patch_mask: [batch, patches] bool, patches that are hidden.
            positions: of the text tokens, see `embed_texts`.
            source_tokens: with a number, the tokens from there on see what is before them only, and those before
                see each other only (sequence to sequence); by default all see all.
        Returns:
            Tokens [batch, tokens of image and text, width], their route, and the mask of who sees whom, if not all do.
        Raises:
            InputError: neither images nor texts are given.
        """
        parts: list[Tensor] = []
        if pixel_values is not None:
            parts.append(self.embed_images(pixel_values, patch_mask))
        image_tokens = parts[0].shape[1] if parts else 0
        if input_ids is not None:
            parts.append(self.embed_texts(input_ids, positions))
        if not parts:
            raise InputError("BEiT-3 was given neither an image nor a text: give at least one of them")
        tokens = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        mask = None
        if attention_mask is not None and input_ids is not None:
            real = F.pad(attention_mask.bool(), (image_tokens, 0), value=True)
            tokens = tokens * real[..., None].to(tokens.dtype)
            mask = real[:, None, None]
        if source_tokens is not None:
            causal = sequence_to_sequence_mask(source_tokens, tokens.shape[1], device=tokens.device)
            mask = causal if mask is None else causal & mask
        return tokens, Route(image_tokens, fused=len(parts) > 1), mask

    def forward(
        self,
        pixel_values: Tensor | None = None,
        input_ids: Tensor | None = None,
        *,
        attention_mask: Tensor | None = None,
        patch_mask: Tensor | None = None,
        positions: Tensor | None = None,
        source_tokens: int | None = None,
        keep_states: bool = False,
    ) -> BaseModelOutput:
        """The features of images, of texts, or of pairs; the other arguments are those of `embed`.

        Args:
            keep_states: return the states between the layers, too.
        Returns:
            `last_hidden_state` [batch, tokens of image and text, width], and if asked for `hidden_states`: the
            embedded tokens and each layer's output.
        """
        tokens, route, mask = self.embed(
            pixel_values,
            input_ids,
            attention_mask=attention_mask,
            patch_mask=patch_mask,
            positions=positions,
            source_tokens=source_tokens,
        )
        return self.encoder(tokens, route, mask=mask, keep_states=keep_states)


def trim_padding(input_ids: Tensor, attention_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Cuts off columns that are padding in every text; without any padding left there is no mask either.

    Args:
        input_ids, attention_mask: [texts, tokens], padded on the right.
    """
    if attention_mask is None:
        return input_ids, None
    real = attention_mask.bool()
    used = real.any(dim=0).nonzero()
    length = int(used[-1]) + 1 if len(used) else 1
    real = real[:, :length]
    return input_ids[:, :length], None if bool(real.all()) else real


def join_texts(
    first: Tensor, second: Tensor, *, first_mask: Tensor | None = None, second_mask: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Two texts in a row as one sequence, in which the second goes on counting where the first really ends.

    Args:
        first, second, first_mask, second_mask: [batch, tokens]; masks are 0 for padding.
    Returns:
        positions, ids and mask of the sequence, each [batch, tokens of both].
    """
    of_first = torch.ones_like(first) if first_mask is None else first_mask.long()
    of_second = torch.ones_like(second) if second_mask is None else second_mask.long()
    counted = torch.arange(first.shape[1], device=first.device).expand_as(first)
    going_on = of_first.sum(1, keepdim=True) + torch.arange(second.shape[1], device=first.device)
    mask = None if first_mask is None and second_mask is None else torch.cat((of_first, of_second), 1)
    return torch.cat((counted, going_on), 1), torch.cat((first, second), 1), mask


def sequence_to_sequence_mask(source: int, total: int, *, device: torch.device | None = None) -> Tensor:
    """[total, total] bool, True where the row's token sees the column's (as UniLM's).

    The first `source` tokens see each other; each later one sees these, what is before it, and itself.
    """
    places = torch.arange(total, device=device)
    return (places < source) | ((places <= places[:, None]) & (places[:, None] >= source))


def resize_positions(table: Tensor, grid: int) -> Tensor:
    """Image positions [2 + 1 + patches, width] for a square of `grid` x `grid` patches, interpolated bicubically.

    The first three rows, two that are never used and the class token's, stay as they are.
    """
    kept = POSITION_OFFSET + 1
    old = round((len(table) - kept) ** 0.5)
    if old == grid:
        return table
    patches = table[kept:].float().T.reshape(1, -1, old, old)
    resized = F.interpolate(patches, size=(grid, grid), mode="bicubic", align_corners=False)
    return torch.cat((table[:kept], resized[0].flatten(1).T.to(table.dtype)))
