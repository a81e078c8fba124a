"""The Multiway transformer: one attention for all tokens, experts for each modality (BEiT-3, section 2.1; sub-LN)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_layers import GradientCheckpointingLayer

from koine.systems.beit3.config import Beit3Config


@dataclass(frozen=True)
class Route:
    """Which expert each token of a call goes through.

    Attributes:
        image_tokens: so many leading tokens are an image's, the others a text's; either may be none.
        fused: the tokens belong to image-text pairs, also where a call brings only a part of them.
    """

    image_tokens: int
    fused: bool = False


class KeyValueStore(Protocol):
    """Where a layer's keys and values wait for later calls."""

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Adds [batch, heads, new, d] of both; returns all that are held, [batch, heads, held + new, d]."""


class Multiway(nn.Module):
    """The same kind of module for each modality.

    Attributes (the letters are those of the published weights):
        A: for tokens of images, or for all tokens if there is no B.
        B: for tokens of texts.
        C: for all tokens of image-text pairs, instead of A and B.
    """

    def __init__(self, make: Callable[[], nn.Module], *, separate: bool, fusion: bool = False) -> None:
        super().__init__()
        self.A = make()
        self.B = make() if separate else None
        self.C = make() if fusion else None

    def forward(self, tokens: Tensor, route: Route) -> Tensor:
        """[batch, tokens, width] to [batch, tokens, other width]."""
        images = route.image_tokens
        if self.C is not None and route.fused:
            return self.C(tokens)
        if self.B is None or images == tokens.shape[1]:
            return self.A(tokens)
        if images == 0:
            return self.B(tokens)
        return torch.cat((self.A(tokens[:, :images]), self.B(tokens[:, images:])), dim=1)

    def text_expert(self, *, fused: bool) -> nn.Module:
        """What tokens of texts go through, alone or in pairs."""
        if self.C is not None and fused:
            return self.C
        return self.A if self.B is None else self.B


class ScaledLinear(nn.Linear):
    """A linear map whose weights start `gain` times as large as PyTorch's (Magneto, arXiv 2210.06423, section 3.2)."""

    def __init__(self, inputs: int, outputs: int, *, gain: float) -> None:
        super().__init__(inputs, outputs)
        self.gain = gain


class FeedForward(nn.Module):
    """Two linear maps with a norm before the second (sub-LN)."""

    def __init__(self, config: Beit3Config) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        gain = sub_ln_gain(config.num_hidden_layers)
        self.fc1 = ScaledLinear(width, inner, gain=gain)
        self.ffn_layernorm = nn.LayerNorm(inner, eps=config.layer_norm_eps)
        self.fc2 = ScaledLinear(inner, width, gain=gain)

    def forward(self, tokens: Tensor) -> Tensor:
        """[batch, tokens, width] to the same."""
        # torch computes GELU in float32 inside, also for half-precision tokens, as the original does outside.
        return self.fc2(self.ffn_layernorm(F.gelu(self.fc1(tokens))))


class MultiwayAttention(nn.Module):
    """Self-attention among the tokens of both modalities, with a norm before the output map (sub-LN)."""

    def __init__(self, config: Beit3Config) -> None:
        super().__init__()
        width = config.hidden_size
        gain = sub_ln_gain(config.num_hidden_layers)
        separate = config.decoupled
        self.heads = config.num_attention_heads
        self.q_proj = Multiway(lambda: nn.Linear(width, width), separate=separate)
        self.k_proj = Multiway(lambda: nn.Linear(width, width), separate=separate)
        self.v_proj = Multiway(lambda: ScaledLinear(width, width, gain=gain), separate=separate)
        self.inner_attn_ln = Multiway(lambda: nn.LayerNorm(width, eps=config.layer_norm_eps), separate=separate)
        self.out_proj = Multiway(lambda: ScaledLinear(width, width, gain=gain), separate=separate)

    def forward(
        self, tokens: Tensor, route: Route, mask: Tensor | None, layer: int, store: KeyValueStore | None = None
    ) -> Tensor:
        """[batch, tokens, width] to the same; the arguments are those of `MultiwayLayer`."""
        queries = self._of_heads(self.q_proj(tokens, route))
        keys, values = self.keys_and_values(tokens, route)
        if store is not None:
            keys, values = store.extend(layer, keys, values)
        attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        merged = attended.transpose(1, 2).flatten(2)
        return self.out_proj(self.inner_attn_ln(merged, route), route)

    def keys_and_values(self, tokens: Tensor, route: Route) -> tuple[Tensor, Tensor]:
        """Of tokens [batch, tokens, width], each [batch, heads, tokens, d]."""
        return self._of_heads(self.k_proj(tokens, route)), self._of_heads(self.v_proj(tokens, route))

    def _of_heads(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class MultiwayLayer(GradientCheckpointingLayer):
    """Attention, then the experts, each behind a norm and beside a residual path."""

    def __init__(self, config: Beit3Config, number: int) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        decoupled = config.decoupled
        self.number = number
        self.drop_path = config.drop_path_rate * number / max(1, config.num_hidden_layers - 1)
        self.self_attn_layer_norm = Multiway(lambda: nn.LayerNorm(width, eps=eps), separate=decoupled)
        self.self_attn = MultiwayAttention(config)
        # Despite its published name this is the norm before the experts.
        self.final_layer_norm = Multiway(lambda: nn.LayerNorm(width, eps=eps), separate=decoupled)
        self.ffn = Multiway(
            lambda: FeedForward(config),
            separate=config.has_text and config.experts != "none",
            fusion=number >= config.num_hidden_layers - config.fusion_layers,
        )

    def forward(
        self, tokens: Tensor, route: Route, mask: Tensor | None = None, store: KeyValueStore | None = None
    ) -> Tensor:
        """
        Args:
            tokens: [batch, tokens, width], an image's before a text's.
            route: which of them are which.
            mask: bool, broadcasts to [batch, heads, tokens, keys]; True where a token may look.
            store: holds keys and values of earlier calls, and takes this call's.
        Returns:
            [batch, tokens, width].
        """
        attended = self.self_attn(self.self_attn_layer_norm(tokens, route), route, mask, self.number, store)
        tokens = tokens + self._drop(attended)
        return tokens + self._drop(self.ffn(self.final_layer_norm(tokens, route), route))

    def remember(self, tokens: Tensor, route: Route, store: KeyValueStore) -> None:
        """Puts the keys and values of `tokens` into `store`, and does none of the rest."""
        store.extend(self.number, *self.self_attn.keys_and_values(self.self_attn_layer_norm(tokens, route), route))

    def _drop(self, branch: Tensor) -> Tensor:
        """In training, leaves out the branch of some examples and makes up for it in the others (stochastic depth)."""
        if not self.training or self.drop_path == 0:
            return branch
        kept = 1 - self.drop_path
        return branch * (branch.new_empty(len(branch), 1, 1).bernoulli_(kept) / kept)


def sub_ln_gain(layers: int) -> float:
    """How much larger than usual weights start under sub-LN, in an encoder of so many layers."""
    return math.sqrt(math.log(2 * layers))
