"""How fast which parameter of a fine-tuned BEiT-3 learns: layer-wise rates, faster heads, and the schedule."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from koine.systems.beit3.config import Beit3Config
from koine.training import Stage
from koine.training.schedule import learning_rate

_NOT_DECAYED = ("beit3.encoder.embed_positions.A.weight", "beit3.vision_embed.cls_token", "logit_scale")
_OF_HEAD = re.compile(r"^heads\.[^.]+\.")


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that are treated alike.

    Attributes:
        names: in the order of the model.
        weight_decay: AdamW's.
        scale: what the learning rate is multiplied with.
    """

    names: tuple[str, ...]
    weight_decay: float
    scale: float


def published_name(name: str) -> str:
    """A tensor's name in a published checkpoint, which has one head only: without the head's name before it."""
    return _OF_HEAD.sub("", name)


def parameter_groups(
    trained: Mapping[str, nn.Parameter],
    config: Beit3Config,
    *,
    weight_decay: float,
    layer_decay: float = 1.0,
    head_scale: float = 1.0,
) -> list[ParameterGroup]:
    """The groups of the published fine-tuning.

    Args:
        trained: the model's parameters by name.
        weight_decay: for all but biases, norms, the class token, the image positions and the temperature. That the
            mask token, text positions and words do decay is so in the original.
        layer_decay: the rate of each layer is so many times that of the one above it; embeddings are below the first,
            heads above the last.
        head_scale: of parameters whose published name begins with `head` (not the pooler).
    """
    groups: dict[tuple[float, bool], list[str]] = {}
    for name, parameter in trained.items():
        short = published_name(name)
        decays = parameter.ndim > 1 and not short.endswith(".bias") and short not in _NOT_DECAYED
        scale = layer_decay ** (config.num_hidden_layers + 1 - _depth(short, config.num_hidden_layers))
        if short.startswith("head"):
            scale *= head_scale
        groups.setdefault((scale, decays), []).append(name)
    return [
        ParameterGroup(tuple(names), weight_decay if decays else 0.0, scale)
        for (scale, decays), names in groups.items()
    ]


def _depth(name: str, layers: int) -> int:
    """0 for embeddings, 1 for the first layer and so on, one more than the last layer's for all else."""
    if "embed" in name:
        return 0
    layer = re.search(r"layers\.(\d+)\.", name)
    return int(layer[1]) + 1 if layer else layers + 1


def published_rate(stage: Stage, step: int) -> float:
    """The learning rate in step `step`, counted from 1.

    As the stage says, but that the warm-up begins at zero and ends at the full rate, which the step behind it has, too.
    """
    if step > stage.warmup_steps:
        return learning_rate(stage, step)
    return stage.learning_rate * (step - 1) / max(1, stage.warmup_steps - 1)
