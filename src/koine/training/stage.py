"""A stage of training: what is trained, for how long, on batches of which size, and how fast."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from koine.errors import InputError

Schedule = Literal["cosine", "constant", "linear"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
OptimizerName = Literal["adamw", "muon"]


@dataclass(frozen=True)
class Stage:
    """One stage of a recipe.

    Attributes:
        name: letters, digits, `_` and `-`; the finished model lies in `<folder>/<name>/`.
        steps: optimiser steps.
        batch_size: examples per optimiser step, over all processes and accumulation parts together. It is cut into
            `processes x gradient_accumulation` slices of equal size, so that the number of processes or parts
            changes the memory a step needs, not what it learns.
        learning_rate: the peak rate, reached after the warm-up.
        weight_decay: AdamW's decay, on weights of two or more dimensions only (not on norms, biases, scales).
        betas: AdamW's decay rates of the two moments.
        warmup: share of `steps` during which the rate rises linearly, in [0, 1).
        schedule: the rate after the warm-up: `cosine` and `linear` fall to `min_learning_rate`, `constant` stays.
        gradient_accumulation: slices that one process works through, one after another, per step.
        max_grad_norm: the gradient's L2 norm is clipped to this; 0 doesn't clip.
        precision: `bf16` and `fp16` run the forward pass under autocast (weights, optimiser and loss stay float32);
            `auto` is bf16 where the device computes in it natively, else fp32.
        seed: of the initial weights, the order of the examples, the data's draws and dropout.
        trainable: a parameter is trained if its name begins with one of these prefixes (`""`: every name does).
            Parameters that the model itself freezes (`requires_grad=False`) stay frozen. A module whose parameters
            are all frozen is in eval mode, with all it contains: no dropout, no moving batch statistics.
        checkpoint_every: steps between checkpoints.
        log_every: steps between log rows; a row holds the mean of the losses since the last one.
        evaluate_every: steps between calls of `Recipe.evaluate`; 0 evaluates only at the end of the stage.
        prefetch: batches that a background thread prepares ahead; 0 prepares each when it is needed.
        ema: decay of a moving average of the trained weights, which then is what the stage evaluates and saves; in
            step t of the first steps the decay is t / (t + 9) where that is smaller.
        compile: run the model's forward through `torch.compile`.
        min_learning_rate: what `cosine` and `linear` fall towards; of a group with a `scale`, so many times this.
        optimizer: `adamw`, or `muon` for the matrices inside the model that `Recipe.hidden` names, AdamW for the rest.
        muon_scale: the learning rate of what Muon moves, so many times the stage's.

    Raises:
        InputError: a value out of its range.
    """

    name: str
    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: float = 0.03
    schedule: Schedule = "cosine"
    gradient_accumulation: int = 1
    max_grad_norm: float = 1.0
    precision: Precision = "auto"
    seed: int = 0
    trainable: tuple[str, ...] = ("",)
    checkpoint_every: int = 500
    log_every: int = 20
    evaluate_every: int = 0
    prefetch: int = 1
    ema: float | None = None
    compile: bool = False
    min_learning_rate: float = 0.0
    optimizer: OptimizerName = "adamw"
    muon_scale: float = 1.0

    @property
    def warmup_steps(self) -> int:
        """Steps during which the rate rises."""
        return int(self.warmup * self.steps)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", self.name):
            raise InputError(f"stage name {self.name!r} can't be a folder's name: use letters, digits, _ and -")
        if self.name == "checkpoints":
            raise InputError("stage name 'checkpoints' is the folder of the checkpoints: give the stage another name")
        for setting in ("steps", "batch_size", "gradient_accumulation", "checkpoint_every", "log_every"):
            self._require(setting, getattr(self, setting) >= 1, "give a whole number of at least 1")
        for setting in ("seed", "prefetch", "evaluate_every"):
            self._require(setting, getattr(self, setting) >= 0, "give 0 or a positive whole number")
        for setting in ("weight_decay", "max_grad_norm"):
            value = getattr(self, setting)
            self._require(setting, math.isfinite(value) and value >= 0, "give 0 or a positive number")
        self._require("learning_rate", 0 < self.learning_rate < math.inf, "give a positive number")
        self._require(
            "min_learning_rate", 0 <= self.min_learning_rate <= self.learning_rate, "give 0 up to the learning_rate"
        )
        self._require("warmup", 0 <= self.warmup < 1, "give the share of steps, from 0 up to but not including 1")
        self._require("betas", all(0 <= beta < 1 for beta in self.betas), "give two numbers in [0, 1)")
        self._require("ema", self.ema is None or 0 < self.ema < 1, "give None or a decay between 0 and 1")
        self._require("trainable", len(self.trainable) > 0, "give at least one prefix of a parameter's name")
        self._require("schedule", self.schedule in ("cosine", "constant", "linear"), "give cosine, constant or linear")
        self._require("optimizer", self.optimizer in ("adamw", "muon"), "give adamw or muon")
        self._require("muon_scale", 0 < self.muon_scale < math.inf, "give a positive number")
        self._require("precision", self.precision in ("auto", "fp32", "bf16", "fp16"), "give auto, fp32, bf16 or fp16")

    def _require(self, setting: str, holds: bool, remedy: str) -> None:
        if not holds:
            raise InputError(f"stage {self.name!r}: {setting} = {getattr(self, setting)!r} is out of range: {remedy}")
