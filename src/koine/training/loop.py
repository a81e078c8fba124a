"""The steps of one stage: forward, backward, clip, update; and the state that a checkpoint holds."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from accelerate import PartialState
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from transformers import PreTrainedModel

from koine.errors import InputError
from koine.training.checkpoint import (
    Progress,
    copy_into,
    list_checkpoints,
    optimizer_tensors,
    read_checkpoint,
    restore_optimizer,
    write_checkpoint,
)
from koine.training.data import Batch, slices_of
from koine.training.errors import DivergedError
from koine.training.log import Meter
from koine.training.optimizers import build_optimizer
from koine.training.parallel import average_gradients, mean_over_processes, share_buffers
from koine.training.parameters import changing_tensors, freeze, set_modes
from koine.training.precision import autocast_dtype
from koine.training.recipe import Recipe
from koine.training.seeds import Purpose, seed_global_generators
from koine.training.stage import Stage


class StageTraining:
    """A model in training; `model` is the recipe's, already on this process's device."""

    def __init__(self, recipe: Recipe, stage: Stage, model: PreTrainedModel, processes: PartialState) -> None:
        self.recipe, self.stage, self.model, self.processes = recipe, stage, model, processes
        self.device = processes.device
        selection = freeze(model, stage)
        self.trained = selection.trained
        self.changing = changing_tensors(model, selection.frozen | recipe.rebuilt(model))
        self.buffers = [tensor for tensor in self.changing.values() if not isinstance(tensor, nn.Parameter)]
        groups = recipe.parameter_groups(self.trained, stage)
        self.optimizer = build_optimizer(groups, recipe.hidden(self.trained), stage, self.device)
        self.dtype = autocast_dtype(stage.precision, self.device.type)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.average = (
            {name: parameter.detach().clone() for name, parameter in self.trained.items()} if stage.ema else {}
        )
        self.progress = Progress()
        self.meter = Meter()
        if stage.compile:
            model.compile()
        set_modes(model)

    def step(self, slices: list[Batch], *, stop: bool) -> tuple[dict[str, float], bool]:
        """One optimiser step on this process's slices.

        Returns the figures of the step (means over slices and processes) and whether any process was asked to stop.

        Raises:
            DivergedError: the loss or the gradient's norm is nan or inf; the weights are those before the step.
        """
        number = self.progress.step + 1
        rate = self.recipe.learning_rate(self.stage, number)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("scale", 1.0)
        parts = self._backward(number, slices)
        figures, stop = self._figures(parts, stop=stop)
        if not math.isfinite(figures["loss"]):
            raise self._diverged(number, "loss", figures["loss"])
        average_gradients(list(self.trained.values()), self.processes.num_processes)
        norm = self._clip()
        # A half-precision gradient that overflows is the scaler's business, until it has nothing left to lower.
        if not math.isfinite(norm) and (not self.scaler.is_enabled() or self.scaler.get_scale() < 1):
            raise self._diverged(number, "gradient norm", norm)
        self.scaler.step(self.optimizer)  # type: ignore[arg-type]  # it asks for no more than the protocol has
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        share_buffers(self.buffers, self.processes.num_processes)
        self.progress.step = number
        self._move_average()
        return figures | {"learning_rate": rate, "gradient_norm": norm}, stop

    def _backward(self, number: int, slices: list[Batch]) -> list[dict[str, Tensor]]:
        """Adds up the gradients of the mean loss over the slices; returns each slice's scalars."""
        parts = []
        slice_numbers = slices_of(self.stage, process=self.processes.process_index)
        for slice_number, batch in zip(slice_numbers, slices, strict=True):
            seed_global_generators(self.device, Purpose.DROPOUT, self.stage.seed, number, slice_number)
            with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
                scalars = self.recipe.loss_at(self.model, batch, number)
            if "loss" not in scalars:
                raise KeyError(f"{type(self.recipe).__name__}.loss returned no 'loss', only {sorted(scalars)}")
            self.scaler.scale(scalars["loss"].float() / len(slices)).backward()
            parts.append({name: scalar.detach() for name, scalar in scalars.items()})
        return parts

    def _figures(self, parts: list[dict[str, Tensor]], *, stop: bool) -> tuple[dict[str, float], bool]:
        """One transfer (and one message, if there are several processes) for all scalars and the wish to stop."""
        names = sorted(parts[0])
        scalars = torch.stack([torch.stack([part[name].float() for name in names]) for part in parts]).mean(dim=0)
        message = torch.cat([scalars, scalars.new_tensor([float(stop)])])
        *means, stops = mean_over_processes(message, self.processes.num_processes).tolist()
        return dict(zip(names, means, strict=True)), stops > 0

    def _clip(self) -> float:
        """Clips the gradient, in float32; returns its norm before."""
        self.scaler.unscale_(self.optimizer)  # type: ignore[arg-type]
        limit = self.stage.max_grad_norm or math.inf
        return float(torch.nn.utils.clip_grad_norm_(self.trained.values(), limit))

    def _move_average(self) -> None:
        if self.stage.ema:
            # A young average follows the weights faster, or it would carry the initial ones for 1 / (1 - ema) steps.
            decay = min(self.stage.ema, self.progress.step / (9 + self.progress.step))
            current = [parameter.detach() for parameter in self.trained.values()]
            get_ema_multi_avg_fn(decay)(list(self.average.values()), current, None)

    def _diverged(self, step: int, what: str, value: float) -> DivergedError:
        return DivergedError(
            f"stage {self.stage.name!r}: {what} is {value} at step {step}: lower learning_rate "
            f"({self.stage.learning_rate:g}), lengthen warmup ({self.stage.warmup:g}) or look at the batch of that step"
        )

    def exchange_average(self) -> None:
        """Swaps the trained weights with their moving average, if there is one; a second call swaps them back."""
        with torch.no_grad():
            for name, mean in self.average.items():
                current = self.trained[name].detach().clone()
                self.trained[name].copy_(mean)
                mean.copy_(current)

    def evaluate(self) -> dict[str, float]:
        """The recipe's own figures, of the weights that would be saved; afterwards training can go on."""
        self.exchange_average()
        self.model.eval()
        with torch.no_grad():
            figures = self.recipe.evaluate(self.model, self.stage)
        set_modes(self.model)
        self.exchange_average()
        return figures

    def save_model(self, folder: Path) -> None:
        """What the recipe saves: the moving average, if there is one."""
        self.exchange_average()
        self.recipe.save(self.model, folder)
        self.exchange_average()

    def save(self, folder: Path) -> None:
        """Writes a checkpoint into `folder`."""
        self.progress.meter = vars(self.meter).copy()
        self.progress.scaler = self.scaler.state_dict()
        write_checkpoint(folder, self.progress, self._tensors(), self.save_model)

    def _tensors(self) -> dict[str, Tensor]:
        return {
            **{f"model/{name}": tensor for name, tensor in self.changing.items()},
            **{f"average/{name}": tensor for name, tensor in self.average.items()},
            **optimizer_tensors(self.optimizer, self.trained),
        }

    def restore(self, folder: Path) -> InputError | None:
        """Takes up the newest checkpoint in `folder` that can be read; none leaves the training at its beginning.

        Returns the complaint about a newer one that couldn't be read, if there was one.
        """
        complaint = None
        for path in list_checkpoints(folder):
            try:
                progress, saved = read_checkpoint(path)
            except InputError as error:
                complaint = complaint or error
                continue
            copy_into({f"model/{name}": tensor for name, tensor in self.changing.items()}, saved, checkpoint=path)
            copy_into({f"average/{name}": tensor for name, tensor in self.average.items()}, saved, checkpoint=path)
            restore_optimizer(self.optimizer, self.trained, saved)
            self.progress, self.meter = progress, Meter(**progress.meter)
            if progress.scaler:
                self.scaler.load_state_dict(progress.scaler)
            break
        return complaint
