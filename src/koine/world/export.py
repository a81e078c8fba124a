"""The world as a data set on disk: shards of scenes with all their modalities, and a card that says what they are."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from koine.errors import InputError
from koine.files import write_atomically
from koine.world import card
from koine.world.records import TASKS, Record, checked_tasks, drawn, record, schema
from koine.world.scene import KINDS, SPLITS, Kind, Split

Format = Literal["parquet", "webdataset"]
FORMATS: tuple[Format, ...] = ("parquet", "webdataset")

_ROWS_AT_ONCE = 64
"""Rows that are held in memory before they are written."""
_PICTURES = ("image", "mask", "depth")


@dataclass(frozen=True)
class _Plan:
    """What one call of `export` is to write; a shard's file depends on nothing else."""

    folder: str
    split: Split
    n: int
    seed: int
    size: int
    format: Format
    tasks: tuple[str, ...]
    kind: Kind
    shard: int

    @property
    def shards(self) -> int:
        return -(-self.n // self.shard)

    def file(self, number: int) -> Path:
        """The file of shard `number`."""
        data = Path(self.folder) / "data"
        if self.format == "parquet":
            return data / f"{self.split}-{number:05d}-of-{self.shards:05d}.parquet"
        return data / f"{self.split}-{number:06d}.tar"

    def tally(self, number: int) -> Path:
        """Where the counts of a finished shard wait for the card."""
        return Path(self.folder) / "data" / f".{self.split}-{number:05d}.json"

    def options(self) -> dict[str, object]:
        """What makes two exports of a split the same."""
        return {key: value for key, value in asdict(self).items() if key != "folder"} | {"tasks": list(self.tasks)}


def export(
    folder: str | os.PathLike[str],
    split: Split = "train",
    n: int = 1000,
    seed: int = 0,
    size: int = 64,
    *,
    format: Format = "parquet",
    tasks: Sequence[str] = TASKS,
    kind: Kind = "any",
    shard: int = 1000,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Writes `n` scenes of a split as a data set; other splits that are in the folder stay and share the card.

    The folder gets `data/` with the shards, `<split>.json` with seeds and counts, and `README.md`, the data card.
    Each shard appears when it is whole, so an export that was stopped is taken up where it was by the same call;
    the files are the same for any number of workers. Memory holds a few dozen rows per worker.

    Args:
        folder: where to write; made if it isn't there.
        split: of `koine.world.scene.SPLITS`.
        n: number of scenes; scene i has the seed `seed` + i.
        seed: of the first scene.
        size: pixels of a picture's side.
        format: "parquet" (a row a scene) or "webdataset" (tar files with .png and .json members).
        tasks: texts to write, of `TASKS`.
        kind: of `koine.world.scene.KINDS`.
        shard: scenes per file.
        workers: processes that draw.
        progress: called with the scenes done and `n` after each shard.
    Returns:
        The folder.
    Raises:
        InputError: an option that there isn't or is out of range; the folder holds this split exported with other
            options; the disk is full.
    """
    plan = _checked(_Plan(os.fspath(folder), split, n, seed, size, format, tuple(tasks), kind, shard), workers)
    with _claimed(plan):
        done = 0
        for number in _written(plan, workers):
            done += min(plan.shard, plan.n - number * plan.shard)
            if progress is not None:
                progress(done, plan.n)
        _finish(plan)
    return Path(folder)


def _checked(plan: _Plan, workers: int) -> _Plan:
    if plan.split not in SPLITS:
        raise InputError.unknown("split", plan.split, SPLITS)
    if plan.kind not in KINDS:
        raise InputError.unknown("kind of scene", plan.kind, KINDS)
    if plan.format not in FORMATS:
        raise InputError.unknown("export format", plan.format, FORMATS)
    least = {"n": 1, "shard": 1, "workers": 1, "seed": 0}
    for (name, lowest), number in zip(least.items(), (plan.n, plan.shard, workers, plan.seed), strict=True):
        if number < lowest:
            raise InputError(f"export {name} {number} is too small: give a whole number from {lowest}")
    if not 8 <= plan.size <= 4096:
        raise InputError(f"export size {plan.size} is out of range: give 8 to 4096 pixels")
    return replace(plan, tasks=checked_tasks(plan.tasks))


@contextmanager
def _claimed(plan: _Plan) -> Iterator[None]:
    """Marks the folder meanwhile; the mark goes, too, if not one shard could be written."""
    missing = [folder for folder in (Path(plan.folder), *Path(plan.folder).parents) if not folder.exists()]
    _claim(plan)
    try:
        yield
    except BaseException:
        if not any(plan.file(number).exists() for number in range(plan.shards)):
            _index(plan).unlink(missing_ok=True)
            for folder in missing:
                with suppress(OSError):  # another split may have come meanwhile
                    folder.rmdir()
        raise


def _claim(plan: _Plan) -> None:
    """Marks the folder as holding this export of the split, or finds that it does already."""
    marker = _index(plan)
    if marker.exists():
        try:
            held = json.loads(marker.read_text("utf-8"))["options"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{marker} is not the index of an export: give another folder") from error
        if held != plan.options():
            other = next((key for key, value in plan.options().items() if held.get(key) != value), "plan")
            raise InputError(
                f"{plan.folder} holds the split {plan.split!r} exported with another {other}: "
                "give another folder or remove this one"
            )
        return
    with write_atomically(marker) as path:
        path.write_text(json.dumps({"options": plan.options()}, indent=2), "utf-8")


def _written(plan: _Plan, workers: int) -> Iterator[int]:
    """Numbers of the shards in order, each when its file is there."""
    whole = "counts" in json.loads(_index(plan).read_text("utf-8"))
    there = [plan.file(number).exists() and (whole or plan.tally(number).exists()) for number in range(plan.shards)]
    missing = [number for number in range(plan.shards) if not there[number]]
    yield from (number for number in range(plan.shards) if there[number])
    if workers == 1 or len(missing) == 1:
        for number in missing:
            yield _write_shard(plan, number)
        return
    with ProcessPoolExecutor(min(workers, len(missing))) as pool:
        futures = [pool.submit(_write_shard, plan, number) for number in missing]
        try:
            for future in futures:
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _write_shard(plan: _Plan, number: int) -> int:
    first = number * plan.shard
    counts: Counter[str] = Counter()
    rows = _counted(_rows(plan, first, min(first + plan.shard, plan.n)), counts)
    with write_atomically(plan.file(number)) as path:
        if plan.format == "parquet":
            _write_parquet(path, rows, plan)
        else:
            _write_tar(path, rows)
    # after the shard, so that a shard without its counts is written again
    with write_atomically(plan.tally(number)) as path:
        path.write_text(json.dumps(counts), "utf-8")
    return number


def _rows(plan: _Plan, first: int, end: int) -> Iterator[Record]:
    """Rows `first` to `end`; each is paired with the one before it, also across shards."""
    paired = "pairs" in plan.tasks and first > 0
    previous = drawn(plan.seed + first - 1, plan.split, plan.kind, plan.size) if paired else None
    for index in range(first, end):
        scene, view = drawn(plan.seed + index, plan.split, plan.kind, plan.size)
        yield record(scene, view, tasks=plan.tasks, previous=previous)
        previous = (scene, view)


def _counted(rows: Iterator[Record], counts: Counter[str]) -> Iterator[Record]:
    """The rows, counted as they pass."""
    for row in rows:
        counts["scenes"] += 1
        counts["things"] += len(row["things"])
        for thing in row["things"]:
            counts[f"{thing['colour']} {thing['shape']}"] += 1
        for task in TASKS:
            if task in row:
                counts[task] += sum(map(len, row[task].values())) if task == "german" else len(row[task])
        yield row


def _write_parquet(path: Path, rows: Iterator[Record], plan: _Plan) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = schema(plan.tasks)
    with pq.ParquetWriter(path, columns, compression="zstd") as writer:
        for batch in _batches(rows):
            writer.write_table(pa.Table.from_pylist(batch, schema=columns))


def _batches(rows: Iterator[Record]) -> Iterator[list[Record]]:
    batch: list[Record] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _ROWS_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _write_tar(path: Path, rows: Iterator[Record]) -> None:
    """One sample a scene: <id>.image.png, .mask.png, .depth.png, .edit0.png ... and <id>.json with the rest."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for row in rows:
            members = {f"{name}.png": row.pop(name) for name in _PICTURES}
            for number, change in enumerate(row.get("edits", ())):
                members[f"edit{number}.png"] = change.pop("image")
            members["json"] = json.dumps(row, ensure_ascii=False).encode()
            for ending, content in members.items():
                member = tarfile.TarInfo(f"{row['id']}.{ending}")
                member.size, member.mode = len(content), 0o644
                archive.addfile(member, io.BytesIO(content))


def _finish(plan: _Plan) -> None:
    """Sums the counts up, writes the index and the card, and clears the shards' counts away."""
    folder = Path(plan.folder)
    tallies = [plan.tally(number) for number in range(plan.shards)]
    if all(tally.exists() for tally in tallies):
        counts: Counter[str] = Counter()
        for tally in tallies:
            counts.update(json.loads(tally.read_text("utf-8")))
        with write_atomically(_index(plan)) as path:
            path.write_text(json.dumps({"options": plan.options(), "counts": dict(sorted(counts.items()))}, indent=2))
    files = [folder / f"{split}.json" for split in SPLITS]
    indices = [json.loads(file.read_text("utf-8")) for file in files if file.exists()]
    with write_atomically(folder / "README.md") as path:
        path.write_text(card.readme([index for index in indices if "counts" in index]), "utf-8")
    for tally in tallies:
        tally.unlink(missing_ok=True)


def _index(plan: _Plan) -> Path:
    """The file that says with which options a split was exported and, when it is whole, what it holds."""
    return Path(plan.folder) / f"{plan.split}.json"
