"""Who does the work: processes of this machine, or daft, on this machine or on a cluster. The result is the same."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from enum import StrEnum
from multiprocessing.connection import wait
from typing import Any, Protocol

from koine.errors import InputError

Task = Callable[[Any, int], int]
"""Does the piece of work with a number; how many rows that were."""


_ERROR = "error: "


class EngineName(StrEnum):
    """The engines there are."""

    LOCAL = "local"
    DAFT = "daft"


class Engine(Protocol):
    """Does pieces of work in any order."""

    def map(self, task: Task, run: Any, numbers: Sequence[int]) -> Iterator[int]:
        """Yields each piece's rows as soon as it is done; its first error stops the others and is raised."""
        ...


@contextmanager
def open_engine(name: EngineName, workers: int) -> Iterator[Engine]:
    """An engine with so many workers.

    Raises:
        InputError: daft is wanted and not installed, or there are less than one worker.
    """
    if workers < 1:
        raise InputError(f"{workers} workers can't work: give a positive number (--workers)")
    if name is EngineName.DAFT:
        yield DaftEngine(workers)
    elif workers == 1:
        yield InProcess()
    else:
        # Not forked: Arrow's and numba's threads don't survive a fork.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, initializer=_begin_worker) as pool:
            yield LocalProcesses(pool)


class InProcess:
    """Works here and now."""

    def map(self, task: Task, run: Any, numbers: Sequence[int]) -> Iterator[int]:
        """See `Engine`."""
        for number in numbers:
            yield task(run, number)


class LocalProcesses:
    """Works in a pool of processes."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def map(self, task: Task, run: Any, numbers: Sequence[int]) -> Iterator[int]:
        """See `Engine`."""
        futures = [self._pool.submit(task, run, number) for number in numbers]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise InputError(
                "a worker was killed, most likely because memory ran out: run the same command again with fewer "
                "--workers, it goes on where it stopped"
            ) from error
        finally:
            for future in futures:
                future.cancel()


class DaftEngine:
    """Works as a function over a daft data frame with one row per piece of work.

    On a Ray cluster (`daft.set_runner_ray` before, or DAFT_RUNNER=ray) all machines need to see the folders by the same
    paths. What travels is only a piece's number and its rows; everything else goes through files.
    """

    def __init__(self, workers: int) -> None:
        try:
            import daft
        except ImportError as error:
            raise InputError("the engine daft is not installed: pip install daft, or use --engine local") from error
        self._daft = daft
        self._workers = workers

    def map(self, task: Task, run: Any, numbers: Sequence[int]) -> Iterator[int]:
        """See `Engine`."""
        if not numbers:
            return
        daft = self._daft

        @daft.func(return_dtype=daft.DataType.string(), use_process=False)
        def work(number: int) -> str:
            # As text, since daft's own errors bury what was raised.
            try:
                return str(task(run, number))
            except InputError as error:
                return f"{_ERROR}{error}"

        frame = daft.from_pydict({"number": list(numbers)})
        if daft.get_or_infer_runner_type() == "ray":
            # Partitions are what a cluster divides among its machines, batches what a machine divides among its cores.
            frame = frame.into_partitions(min(len(numbers), self._workers))
        for row in frame.into_batches(1).select(work(daft.col("number")).alias("rows")).iter_rows():
            if row["rows"].startswith(_ERROR):
                raise InputError(row["rows"].removeprefix(_ERROR))
            yield int(row["rows"])


def _begin_worker() -> None:
    """Ends this process when its parent is gone: a killed run must leave nobody behind who goes on writing."""
    import pyarrow as pa

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
