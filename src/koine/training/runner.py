"""Running a recipe: its stages in order, each resumed where it stopped, each ending in a finished model.

Bit for bit, a training that was killed at any moment and resumed gives what an undisturbed one gives on the same
machine with the same number of processes (on a GPU: as far as its kernels are deterministic).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import torch
from accelerate import PartialState
from transformers.utils import logging as transformers_logging

from koine.errors import InputError
from koine.files import write_atomically
from koine.training.data import batches
from koine.training.errors import DivergedError, TrainingStopped
from koine.training.folder import RunFolder
from koine.training.log import Meter, TrainingLog
from koine.training.loop import StageTraining
from koine.training.overrides import apply_overrides
from koine.training.progress import ProgressView
from koine.training.recipe import Recipe
from koine.training.seeds import Purpose, global_generators_restored, seed_global_generators
from koine.training.stage import Stage
from koine.training.stopping import StopRequest


def run(
    recipe: Recipe,
    folder: Path | str,
    *,
    stage: str | None = None,
    overrides: Mapping[str, object] | None = None,
    resume: bool = True,
    quiet: bool = False,
) -> Path:
    """Trains a recipe's stages in order and returns the folder of the last one's model.

    Stages that are finished in `folder` are passed over; one that was interrupted goes on from its last checkpoint.
    Under `torchrun` or `accelerate launch` the processes share each batch.

    Args:
        recipe: what to train.
        folder: where the models, checkpoints and the log go; made if it isn't there.
        stage: train this stage only; the stage before it must be finished in `folder`.
        overrides: settings instead of the recipe's, see `koine.training.overrides.apply_overrides`.
        resume: False discards what an earlier training of these stages (and of those after them) left in `folder`.
        quiet: show nothing. The log is written all the same.

    Raises:
        InputError: an unknown stage or setting, a folder with a training of other settings, a full disk.
        DivergedError: the loss or the gradient became nan or inf; the checkpoints before it are kept.
        TrainingStopped: SIGINT or SIGTERM came; a checkpoint was written.
    """
    stages = apply_overrides(recipe.stages, overrides or {})
    names = _names(recipe, stages)
    if stage is not None and stage not in names:
        raise InputError.unknown(f"stage of the recipe {recipe.name!r}", stage, names)
    first = 0 if stage is None else names.index(stage)
    last = len(names) - 1 if stage is None else first
    # Without `cpu` accelerate takes several processes for one where there is no accelerator.
    processes = PartialState(cpu=not torch.accelerator.is_available())
    run_folder = RunFolder(Path(folder))
    anew = () if resume else names[first:]
    run_folder.check(recipe, stages, anew=anew)
    if first and not run_folder.is_finished(names[first - 1]):
        raise InputError(
            f"stage {stage!r} begins where stage {names[first - 1]!r} ends, which isn't finished in {folder}: "
            f"train {names[first - 1]!r} first"
        )
    processes.wait_for_everyone()  # everyone has checked the folder before the main process changes it
    with ExitStack() as surroundings:
        if processes.is_main_process:
            surroundings.enter_context(run_folder.locked())
            run_folder.sweep()
            run_folder.clear(anew)
            TrainingLog(run_folder.log).forget(set(anew))
        processes.wait_for_everyone()
        stop = surroundings.enter_context(StopRequest())
        view = surroundings.enter_context(ProgressView(quiet=quiet or not processes.is_main_process))
        surroundings.enter_context(global_generators_restored())
        surroundings.enter_context(_no_other_bars())
        for number in range(first, last + 1):
            if run_folder.is_finished(names[number]):
                view.say(f"{names[number]}: finished before")
                continue
            before = run_folder.model(names[number - 1]) if number else None
            _StageRun(recipe, stages, stages[number], run_folder, processes, view, stop).run(before)
    return run_folder.model(names[last])


def _names(recipe: Recipe, stages: Sequence[Stage]) -> list[str]:
    names = [stage.name for stage in stages]
    if not names or len(set(names)) < len(names):
        raise InputError(f"recipe {recipe.name!r} has stages {names}: give at least one, each with a name of its own")
    return names


@contextmanager
def _no_other_bars() -> Iterator[None]:
    """Silences transformers' bars for saving and loading, which would tear the one of the training."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


