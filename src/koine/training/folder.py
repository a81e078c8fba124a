"""The folder of a training: where its things lie, which settings they were made with, what is finished.

run.lock                    held while a training runs here
run.json                    the recipe and the settings of each stage that has begun
log.jsonl                   the log of all stages
checkpoints/<stage>/        see `checkpoint`; removed when the stage is finished
<stage>/                    the finished model, as `Recipe.save` wrote it
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from koine.errors import InputError
from koine.files import write_atomically
from koine.training.recipe import Recipe
from koine.training.stage import Stage

# They change when things are written, shown or prepared, not what is learned: they may differ on resuming.
FREE_SETTINGS = {"checkpoint_every", "log_every", "evaluate_every", "prefetch"}


class RunFolder:
    """The layout of one training on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / "log.jsonl"
        self._record_path = path / "run.json"

    def model(self, stage: str) -> Path:
        return self.path / stage

    def checkpoints(self, stage: str) -> Path:
        return self.path / "checkpoints" / stage

    def is_finished(self, stage: str) -> bool:
        return self.model(stage).is_dir() and stage in self._record()["stages"]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second training out while this one writes; the lock ends with the process, however it ends.

        Raises:
            InputError: another training holds it, or the folder can't be written to.
        """
        lock = FileLock(self.path / "run.lock", timeout=0)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as error:
            raise InputError(f"a training is running in {self.path}: wait for it or give another folder") from error
        except OSError as error:
            raise InputError(f"cannot train in {self.path}: {error.strerror}: give a folder to write to") from error
        try:
            yield
        finally:
            lock.release()

    def sweep(self) -> None:
        """Removes what a killed training left half written, and the checkpoints of finished stages."""
        for partial in [*self.path.glob(".*.partial.*"), *self.path.glob("checkpoints/*/.*.partial.*")]:
            if partial.is_dir():
                shutil.rmtree(partial)
            else:
                partial.unlink()
        for name in self._record()["stages"]:
            if self.is_finished(name):
                shutil.rmtree(self.checkpoints(name), ignore_errors=True)

    def check(self, recipe: Recipe, stages: Sequence[Stage], *, anew: Collection[str] = ()) -> None:
        """Whether what lies here can be gone on with; the stages in `anew` will be cleared and may differ.

        Raises:
            InputError: naming each setting that differs from the recorded one, or a folder that isn't ours.
        """
        record = self._record()
        # A stage that ended before its first checkpoint, say for want of data, left nothing to go on with.
        kept = {
            name: settings
            for name, settings in record["stages"].items()
            if name not in anew and (self.model(name).exists() or any(self.checkpoints(name).glob("step-*")))
        }
        for stage in stages:
            if self.model(stage.name).exists() and stage.name not in record["stages"]:
                raise InputError(
                    f"{self.model(stage.name)} exists and isn't from this training: move it or give another folder"
                )
        if not kept:
            return
        now = _settings(recipe, stages)
        differences = _differences("recipe", record["recipe"], now["recipe"])
        differences += [
            line for key, old in record["settings"].items() for line in _differences(key, old, now["settings"].get(key))
        ]
        for name, old in kept.items():
            new = now["stages"].get(name)
            if new is None:
                differences.append(f"stage {name!r} is not in the recipe any more")
                continue
            for key in old.keys() & new.keys() - FREE_SETTINGS:
                differences += _differences(f"{name}.{key}", old[key], new[key])
        if differences:
            raise InputError(
                f"{self.path} holds a training with other settings: {'; '.join(sorted(differences))}: "
                "set them as they were, give another folder, or start over with resume=False"
            )

    def clear(self, stages: Collection[str]) -> None:
        """Removes what these stages left here, if this folder is ours."""
        record = self._record()
        for name in set(stages) & record["stages"].keys():
            for folder in (self.model(name), self.checkpoints(name)):
                if folder.exists():
                    shutil.rmtree(folder)
            del record["stages"][name]
        if self._record_path.exists():
            self._write(record)

    def record(self, recipe: Recipe, stages: Sequence[Stage], *, began: str) -> None:
        """Notes that stage `began` has begun with these settings."""
        record, now = self._record(), _settings(recipe, stages)
        record |= {"recipe": now["recipe"], "settings": now["settings"]}
        record["stages"][began] = now["stages"][began]
        self._write(record)

    def _record(self) -> dict[str, Any]:
        if not self._record_path.exists():
            return {"recipe": None, "settings": {}, "stages": {}}
        try:
            return json.loads(self._record_path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self._record_path} can't be read ({error}): restore it or give another folder"
            ) from error

    def _write(self, record: Mapping[str, Any]) -> None:
        with write_atomically(self._record_path) as partial:
            partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _settings(recipe: Recipe, stages: Sequence[Stage]) -> dict[str, Any]:
    """As JSON gives it back, so that tuples and lists, paths and strings compare equal to what was recorded."""
    settings = {
        "recipe": recipe.name,
        "settings": recipe.settings(),
        "stages": {stage.name: dataclasses.asdict(stage) for stage in stages},
    }
    return json.loads(json.dumps(settings, default=str))


def _differences(key: str, old: object, new: object) -> list[str]:
    return [] if old == new else [f"{key} was {old!r} and is {new!r}"]
