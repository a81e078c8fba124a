"""From a finished training to the nano weights of the package: half precision, a manifest, a limit on size."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

from koine.errors import InputError
from koine.files import write_atomically
from koine.training.recipe import Recipe

LARGEST_FILE = 4_000_000
"""Bytes; the package carries all nano weights."""
MANIFEST = "manifest.json"


def ship(recipe: Recipe, finished: Path, target: Path) -> Path:
    """Puts the model that a recipe finished in `finished` into the package folder `target`.

    Weights become float16; the figures in the manifest are measured with these.

    Raises:
        InputError: the training isn't finished, or a file would be larger than `LARGEST_FILE`.
    """
    if not (finished / "model.safetensors").is_file():
        raise InputError(f"{finished} holds no finished model: train {recipe.name} to its end first")
    with write_atomically(target) as temporary:
        temporary.mkdir()
        for file in finished.iterdir():
            if file.is_file() and file.suffix in (".json", ".model"):
                shutil.copyfile(file, temporary / file.name)
        weights = load_file(finished / "model.safetensors")
        halves = {name: weight.half() if weight.is_floating_point() else weight for name, weight in weights.items()}
        save_file(halves, temporary / "model.safetensors", metadata={"format": "pt"})
        for file in temporary.iterdir():
            if file.stat().st_size > LARGEST_FILE:
                raise InputError(
                    f"{file.name} of {recipe.name} has {file.stat().st_size} bytes but the package takes "
                    f"{LARGEST_FILE}: make the model smaller"
                )
        manifest = describe(recipe, temporary, recipe.figures(temporary))
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1, default=str) + "\n")
    return target


def describe(recipe: Recipe, folder: Path, figures: Mapping[str, object]) -> dict[str, object]:
    """The manifest of a folder of weights: where they come from, what they are and what was measured."""
    return {
        "recipe": recipe.name,
        "settings": recipe.settings(),
        "stages": [asdict(stage) for stage in recipe.stages],
        "figures": dict(figures),
        "sha256": {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted(folder.iterdir())
            if file.name != MANIFEST
        },
        "made with": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "cores": os.cpu_count(),
        },
    }
