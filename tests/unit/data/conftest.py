"""Small data sets in the published formats, made in a temporary folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as pil

Write = Callable[..., Path]


@pytest.fixture
def picture(tmp_path: Path) -> Write:
    """Writes a picture, by default 64 x 48 pixels and grey, and returns its path."""

    def write(name: str, width: int = 64, height: int = 48, level: int = 128) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pil.fromarray(np.full((height, width, 3), level, dtype=np.uint8)).save(path)
        return path

    return write


@pytest.fixture
def json_file(tmp_path: Path) -> Write:
    """Writes a JSON file and returns its path."""

    def write(name: str, content: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return write


@pytest.fixture
def lines_file(tmp_path: Path) -> Write:
    """Writes a JSON-lines file and returns its path."""

    def write(name: str, records: Iterable[Any]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
        return path

    return write
