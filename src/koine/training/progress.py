"""What a person sees of a training: a live bar on a terminal, a line now and then in a file, or nothing."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from koine.training.stage import Stage

LINE_EVERY_SECONDS = 30.0
REFRESH_SECONDS = 0.1


class ProgressView:
    """Shows the stages one after the other on standard error, so that standard output stays the caller's."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.console = Console(stderr=True)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._stage: Stage | None = None
        self._rate = 0.0
        self._shown_at = 0.0
        self._first: tuple[float, int] = (0.0, 0)

    def __enter__(self) -> ProgressView:
        if not self.quiet and self.console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]:.1f} steps/s"),
                TimeRemainingColumn(),
                TextColumn("loss {task.fields[loss]:.4f}"),
                console=self.console,
            )
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def begin(self, stage: Stage, *, done: int) -> None:
        """A stage starts, or goes on after `done` steps."""
        self._stage = stage
        self._first = (time.monotonic(), done)
        self._shown_at = time.monotonic()
        if self._bar:
            self._task = self._bar.add_task(stage.name, total=stage.steps, completed=done, rate=0.0, loss=float("nan"))
        else:
            self.say(f"{stage.name}: {stage.steps - done} steps to go" + (f", {done} done before" if done else ""))

    def update(self, step: int, loss: float) -> None:
        """Step `step` is done. It costs nothing to call this after every step: most calls only look at the clock."""
        now = time.monotonic()
        pause = REFRESH_SECONDS if self._bar else LINE_EVERY_SECONDS
        if self._stage is None or (now - self._shown_at < pause and step < self._stage.steps):
            return
        self._shown_at = now
        started, done = self._first
        rate = (step - done) / max(now - started, 1e-9)
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=step, rate=rate, loss=loss)
        else:
            left = _clock((self._stage.steps - step) / rate)
            pace = f"{rate:.1f} steps/s, {left} left"
            self.say(f"{self._stage.name}: step {step} of {self._stage.steps}, loss {loss:.4f}, {pace}")

    def say(self, line: str) -> None:
        """A line of its own."""
        if not self.quiet:
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
