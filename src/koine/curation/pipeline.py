"""`koine curate run`: matches, removes equal rows, counts, draws and writes, and can be stopped at any moment.

    match       read each shard, find its rows' entries                              (first pass over the input)
    equal       find equal rows, bucket by bucket
    count       add up the entries' counts, then choose thresholds
    draw        draw which rows to keep
    write       read each shard again, write what is kept                            (second pass)
    card        what was read, left out, matched and kept; a manifest with hashes

Each step writes whole files and knows by them what is done. A run that is started again goes on where it stopped, and
its result is the same as without the stop.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from koine.curation import stages
from koine.curation.balancing import Counts, entry_probabilities, tail_share, threshold_for
from koine.curation.card import describe, write_card
from koine.curation.deduplication import bucket_count
from koine.curation.engines import Engine, EngineName, Task, open_engine
from koine.curation.languages import compile_lists, find_lists
from koine.curation.options import Deduplicate, Options
from koine.curation.progress import Progress
from koine.curation.shards import Shard, plan
from koine.curation.stages import Run
from koine.errors import InputError
from koine.files import write_atomically

RUN_FILE, MANIFEST, CARD = "run.json", "manifest.json", "card.json"
_FORMAT = 1


@dataclass(frozen=True)
class Execution:
    """How a run is carried out. The result does not depend on it."""

    engine: EngineName = EngineName.LOCAL
    workers: int = 1
    memory: int = 1 << 29
    """Bytes that finding equal rows may take, altogether."""
    keep_work: bool = False
    """Leave the folder `work`, with each row's entries, in place."""
    quiet: bool = False


def curate(options: Options, folder: str | os.PathLike[str], execution: Execution = Execution()) -> Path:
    """Carries out a run, or what is left of it.

    Args:
        options: the recipe.
        folder: where to write; empty, new, or of the same run.
        execution: by whom.

    Returns:
        The path of the manifest.

    Raises:
        InputError: the folder holds something else, another process works on it, or anything is wrong with the input.
    """
    folder = Path(folder)
    with _locked(folder):
        run = _begin(folder, options)
        if not (folder / MANIFEST).exists():
            progress = Progress(quiet=execution.quiet)
            with open_engine(execution.engine, execution.workers) as engine:
                _carry_out(run, engine, execution, progress)
            _write_manifest(run)
        if not execution.keep_work:
            shutil.rmtree(run.work, ignore_errors=True)
        return folder / MANIFEST


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keeps a second process off the folder; the lock ends with the process, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"{folder} can't be used for the output ({error.strerror}): name another folder") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"another process is working in {folder}: wait for it, or name another folder") from error
        yield
    finally:
        os.close(descriptor)


def _begin(folder: Path, options: Options) -> Run:
    """Plans a new run, or takes up the one in the folder."""
    if not (folder / RUN_FILE).exists():
        if others := sorted(path.name for path in folder.iterdir() if not _is_partial(path)):
            raise InputError(f"{folder} holds files of something else ({others[0]}): name an empty or a new folder")
        planned = plan(options.inputs, rows_per_shard=options.rows_per_shard, on_damage=options.on_damage)
        begun = {
            "format": _FORMAT,
            "options": options.as_json(),
            "languages": list(find_lists(Path(options.entries))),
            "shards": [shard.as_json() for shard in planned.shards],
            "unreadable": planned.unreadable,
        }
        with write_atomically(folder / RUN_FILE) as path:
            path.write_text(json.dumps(begun, indent=1))
    content = _check_same(folder, options)
    shards = tuple(map(Shard.from_json, content["shards"]))
    run = Run(folder.resolve(), options, tuple(content["languages"]), shards)
    if not run.fingerprints.exists() and not (folder / MANIFEST).exists():
        compiled = compile_lists(Path(options.entries), run.lists.folder, options.rule, repair=options.repair)
        with write_atomically(run.fingerprints) as path:
            path.write_text(json.dumps(compiled))
    return run


def _is_partial(path: Path) -> bool:
    """Whether a file is what a killed process left of one that it was writing (`write_atomically`)."""
    return path.name.startswith(".") and ".partial." in path.name


def _check_same(folder: Path, options: Options) -> dict[str, Any]:
    """The run's file, if it is of this recipe."""
    try:
        content: dict[str, Any] = json.loads((folder / RUN_FILE).read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / RUN_FILE} can't be read ({error}): begin anew in another folder") from error
    if content.get("format") != _FORMAT:
        raise InputError(f"{folder} was written by another version of this program: name another folder")
    wanted = json.loads(json.dumps(options.as_json()))
    different = sorted(name for name in wanted if wanted[name] != content["options"].get(name))
    if different:
        was = ", ".join(f"{name} was {content['options'].get(name)!r}, is {wanted[name]!r}" for name in different)
        raise InputError(f"{folder} holds the run of another recipe ({was}): name another folder")
    return content


