"""A recipe: the model, its stages, the data and the loss of each; all that `run` needs to know of a system."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from koine.training.data import Batch, TrainingData
from koine.training.parameters import decay_groups
from koine.training.schedule import learning_rate
from koine.training.stage import Stage


class Recipe(ABC):
    """How a model is trained. A system's `recipe.py` has one subclass per training it offers.

    Each stage builds the model anew and loads what the stage before it saved, so that a stage is a function of the
    recipe and of that folder, whether both run in one go or on different days. What moves without a gradient (a
    codebook that follows averages) should be a buffer of the model: the processes of a training share buffers.
    """

    name: str
    stages: Sequence[Stage]

    @abstractmethod
    def build_model(self) -> PreTrainedModel:
        """The model before the first stage. The global generators are seeded from the stage's seed before the call."""

    @abstractmethod
    def data(self, stage: Stage) -> TrainingData:
        """The examples of `stage`."""

    @abstractmethod
    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        """Scalars of one slice of a batch: `loss` is minimised, the others are logged beside it.

        It runs under the stage's autocast. torch's own losses compute in float32 there; a loss written out by hand
        should take `.float()` of what it compares. Means over the slice make gradient accumulation and several
        processes equal to one large batch.
        """

    def loss_at(self, model: Any, batch: Batch, step: int) -> dict[str, Tensor]:
        """`loss` in step `step`, counted from 1, for a recipe whose loss changes on the way; by default it doesn't."""
        return self.loss(model, batch)

    def learning_rate(self, stage: Stage, step: int) -> float:
        """The rate in step `step`, counted from 1; by default as the stage says (`koine.training.schedule`)."""
        return learning_rate(stage, step)

    def parameter_groups(self, trained: dict[str, nn.Parameter], stage: Stage) -> list[dict[str, Any]]:
        """The optimiser's groups of the trained parameters: each has `params` and `weight_decay`.

        A group may have a `scale` that multiplies the learning rate, as for layers that are to learn slower than those
        above them.
        """
        return decay_groups(trained, stage.weight_decay)

    def hidden(self, trained: dict[str, nn.Parameter]) -> list[nn.Parameter]:
        """Which of the trained parameters Muon moves in a stage that asks for it; none by default.

        Matrices and kernels between the model's layers are meant, not embeddings, nor the maps to what it says.
        """
        return []

    def evaluate(self, model: Any, stage: Stage) -> dict[str, float]:
        """Figures of the model in eval mode for the log, without gradients; none by default."""
        return {}

    def figures(self, folder: Path) -> dict[str, object]:
        """What the model saved in `folder` achieves on data it never saw, for the manifest of shipped weights."""
        return {}

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        """Writes the model to `folder` (which exists) so that `from_pretrained` loads it; processors go here too."""
        model.save_pretrained(folder)

    def load(self, model: PreTrainedModel, folder: Path) -> None:
        """Puts the weights that `save` wrote to `folder` into `model`, keeping the model's own dtypes."""
        saved = type(model).from_pretrained(folder)
        model.load_state_dict(saved.state_dict())

    def rebuilt(self, model: PreTrainedModel) -> frozenset[str]:
        """Names of tensors of the model's state that a checkpoint can do without; none by default.

        Building the model (and loading the stage before) must make them just as they are, and nothing may move them.
        What a stage freezes by its `trainable` is left out anyway.
        """
        return frozenset()

    def settings(self) -> dict[str, object]:
        """What of this recipe, besides its stages, must be the same when a training is resumed.

        The fields of a dataclass by default; anything that prints the same when it is the same.
        """
        fields: tuple[Any, ...] = dataclasses.fields(self) if dataclasses.is_dataclass(self) else ()
        return {field.name: getattr(self, field.name) for field in fields if field.name not in ("name", "stages")}
