"""The vision part of a nano BEiT-3 takes over what the nano CLIP sees.

Both are pre-norm transformers of the same shapes, but BEiT-3 has two norms more in each layer (sub-LN) and none behind
the embeddings. The two norms are set so that, on average over some pictures, they change nothing; the missing one is
folded into patches and positions. What remains of CLIP's features points in nearly the same directions, which some
hundred steps of training make good. Inner units that BEiT-3 has no room for are left out, those first that say least;
layers that CLIP doesn't have start as if they weren't there. CLIP's last layer is one of these: it serves CLIP's own
vector, and what patches show is in the layer before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from koine.errors import InputError
from koine.foundations.clip import MEAN, STD
from koine.systems.beit3.backbone import Backbone
from koine.systems.beit3.config import POSITION_OFFSET
from koine.systems.beit3.model import Beit3Model
from koine.systems.beit3.multiway import FeedForward, MultiwayLayer, Route

if TYPE_CHECKING:
    from transformers import CLIPModel

State = dict[str, Tensor]


@torch.no_grad()
def start_from_clip(model: Beit3Model, clip: CLIPModel, pixel_values: Tensor) -> None:
    """Copies CLIP's picture encoder into the image experts, and what they share with texts.

    Words and their positions start as large as patches, or the first layers would drown them.

    Args:
        clip: of the same width, patches and heads, and at least as many inner units.
        pixel_values: [images, 3, size, size] in [-1, 1], some hundred pictures to fit the norms to.
    Raises:
        InputError: the shapes differ.
    """
    config, vision = model.config, clip.config.vision_config
    names = ("hidden_size", "num_attention_heads", "patch_size")
    ours, theirs = (tuple(getattr(one, name) for name in names) for one in (config, vision))
    if ours != theirs or config.intermediate_size > vision.intermediate_size:  # type: ignore[union-attr]
        raise InputError(f"BEiT-3 of shape {ours} can't start from a CLIP of shape {theirs}: give equal {names}")
    state = {name: tensor.float() for name, tensor in clip.vision_model.state_dict().items()}
    backbone = model.beit3
    _copy_embeddings(backbone, state, pixel_values)
    tokens = backbone.embed_images(pixel_values)
    route = Route(tokens.shape[1])
    for number, layer in enumerate(backbone.encoder.layers):
        assert isinstance(layer, MultiwayLayer)
        if number < vision.num_hidden_layers - 1:  # type: ignore[union-attr]
            _copy_layer(layer, state, f"encoder.layers.{number}.", tokens)
        else:
            _silence(layer)
        tokens = layer(tokens, route)
    size = float(backbone.embed_images(pixel_values).std())
    _rows(backbone.text_embed).normal_(std=size)
    _rows(backbone.encoder.embed_positions["B"]).normal_(std=size / 4)


def _copy_embeddings(backbone: Backbone, state: State, pixel_values: Tensor) -> None:
    """Patches and positions behind CLIP's first norm, with the mean deviation of tokens in place of each one's own."""
    mean, deviation = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)
    # CLIP's pixels are ((x + 1) / 2 - mean) / deviation of ours.
    kernel = state["embeddings.patch_embedding.weight"]
    bias = (kernel * (0.5 - mean) / deviation).sum(dim=(1, 2, 3))
    kernel = kernel / (2 * deviation)
    places = state["embeddings.position_embedding.weight"]
    patches = F.conv2d(pixel_values, kernel, bias, stride=kernel.shape[-1]).flatten(2).transpose(1, 2) + places[1:]
    gain, shift = state["pre_layrnorm.weight"], state["pre_layrnorm.bias"]
    scale = (1 / patches.std(dim=-1, unbiased=False)).mean()
    width = len(gain)
    norm = gain[:, None] * (torch.eye(width) - 1 / width) * scale
    vision = backbone.vision_embed
    vision.proj.weight.copy_(torch.einsum("ij,jchw->ichw", norm, kernel))
    assert vision.proj.bias is not None
    vision.proj.bias.copy_(norm @ bias)
    table = _rows(backbone.encoder.embed_positions["A"])
    table[POSITION_OFFSET + 1 :] = places[1:] @ norm.T + shift
    table[POSITION_OFFSET] = 0
    first = state["embeddings.class_embedding"] + places[0]
    vision.cls_token.copy_(F.layer_norm(first, (width,), gain, shift).view(1, 1, -1))


def _copy_layer(layer: MultiwayLayer, state: State, place: str, tokens: Tensor) -> None:
    """One layer; `tokens` [images, tokens, width] are what comes into it."""
    attention, experts = layer.self_attn, layer.ffn.A
    assert isinstance(experts, FeedForward)
    _copy(layer.self_attn_layer_norm.A, state, f"{place}layer_norm1")
    _copy(layer.final_layer_norm.A, state, f"{place}layer_norm2")
    maps = (attention.q_proj.A, attention.k_proj.A, attention.v_proj.A)
    for name, module in zip("qkv", maps, strict=True):
        _copy(module, state, f"{place}self_attn.{name}_proj")
    _copy(attention.out_proj.A, state, f"{place}self_attn.out_proj")
    normal = layer.self_attn_layer_norm.A(tokens)
    queries, keys, values = (module(normal).unflatten(-1, (attention.heads, -1)).transpose(1, 2) for module in maps)
    attended = F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
    _fit(attention.inner_attn_ln.A, attended)
    tokens = tokens + attention.out_proj.A(attention.inner_attn_ln.A(attended))
    _copy_experts(experts, state, f"{place}mlp.", layer.final_layer_norm.A(tokens))


def _copy_experts(experts: FeedForward, state: State, place: str, normal: Tensor) -> None:
    """The inner units whose contribution to the output varies most over `normal` [images, tokens, width]."""
    weight, bias = state[f"{place}fc1.weight"], state[f"{place}fc1.bias"]
    onward = state[f"{place}fc2.weight"]
    inner = F.gelu(F.linear(normal, weight, bias))
    says = inner.flatten(0, 1).std(dim=0) * onward.norm(dim=0)
    kept = says.topk(experts.fc1.out_features).indices.sort().values
    experts.fc1.weight.copy_(weight[kept])
    experts.fc1.bias.copy_(bias[kept])
    experts.fc2.weight.copy_(onward[:, kept])
    # Units that are left out keep saying what they say on average.
    left_out = torch.ones_like(says).index_fill(0, kept, 0.0)
    experts.fc2.bias.copy_(state[f"{place}fc2.bias"] + onward @ (left_out * inner.flatten(0, 1).mean(dim=0)))
    _fit(experts.ffn_layernorm, inner[..., kept])


def _silence(layer: MultiwayLayer) -> None:
    """A layer that adds nothing at first."""
    outputs = [layer.self_attn.out_proj, *(expert.fc2 for expert in layer.ffn.children())]
    for parameter in (parameter for module in outputs for parameter in module.parameters()):  # type: ignore[union-attr]
        parameter.zero_()


def _rows(table: nn.Module | None) -> Tensor:
    assert isinstance(table, nn.Embedding)
    return table.weight


def _copy(module: nn.Module, state: State, name: str) -> None:
    assert isinstance(module.weight, Tensor) and isinstance(module.bias, Tensor)
    module.weight.copy_(state[f"{name}.weight"])
    module.bias.copy_(state[f"{name}.bias"])


def _fit(norm: nn.Module, values: Tensor) -> None:
    """Sets a norm's gain and shift so that it gives back `values` [.., width] as nearly as it can (least squares)."""
    assert isinstance(norm, nn.LayerNorm)
    values = values.flatten(0, -2)
    normal = F.layer_norm(values, (values.shape[-1],))
    apart, away = normal - normal.mean(dim=0), values - values.mean(dim=0)
    gain = (apart * away).mean(dim=0) / apart.square().mean(dim=0).clamp(min=1e-6)
    norm.weight.copy_(gain)
    norm.bias.copy_(values.mean(dim=0) - gain * normal.mean(dim=0))