def _carry_out(run: Run, engine: Engine, execution: Execution, progress: Progress) -> None:
    def stage(name: str, task: Task, numbers: Sequence[int], done: Callable[[int], Path], total: int | None) -> None:
        left = [number for number in numbers if not done(number).exists()]
        with progress.stage(name, pieces=len(numbers), done=len(numbers) - len(left), rows=total) as advance:
            for rows in engine.map(task, run, left):
                advance(rows)

    shards = range(len(run.shards))
    known = [shard.rows for shard in run.shards if shard.rows is not None]
    stage("match", stages.match_shard, shards, run.matched, sum(known) if len(known) == len(shards) else None)
    counted = stages.shard_counts(run)
    run = replace(run, buckets=_buckets(run, counted["matched"], execution))
    stage("equal", stages.deduplicate_bucket, range(run.buckets), run.searched, counted["matched"])
    stage("count", stages.count_group, run.groups, run.counted, counted["matched"])
    before = _sum_counts(run, [run.counted(group) for group in run.groups])
    thresholds = _choose_thresholds(run, before)
    stage("draw", stages.draw_group, run.groups, run.drawn, counted["matched"])
    after = _sum_counts(run, [run.drawn(group) / "counts.safetensors" for group in run.groups])
    stage("write", stages.write_shard, shards, run.written, counted["rows"])
    write_card(run, describe(run, counted, thresholds, before, after))


def _buckets(run: Run, matched: int, execution: Execution) -> int:
    """How many buckets the keys are divided into, decided once, since memory or workers may differ after a stop."""
    if run.options.deduplicate is Deduplicate.NONE:
        return 0
    path = run.work / "buckets.json"
    if not path.exists():
        with write_atomically(path) as temporary:
            temporary.write_text(str(bucket_count(matched, max(1, execution.memory // execution.workers))))
    return int(path.read_text())


def _sum_counts(run: Run, paths: Sequence[Path]) -> list[Counts]:
    """Each language's counts over all groups."""
    totals = [np.zeros(len(run.lists.matcher(language)), np.uint64) for language in range(len(run.languages))]
    for path in paths:
        for language, counts in stages.load_counts(path, run.lists).items():
            totals[language] += counts
    return totals


def _choose_thresholds(run: Run, counts: Sequence[Counts]) -> list[float]:
    """Each language's threshold; their entries' probabilities are saved.

    With several languages the threshold is that of the reference language; its tail share decides the others'.
    """
    options = run.options
    share = options.tail_share
    thresholds = []
    if share is None:
        assert options.threshold is not None
        if len(run.languages) == 1:
            thresholds = [options.threshold]
        elif options.reference_language not in run.languages:
            raise InputError(
                f"there is no list for {options.reference_language!r}, the language whose threshold was given: "
                f"name one of {', '.join(run.languages)} (--reference-language), or give a tail share"
            )
        else:
            share = tail_share(counts[run.languages.index(options.reference_language)], options.threshold)
    for language, of_language in enumerate(counts):
        if share is not None:
            given = options.threshold if run.languages[language] == options.reference_language else None
            thresholds.append(given if given is not None else threshold_for(of_language, share))
        with write_atomically(run.probabilities(language)) as path, path.open("wb") as file:
            np.save(file, entry_probabilities(of_language, thresholds[language]))
    return thresholds


def _write_manifest(run: Run) -> None:
    """Removes what killed processes left behind, and lists the files that the output consists of, with their hashes."""
    for path in (*run.folder.iterdir(), *(run.folder / "data").iterdir()):
        if _is_partial(path):
            path.unlink()
    outputs = {}
    for shard in run.shards:
        about = json.loads(run.written(shard.number).read_text())
        outputs[str(run.part(shard.number).relative_to(run.folder))] = about
    for name in (CARD, "card.html"):
        content = (run.folder / name).read_bytes()
        outputs[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest = {
        "format": _FORMAT,
        "options": run.options.as_json(),
        "entries": json.loads(run.fingerprints.read_text()),
        "inputs": sorted({(shard.path, shard.size) for shard in run.shards}),
        "outputs": outputs,
    }
    with write_atomically(run.folder / MANIFEST) as path:
        path.write_text(json.dumps(manifest, indent=1))
