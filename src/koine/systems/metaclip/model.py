"""CLIP's two encoders as functions; the networks are transformers', the loss is `koine.parts.contrastive`'s."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.nn.functional import normalize
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
