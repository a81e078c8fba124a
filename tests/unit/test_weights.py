"""The nano weights of the package: what their manifests say, they are."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from safetensors import safe_open

import koine
from koine.registry import verified_systems

FOLDERS = sorted(path.parent for path in (Path(koine.__file__).parent / "weights").rglob("manifest.json"))
LARGEST_FILE = 4_000_000


def test_every_verified_system_has_some() -> None:
    assert {info.name for info in verified_systems()} <= {folder.name for folder in FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
class TestShippedWeights:
    def test_each_file_is_the_one_that_was_measured(self, folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
        del files["manifest.json"]
        hashes = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
        assert manifest["sha256"] == hashes
        assert manifest["recipe"] and manifest["stages"] and manifest["figures"]

    def test_they_are_small_and_can_run_no_code(self, folder: Path) -> None:
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert all(path.stat().st_size <= LARGEST_FILE for path in files)
        assert {path.suffix for path in files} <= {".json", ".safetensors", ".model", ".txt"}
        for path in files:
            if path.suffix == ".safetensors":
                with safe_open(path, framework="np") as weights:
                    assert len(list(weights.keys())) > 0
