"""The learning rate as a function of the step, so that there is no scheduler whose state must be kept."""

from __future__ import annotations

import math

from koine.training.stage import Stage


def learning_rate(stage: Stage, step: int) -> float:
    """The rate of step `step`, counted from 1 to `stage.steps`.

    The warm-up rises linearly and gives the first step a rate above zero (a step at rate zero would be wasted);
    then cosine and linear fall to zero just after the last step.
    """
    warmup_steps = int(stage.warmup * stage.steps)
    if step <= warmup_steps:
        return stage.learning_rate * step / (warmup_steps + 1)
    done = (step - 1 - warmup_steps) / (stage.steps - warmup_steps)
    if stage.schedule == "cosine":
        return stage.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
    if stage.schedule == "linear":
        return stage.learning_rate * (1 - done)
    return stage.learning_rate