class _StageRun:
    """One stage from its beginning or its last checkpoint to its finished model: the files around `StageTraining`."""

    def __init__(
        self,
        recipe: Recipe,
        stages: Sequence[Stage],
        stage: Stage,
        folder: RunFolder,
        processes: PartialState,
        view: ProgressView,
        stop: StopRequest,
    ) -> None:
        self.recipe, self.stages, self.stage, self.folder = recipe, stages, stage, folder
        self.processes, self.view, self.stop = processes, view, stop
        self.log = TrainingLog(folder.log)

    def run(self, before: Path | None) -> None:
        """Trains; `before` holds the model of the stage before."""
        seed_global_generators(self.processes.device, Purpose.WEIGHTS, self.stage.seed)
        model = self.recipe.build_model()
        if before is not None:
            self.recipe.load(model, before)
        model.to(self.processes.device)
        training = StageTraining(self.recipe, self.stage, model, self.processes)
        self._take_up(training)
        try:
            self._train(training)
        except DivergedError as error:
            raise DivergedError(f"{error} ({self._last_checkpoint()})") from error
        self._finish(training)

    def _take_up(self, training: StageTraining) -> None:
        """Restores the last checkpoint and cuts the log to it."""
        complaint = training.restore(self.folder.checkpoints(self.stage.name))
        if complaint:
            self.view.say(f"{self.stage.name}: {complaint}")
        self.processes.wait_for_everyone()  # nobody may change the folder while another still reads it
        if self.processes.is_main_process:
            self.folder.record(self.recipe, self.stages, began=self.stage.name)
            if training.progress.step:
                self.log.cut(training.progress.log_bytes)
            else:
                self.log.forget({self.stage.name})
        self.view.begin(self.stage, done=training.progress.step)

    def _train(self, training: StageTraining) -> None:
        stage, progress = self.stage, training.progress
        clock = time.monotonic()
        slices_by_step = batches(
            self.recipe.data(stage),
            stage,
            first_step=progress.step + 1,
            process=self.processes.process_index,
            processes=self.processes.num_processes,
            device=self.processes.device,
        )
        with closing(slices_by_step):  # whatever ends the loop, the thread that prepares batches ends with it
            for slices in slices_by_step:
                figures, stopping = training.step(slices, stop=self.stop.asked)
                now = time.monotonic()
                progress.seconds += now - clock
                training.meter.add(figures, now - clock)
                clock = now
                self._after_step(training, figures, stopping=stopping)

    def _after_step(self, training: StageTraining, figures: Mapping[str, float], *, stopping: bool) -> None:
        """Shows, logs, evaluates and writes what is due after this step."""
        stage, step = self.stage, training.progress.step
        finished = step == stage.steps
        self.view.update(step, figures["loss"])
        if step % stage.log_every == 0 or finished:
            self._log_row(training, figures)
        if stage.evaluate_every and step % stage.evaluate_every == 0 and not finished:
            self._evaluate(training)
        if step % stage.checkpoint_every == 0 or finished or stopping:
            self._checkpoint(training)
        if stopping and not finished:
            raise TrainingStopped(
                f"stage {stage.name!r} stopped after step {step} of {stage.steps}; "
                f"the same command goes on from there (checkpoint in {self.folder.checkpoints(stage.name)})"
            )

    def _log_row(self, training: StageTraining, figures: Mapping[str, float]) -> None:
        """Means of the losses since the last row; rate and gradient norm as they are now."""
        meter, progress = training.meter, training.progress
        row = {"step": progress.step, "stage": self.stage.name, **meter.means()}
        row |= {name: figures[name] for name in ("learning_rate", "gradient_norm")}
        row["examples_per_second"] = round(meter.steps * self.stage.batch_size / max(meter.seconds, 1e-9), 2)
        row["seconds"] = round(progress.seconds, 3)
        if self.processes.is_main_process:
            self.log.append(row)
        training.meter = Meter()

    def _evaluate(self, training: StageTraining) -> None:
        """The main process evaluates, the others wait."""
        if self.processes.is_main_process:
            figures = training.evaluate()
            if figures:
                row = {"step": training.progress.step, "stage": self.stage.name, "evaluation": figures}
                self.log.append(row)
                shown = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
                self.view.say(f"{self.stage.name}: after step {training.progress.step}: {shown}")
        self.processes.wait_for_everyone()

    def _checkpoint(self, training: StageTraining) -> None:
        if self.processes.is_main_process:
            training.progress.log_bytes = self.log.length()
            training.save(self.folder.checkpoints(self.stage.name))
        self.processes.wait_for_everyone()

    def _last_checkpoint(self) -> str:
        paths = sorted(self.folder.checkpoints(self.stage.name).glob("step-*"))
        return f"the last good checkpoint is {paths[-1]}" if paths else "there is no checkpoint before it"

    def _finish(self, training: StageTraining) -> None:
        """Evaluates, saves the model for good and removes the checkpoints, which nothing needs any more."""
        self._evaluate(training)
        if self.processes.is_main_process:
            with write_atomically(self.folder.model(self.stage.name)) as partial:
                partial.mkdir()
                training.save_model(partial)
            shutil.rmtree(self.folder.checkpoints(self.stage.name), ignore_errors=True)
        self.processes.wait_for_everyone()
