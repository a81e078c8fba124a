"""A training of a second that has all that makes resuming hard: dropout, drawn data, a moving buffer, two stages.

Run as a script it trains into a folder, so that the tests can kill it or start several processes of it:

    tiny_recipe.py FOLDER '{"steps": 50}'            train
    tiny_recipe.py FOLDER '{"steps": 50}' --kill 7   train in a child, kill -9 it at 7 random moments, then let it end
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from koine.training import Recipe, Stage, run

EXAMPLES = 50


class TinyConfig(PretrainedConfig):
    model_type = "koine_tiny"

    def __init__(self, width: int = 16, dropout: float = 0.2, moving: bool = True, **rest: Any) -> None:
        self.width, self.dropout, self.moving = width, dropout, moving
        super().__init__(**rest)


class TinyModel(PreTrainedModel):
    config_class = TinyConfig

    def __init__(self, config: TinyConfig) -> None:
        super().__init__(config)
        width = config.width
        norm = nn.BatchNorm1d if config.moving else nn.LayerNorm
        self.encoder = nn.Sequential(nn.Linear(8, width), norm(width), nn.Dropout(config.dropout))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Dropout(config.dropout), nn.Linear(width, 1))
        self.fixed = nn.Parameter(torch.ones(8), requires_grad=False)
        self.post_init()

    def forward(self, x: Tensor) -> Tensor:
        """x: [b, 8] -> [b, 1]"""
        return self.head(self.encoder(x * self.fixed).relu())


class TinyData:
    """Fifty points with noise that is drawn anew for each batch; the target is their sum."""

    def __init__(self) -> None:
        self.x = torch.randn(EXAMPLES, 8, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return EXAMPLES

    def batch(self, indices: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        x = self.x[indices]
        return {"x": x + 0.1 * torch.randn(x.shape, generator=generator), "y": x.sum(dim=1, keepdim=True)}


@dataclass
class TinyRecipe(Recipe):
    width: int = 16
    dropout: float = 0.2
    moving: bool = True
    name = "tiny"
    stages = (
        Stage("whole", 60, 8, 1e-2, weight_decay=0.1, checkpoint_every=7, log_every=5, ema=0.9),
        Stage("head", 40, 8, 1e-2, checkpoint_every=9, log_every=4, schedule="linear", trainable=("head",)),
    )

    def build_model(self) -> TinyModel:
        return TinyModel(TinyConfig(self.width, self.dropout, self.moving))

    def data(self, stage: Stage) -> TinyData:
        return TinyData()

    def loss(self, model: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        error = model(batch["x"]).float() - batch["y"]
        return {"loss": error.square().mean(), "distance": error.abs().mean()}

    def evaluate(self, model: Any, stage: Stage) -> dict[str, float]:
        data = TinyData()
        return {"distance": (model(data.x) - data.x.sum(dim=1, keepdim=True)).abs().mean().item()}


def train_under_fire(folder: Path, overrides: dict[str, object], kills: int) -> int:
    """Trains in child processes that are killed at random moments; returns how many were killed before they ended."""
    moments = random.Random(0)
    killed = 0
    while True:
        child = os.fork()
        if child == 0:
            run(TinyRecipe(), folder, overrides=overrides, quiet=True)
            os._exit(0)
        if killed < kills:
            time.sleep(moments.uniform(0.05, 0.4))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            killed += 1
        elif os.waitstatus_to_exitcode(status) == 0:
            return killed
        else:
            raise SystemExit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("overrides", type=json.loads)
    parser.add_argument("--kill", type=int)
    arguments = parser.parse_args()
    if arguments.kill:
        print(train_under_fire(arguments.folder, arguments.overrides, arguments.kill))
    else:
        run(TinyRecipe(), arguments.folder, overrides=arguments.overrides, quiet=True)
