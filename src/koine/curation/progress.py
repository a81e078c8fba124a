"""How far a run is: rows per second and time left, as bars on a terminal and as lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_SECONDS_BETWEEN_LINES = 10.0


@dataclass(frozen=True)
class Progress:
    """Shows the stages of a run, one after the other, on stderr."""

    quiet: bool = False

    @contextmanager
    def stage(self, name: str, *, pieces: int, done: int, rows: int | None) -> Iterator[Callable[[int], None]]:
        """Shows a stage; the yielded function says that a piece of so many rows is done.

        Args:
            name: what is being done.
            pieces: how many pieces of work there are.
            done: how many of them were done before.
            rows: how many rows they have together, if that is known.
        """
        if self.quiet or pieces == done:
            yield lambda rows: None
        elif sys.stderr.isatty():
            with self._bar(name, pieces, done) as advance:
                yield advance
        else:
            with self._lines(name, pieces, done) as advance:
                yield advance

    @contextmanager
    def _bar(self, name: str, pieces: int, done: int) -> Iterator[Callable[[int], None]]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn(f"{name:6}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        with Bars(*columns, console=Console(stderr=True)) as bars:
            task = bars.add_task(name, total=pieces, completed=done, rate="")
            begin, seen = time.monotonic(), 0

            def advance(rows: int) -> None:
                nonlocal seen
                seen += rows
                rate = seen / max(time.monotonic() - begin, 1e-9)
                bars.update(task, advance=1, rate=f"{rate:,.0f} rows/s")

            yield advance

    @contextmanager
    def _lines(self, name: str, pieces: int, done: int) -> Iterator[Callable[[int], None]]:
        begin = last = time.monotonic()
        finished, seen = 0, 0

        def say() -> None:
            seconds = max(time.monotonic() - begin, 1e-9)
            left = seconds / finished * (pieces - done - finished) if finished else 0
            print(
                f"{name:6} {done + finished}/{pieces}  {seen / seconds:,.0f} rows/s  {left:,.0f} s left",
                file=sys.stderr,
                flush=True,
            )

        def advance(rows: int) -> None:
            nonlocal finished, seen, last
            finished, seen = finished + 1, seen + rows
            if time.monotonic() - last > _SECONDS_BETWEEN_LINES:
                last = time.monotonic()
                say()

        yield advance
        say()
