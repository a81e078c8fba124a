"""The learning rate as a function of the step, so that there is no scheduler whose state must be kept."""

from __future__ import annotations

import math

from koine.training.stage import Stage


def learning_rate(stage: Stage, step: int) -> float:
    """The rate of step `step`, counted from 1 to `stage.steps`.

    The warm-up rises linearly and gives the first step a rate above zero (a step at rate zero would be wasted);
    then cosine and linear fall to the stage's `min_learning_rate` just after the last step.
    """
    if step <= stage.warmup_steps:
        return stage.learning_rate * step / (stage.warmup_steps + 1)
    if stage.schedule == "constant":
        return stage.learning_rate
    done = (step - 1 - stage.warmup_steps) / (stage.steps - stage.warmup_steps)
    left = 0.5 * (1 + math.cos(math.pi * done)) if stage.schedule == "cosine" else 1 - done
    return stage.min_learning_rate + (stage.learning_rate - stage.min_learning_rate) * left
