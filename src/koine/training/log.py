"""The log of a training: JSON lines, one row per `log_every` steps, each step at most once whatever happened."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from koine.files import write_atomically


class TrainingLog:
    """Appends rows to a file. Only the main process holds one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: Mapping[str, Any]) -> None:
        """Writes one row; a number that JSON can't hold (nan, inf) becomes null."""
        finite = {key: None if _unwritable(value) else value for key, value in row.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(finite) + "\n")

    def length(self) -> int:
        """Bytes that lie safely on the disk; a checkpoint remembers them."""
        if not self.path.exists():
            return 0
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        return self.path.stat().st_size

    def cut(self, length: int) -> None:
        """Forgets what was written after a checkpoint that remembers `length`; those steps will be taken again."""
        if self.path.exists() and self.path.stat().st_size > length:
            os.truncate(self.path, length)

    def forget(self, stages: set[str]) -> None:
        """Removes all rows of `stages` (and a line that a crash left half written)."""
        if not self.path.exists():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines(keepends=True):
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if row.get("stage") not in stages:
                kept.append(line)
        with write_atomically(self.path) as partial:
            partial.write_text("".join(kept), encoding="utf-8")


def _unwritable(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


@dataclass
class Meter:
    """Sums since the last log row; they go into the checkpoint, so that a resumed log equals an undisturbed one."""

    steps: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, values: Mapping[str, float], seconds: float) -> None:
        self.steps += 1
        self.seconds += seconds
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def means(self) -> dict[str, float]:
        return {name: total / self.steps for name, total in self.sums.items()}
