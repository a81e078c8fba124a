"""Sizes of MetaCLIP's networks, which are CLIP's: transformers' `CLIPModel` (v1, v1.2) and `MetaClip2Model` (v2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from transformers import CLIPConfig, MetaClip2Config

from koine.errors import InputError
from koine.foundations.clip import END_ID
from koine.foundations.tokenizer import VOCABULARY

Config = CLIPConfig | MetaClip2Config
TEXT_LENGTH = 77
NANO_TEXT_LENGTH = 32
"""Alt texts of the world's web have 13 tokens on average; hardly any has more than 24."""


class Tokens(StrEnum):
    """Whose tokens a text encoder reads, which also decides where in the sequence a text's feature is taken."""

    CLIP = "clip"
    """CLIP's own BPE; the feature is at its end token, which has the largest id."""
    XLM_V = "xlm-v"
    """XLM-V's (v2); the feature is at the token `</s>`, id 2, and padding has id 1."""
    MT5 = "mt5"
    """mT5's (two small models of v2); the feature is at `</s>`, id 1, and padding has id 0."""


_END = {Tokens.XLM_V: 2, Tokens.MT5: 1}
_PADDING = {Tokens.XLM_V: 1, Tokens.MT5: 0}
_VOCABULARY = {Tokens.CLIP: 49_408, Tokens.XLM_V: 901_629, Tokens.MT5: 250_000}
TOKENIZERS = {
    Tokens.CLIP: "openai/clip-vit-base-patch32",
    Tokens.XLM_V: "facebook/xlm-v-base",
    Tokens.MT5: "google/siglip-so400m-patch16-256-i18n",
}
"""Hub ids of the tokenizers."""


@dataclass(frozen=True)
class Tower:
    """One of the two encoders."""

    width: int
    layers: int
    heads: int
    mlp: int
    """Width of the hidden layer of each block."""


@dataclass(frozen=True)
class Size:
    """A pair of encoders, independent of resolution and vocabulary."""

    dim: int
    """Width of the space that both map to."""
    vision: Tower
    patch: int
    text: Tower


def _tower(width: int, layers: int, heads: int, mlp: int | None = None) -> Tower:
    return Tower(width, layers, heads, mlp or 4 * width)


SIZES = {
    "ViT-S-16": Size(384, _tower(384, 12, 6), 16, _tower(384, 12, 6)),
    "ViT-M-16": Size(512, _tower(512, 12, 8), 16, _tower(512, 12, 8)),
    "ViT-B-32": Size(512, _tower(768, 12, 12), 32, _tower(512, 12, 8)),
    "ViT-B-16": Size(512, _tower(768, 12, 12), 16, _tower(512, 12, 8)),
    "ViT-L-14": Size(768, _tower(1024, 24, 16), 14, _tower(768, 12, 12)),
    "ViT-H-14": Size(1024, _tower(1280, 32, 16), 14, _tower(1024, 24, 16)),
    "ViT-bigG-14": Size(1280, _tower(1664, 48, 16, 8192), 14, _tower(1280, 32, 20)),
}
"""The published sizes (paper, section 4.1; MetaCLIP 2, table 1)."""


def build_config(
    size: Size,
    *,
    tokens: Tokens = Tokens.CLIP,
    image_size: int = 224,
    quick_gelu: bool = True,
    text_length: int = TEXT_LENGTH,
    vocabulary: int | None = None,
) -> Config:
    """transformers' configuration of a size.

    Args:
        quick_gelu: which GELU the weights were trained with; the wrong one costs a few points without any error.
            All of v1 have x * sigmoid(1.702 x), apart from H/14 of v1.2; of v2 only the H/14 for 224 pixels has.
        vocabulary: how many tokens there are; by default as many as published.
    """
    vocabulary = vocabulary or _VOCABULARY[tokens]
    shared = {"hidden_act": "quick_gelu" if quick_gelu else "gelu", "projection_dim": size.dim}
    text = {
        **_as_options(size.text),
        **shared,
        "vocab_size": vocabulary,
        "max_position_embeddings": text_length,
        "eos_token_id": _END.get(tokens, vocabulary - 1),
        "bos_token_id": 0 if tokens is Tokens.XLM_V else vocabulary - 2,
        "pad_token_id": _PADDING.get(tokens, 0),
    }
    vision = {**_as_options(size.vision), **shared, "image_size": image_size, "patch_size": size.patch}
    kind = CLIPConfig if tokens is Tokens.CLIP else MetaClip2Config
    return kind(text_config=text, vision_config=vision, projection_dim=size.dim)


def nano_config(*, image_size: int = 64, width: int = 128, layers: int = 4) -> CLIPConfig:
    """A CLIP that trains on one core in minutes: 8x8 patches, two layers for texts, the nano tokenizer."""
    tower = {
        "hidden_size": width,
        "intermediate_size": 3 * width,
        "num_attention_heads": width // 32,
        "hidden_act": "gelu",
        "projection_dim": width,
    }
    return CLIPConfig(
        vision_config={**tower, "num_hidden_layers": layers, "image_size": image_size, "patch_size": 8},
        text_config={
            **tower,
            "num_hidden_layers": 2,
            "vocab_size": VOCABULARY,
            "max_position_embeddings": NANO_TEXT_LENGTH,
            "bos_token_id": 1,
            "eos_token_id": END_ID,
            "pad_token_id": 0,
        },
        projection_dim=width,
    )


def config_of_release(described: Mapping[str, Any], tokens: Tokens) -> Config:
    """The configuration that one of the release's own JSON files describes (those of OpenCLIP).

    Raises:
        InputError: it lacks something.
    """
    try:
        vision, text = described["vision_cfg"], described["text_cfg"]
        width = vision["width"]
        size = Size(
            described["embed_dim"],
            Tower(
                width, vision["layers"], width // vision.get("head_width", 64), int(width * vision.get("mlp_ratio", 4))
            ),
            vision["patch_size"],
            _tower(text["width"], text["layers"], text["heads"]),
        )
        return build_config(
            size,
            tokens=tokens,
            image_size=vision["image_size"],
            quick_gelu=described.get("quick_gelu", False),
            text_length=text["context_length"],
            vocabulary=text["vocab_size"],
        )
    except KeyError as error:
        raise InputError(f"the model's description lacks {error}: give one as OpenCLIP writes it") from error


def _as_options(tower: Tower) -> dict[str, int]:
    return {
        "hidden_size": tower.width,
        "intermediate_size": tower.mlp,
        "num_hidden_layers": tower.layers,
        "num_attention_heads": tower.heads,
    }
