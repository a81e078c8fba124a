"""CLIP's two encoders as functions, and the contrastive loss; the networks are transformers'."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from transformers import CLIPConfig, CLIPModel, MetaClip2Model

from koine.systems.metaclip.config import Config

Model = CLIPModel | MetaClip2Model
LARGEST_SCALE = math.log(100)
"""The logarithm of the temperature's inverse is kept between 0 and this during training."""


def model_class(config: Config) -> Any:
    """The transformers class of a configuration."""
    return CLIPModel if isinstance(config, CLIPConfig) else MetaClip2Model


def image_features(model: Model, pixel_values: Tensor) -> Tensor:
    """Unit vectors [images, dim] of normalised pictures [images, 3, H, W] float."""
    return normalize(model.get_image_features(pixel_values=pixel_values).pooler_output.float(), dim=-1)


def text_features(model: Model, input_ids: Tensor) -> Tensor:
    """Unit vectors [texts, dim] of token ids [texts, tokens]; each row has its end token.

    No mask is needed for the padding behind it: the encoder is causal.
    """
    return normalize(model.get_text_features(input_ids=input_ids).pooler_output.float(), dim=-1)


def contrastive_loss(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """CLIP's symmetric cross entropy (Radford et al. 2021, figure 3).

    Args:
        images, texts: unit vectors [pairs, dim]; row i of both is a pair.
        scale: inverse temperature, the exponential of the model's `logit_scale`.
    """
    logits = scale * images @ texts.T
    target = torch.arange(len(logits), device=logits.device)
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
