"""A search index over a folder of pictures, whose vectors are kept on disk.

The cache is a folder of its own, outside the pictures': `vectors.npz` with a vector for each picture's content, so that
a picture that moves or occurs twice is encoded once, and `files.json`, which content each path had when it was last
looked at (size and time of change), so that unchanged pictures aren't even read again. It belongs to the weights that
made it: others have a cache of their own.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from koine.errors import InputError
from koine.files import write_atomically
from koine.sentence import Image

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"))
_AT_ONCE = 64
Embed = Callable[[Sequence[Image]], Tensor]


@dataclass(frozen=True)
class SearchIndex:
    """Pictures and their vectors.

    Attributes:
        paths: of the pictures that could be read.
        vectors: [pictures, width] float32, unit.
        encoded: how many had to be encoded, because no vector of theirs was kept.
        skipped: pictures that couldn't be read, and why.
    """

    paths: tuple[Path, ...]
    vectors: NDArray[np.float32]
    encoded: int
    skipped: tuple[tuple[Path, str], ...]

    @classmethod
    def of_folder(
        cls,
        folder: str | os.PathLike[str],
        model: nn.Module,
        embed: Embed,
        *,
        cache: str | os.PathLike[str] | None = None,
    ) -> SearchIndex:
        """The index of a folder and the folders in it; hidden ones are left out.

        Args:
            model: whose vectors `embed` makes; its weights name the cache.
            cache: where caches lie, by default `$KOINE_CACHE` or `~/.cache/koine`; nothing is written into `folder`.
        Raises:
            InputError: no such folder, no pictures in it, or none of them can be read.
        """
        root = Path(folder).expanduser()
        files = find_pictures(root)
        place = Path(cache) if cache is not None else Path(os.environ.get("KOINE_CACHE", "~/.cache/koine")).expanduser()
        kept = VectorCache(place / "search" / fingerprint(model))
        keys, skipped, encoded = kept.look(files, embed)
        if not keys:
            raise InputError(
                f"none of the {len(files)} pictures in {root} can be read, the first since: {skipped[0][1]}"
            )
        kept.write()
        vectors = np.stack([kept.vectors[key] for key in keys.values()])
        return cls(tuple(keys), vectors, encoded, tuple(skipped))

    def nearest(self, vector: Tensor, count: int) -> list[tuple[Path, float]]:
        """The `count` pictures with the greatest cosine to a unit vector [width], the best first."""
        similarities = self.vectors @ vector.numpy()
        best = np.argsort(-similarities, kind="stable")[:count]
        return [(self.paths[place], float(similarities[place])) for place in best]


class VectorCache:
    """Vectors by content, and the content of paths by size and time of change.

    A cache that can't be read counts as empty: it can be made again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.vectors: dict[str, NDArray[np.float32]] = {}
        self.files: dict[str, list[Any]] = {}
        self.changed = False
        try:
            with np.load(folder / "vectors.npz", allow_pickle=False) as arrays:
                self.vectors = dict(zip(arrays["keys"].tolist(), arrays["vectors"], strict=True))
            stored = dict(json.loads((folder / "files.json").read_text(encoding="utf-8")))
            self.files = {path: [int(size), int(time), str(key)] for path, (size, time, key) in stored.items()}
        except (OSError, EOFError, ValueError, TypeError, KeyError, BadZipFile):
            self.vectors, self.files = {}, {}

    def look(self, files: Sequence[Path], embed: Embed) -> tuple[dict[Path, str], list[tuple[Path, str]], int]:
        """Sees to it that each file's vector is there.

        Returns:
            file -> content for those that can be read, those that can't with the reason, and how many were encoded.
        """
        keys: dict[Path, str] = {}
        skipped: list[tuple[Path, str]] = []
        waiting: dict[str, Image] = {}
        encoded = 0
        for file in files:
            try:
                stamp = [file.stat().st_size, file.stat().st_mtime_ns]
                known = self.files.get(str(file.resolve()))
                if known is not None and known[:2] == stamp and known[2] in self.vectors:
                    keys[file] = known[2]
                    continue
                key = hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
                if key not in self.vectors and key not in waiting:
                    waiting[key] = Image.open(file)
            except (InputError, OSError) as error:
                skipped.append((file, str(error)))
                continue
            keys[file] = key
            self.files[str(file.resolve())] = [*stamp, key]
            self.changed = True
            if len(waiting) == _AT_ONCE:
                encoded += self._encode(waiting, embed)
        return keys, skipped, encoded + self._encode(waiting, embed)

    def write(self) -> None:
        """Writes what is new; a place that can't be written to costs time the next time, nothing else."""
        if not self.changed:
            return
        try:
            with write_atomically(self.folder / "vectors.npz") as temporary, temporary.open("wb") as file:
                np.savez(file, keys=np.array(list(self.vectors)), vectors=np.stack(list(self.vectors.values())))
            with write_atomically(self.folder / "files.json") as temporary:
                temporary.write_text(json.dumps(self.files), encoding="utf-8")
        except InputError:
            return

    def _encode(self, waiting: dict[str, Image], embed: Embed) -> int:
        """Encodes the pictures that wait and lets them go."""
        count = len(waiting)
        if count:
            vectors = embed(list(waiting.values())).numpy()
            self.vectors |= zip(waiting, vectors, strict=True)
            waiting.clear()
        return count


def find_pictures(root: Path) -> list[Path]:
    """The picture files in a folder and the folders in it, by path.

    Raises:
        InputError: there is no such folder, or no picture in it.
    """
    if not root.is_dir():
        raise InputError(f"there is no folder {root}: give a folder of pictures")
    found: list[Path] = []
    for place, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            Path(place) / name
            for name in sorted(names)
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
        ]
    if not found:
        raise InputError(f"folder {root} holds no pictures: put files there that end in .png, .jpg or the like")
    return found


def fingerprint(model: nn.Module) -> str:
    """A short name of a model's weights: equal weights, equal name."""
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        flat = tensor.detach().float().flatten().cpu()
        # A thousand numbers of each tensor and its sum tell weights apart without reading gigabytes.
        digest.update(flat[:: max(1, len(flat) // 1000)].contiguous().numpy().tobytes())
        digest.update(torch.sum(flat.double()).numpy().tobytes())
    return digest.hexdigest()
