"""Reading published checkpoints tensor by tensor: safetensors or torch files, one or many, from a folder or the hub."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from koine.errors import InputError

_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_PATTERNS = ("*.safetensors", "*.bin")
# What else lies in such folders: states of training, not weights.
_NOT_WEIGHTS = ("training_args.bin", "optimizer.bin", "scheduler.bin")


class Checkpoint:
    """The tensors of a checkpoint by name; each is read from disk when it is asked for.

    Args:
        source: a folder, or one file of weights.
    Raises:
        InputError: there are no weights, or a file is corrupt.
    """

    def __init__(self, source: str | os.PathLike[str]) -> None:
        self.folder = Path(source)
        if not self.folder.exists():
            raise InputError(f"there is no checkpoint at {self.folder}: give a folder or file of weights")
        # A torch file without memory mapping is read whole; only the latest stays in memory.
        self._latest: tuple[Path, Mapping[str, Tensor]] | None = None
        self.files: dict[str, Path] = self._names()
        if not self.files:
            raise InputError(f"{self.folder} holds no weights: give a folder with .safetensors or .bin files")

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def read(self, name: str) -> Tensor:
        """The tensor of that name, on the CPU in its stored type."""
        file = self.files[name]
        if file.suffix == ".safetensors":
            with _corruption_named(file), safe_open(file, framework="pt") as opened:
                return opened.get_tensor(name)
        content = self._load_torch(file)
        if name not in content:
            raise InputError(f"{file} lacks the tensor {name} that its index lists: fetch the checkpoint again")
        return content[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's shape, read without its values where the format allows it."""
        file = self.files[name]
        if file.suffix == ".safetensors":
            with _corruption_named(file), safe_open(file, framework="pt") as opened:
                return tuple(opened.get_slice(name).get_shape())
        return tuple(self.read(name).shape)

    def config(self) -> dict[str, Any]:
        """The folder's config.json; empty if there is none."""
        folder = self.folder if self.folder.is_dir() else self.folder.parent
        return read_json(folder / "config.json") if (folder / "config.json").is_file() else {}

    def _names(self) -> dict[str, Path]:
        if self.folder.is_file():
            return self._names_of([self.folder])
        for index in _INDEXES:
            if (self.folder / index).is_file():
                listed = read_json(self.folder / index).get("weight_map", {})
                files = {name: self.folder / file for name, file in listed.items()}
                for file in sorted(set(files.values())):
                    if not file.is_file():
                        raise InputError(f"{file} is missing, which {index} lists: fetch the checkpoint again")
                return files
        for pattern in _PATTERNS:
            found = sorted(file for file in self.folder.glob(pattern) if file.name not in _NOT_WEIGHTS)
            if found:
                return self._names_of(found)
        return {}

    def _names_of(self, files: list[Path]) -> dict[str, Path]:
        names: dict[str, Path] = {}
        for file in files:
            if file.suffix == ".safetensors":
                with _corruption_named(file), safe_open(file, framework="pt") as opened:
                    names |= dict.fromkeys(opened.keys(), file)
            else:
                names |= dict.fromkeys(self._load_torch(file), file)
        return names

    def _load_torch(self, file: Path) -> Mapping[str, Tensor]:
        if self._latest is None or self._latest[0] != file:
            with _corruption_named(file):
                try:
                    content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
                except RuntimeError as error:
                    if "mmap" not in str(error):  # the format before torch 1.6 can't be mapped
                        raise
                    content = torch.load(file, map_location="cpu", weights_only=True)
            self._latest = (file, content)
        return self._latest[1]


class _corruption_named:
    """Turns what readers raise on damaged files into an `InputError` that names the file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, SafetensorError | pickle.UnpicklingError | RuntimeError | EOFError | OSError):
            reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
            raise InputError(f"{self.file} is not a readable weights file ({reason}): fetch it again") from error


def read_json(file: Path) -> dict[str, Any]:
    """
    Raises:
        InputError: the file isn't JSON, or no object.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file} is not valid JSON ({error}): fetch it again") from error
    if not isinstance(content, dict):
        raise InputError(f"{file} holds a {type(content).__name__}, not a JSON object: fetch it again")
    return content


def locate(source: str | os.PathLike[str], thing: str = "weights") -> Path:
    """The folder or file of that path; a name such as `owner/model` that is no path is fetched from the hub.

    Raises:
        InputError: it is neither, or the hub can't be reached.
    """
    path = Path(source).expanduser()
    if path.exists():
        return path
    name = os.fspath(source)
    if name.count("/") != 1 or name.startswith((".", "~", "/")):
        raise InputError(f"there are no {thing} at {name}: give an existing folder, or a hub id such as owner/model")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, ignore_patterns=["*.h5", "*.msgpack", "*.onnx"]))
    except Exception as error:  # many kinds: no network, no such repository, no permission
        reason = str(error).splitlines()[0][:120]
        raise InputError(
            f"there are no {thing} at {name}: it is no local path, and fetching it from the hub failed "
            f"({reason}): give an existing folder, or the id of a model that the hub has"
        ) from error
