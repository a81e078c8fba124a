"""Rendered scenes on disk: drawn once, read many times through memory maps.

A cache is a folder of shards of `SHARD` scenes. Its name holds the split, the kind, the size and a fingerprint of
the code that draws scenes, so pictures of an older world are never mixed with newer ones.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from koine.files import write_atomically
from koine.world.render import Observation, render
from koine.world.scene import MAX_THINGS, Kind, Scene, Split, sample_scene

Array = np.ndarray

SHARD = 1000
_ROOMS = ("things", "scene", "physics", "bodies", "camera", "rays", "lamps", "surfaces", "shading", "pixels", "render")
"""Files that say what pictures look like."""
_FIELDS = ("images", "instance", "boxes", "amodal_boxes", "visible")


@dataclass(frozen=True)
class RenderedScenes:
    """n scenes and what the camera sees of them.

    Attributes:
        images: uint8 [n, H, W, 3].
        instance: int8 [n, H, W].
        boxes, amodal_boxes: float32 [n, 5, 4], zeros where a scene has fewer things.
        visible: int32 [n, 5].
        split, kind, first_seed: scene i is `sample_scene(first_seed + i, split=split, kind=kind)`.
    """

    images: Array
    instance: Array
    boxes: Array
    amodal_boxes: Array
    visible: Array
    split: Split
    kind: Kind
    first_seed: int

    def __len__(self) -> int:
        return len(self.images)

    def scene(self, index: int) -> Scene:
        """The scene itself (drawn again: cheaper than reading it)."""
        return sample_scene(self.first_seed + index, split=self.split, kind=self.kind)

    def observation(self, index: int, count: int) -> Observation:
        """What the camera sees of scene `index`, which has `count` things."""
        return Observation(
            image=self.images[index],
            instance=self.instance[index],
            boxes=self.boxes[index, :count],
            amodal_boxes=self.amodal_boxes[index, :count],
            visible=self.visible[index, :count],
        )

    def __iter__(self) -> Iterator[tuple[Scene, Observation]]:
        for index in range(len(self)):
            scene = self.scene(index)
            yield scene, self.observation(index, len(scene.things))


def rendered_scenes(
    split: Split,
    count: int,
    *,
    kind: Kind = "any",
    first_seed: int = 0,
    size: int = 64,
    folder: Path | None = None,
    workers: int | None = None,
) -> RenderedScenes:
    """Scenes `first_seed` .. `first_seed + count - 1` of a split, from the cache, drawing what it lacks.

    Args:
        first_seed: a multiple of `SHARD`.
        folder: where caches live; default `$KOINE_CACHE` or `~/.cache/koine`.
        workers: processes that draw; default all cores. The result does not depend on it.
    """
    if first_seed % SHARD:
        raise ValueError(f"first_seed {first_seed} is not a multiple of {SHARD}")
    home = (folder or default_folder()) / f"world-{_fingerprint()}-{size}px" / f"{split}-{kind}"
    shards = range(first_seed // SHARD, (first_seed + count + SHARD - 1) // SHARD)
    missing = [shard for shard in shards if not (home / f"{shard:05d}.npz").exists()]
    if missing:
        home.mkdir(parents=True, exist_ok=True)
        jobs = [(home, split, kind, size, shard) for shard in missing]
        workers = workers or os.cpu_count() or 1
        if workers == 1 or len(jobs) == 1:
            for job in jobs:
                _draw_shard(job)
        else:
            with ProcessPoolExecutor(workers) as pool:
                list(pool.map(_draw_shard, jobs))
    parts = [np.load(home / f"{shard:05d}.npz") for shard in shards]
    fields = {name: np.concatenate([part[name] for part in parts])[:count] for name in _FIELDS}
    return RenderedScenes(**fields, split=split, kind=kind, first_seed=first_seed)


def default_folder() -> Path:
    """Where caches live: `$KOINE_CACHE` or `~/.cache/koine`."""
    return Path(os.environ.get("KOINE_CACHE", "~/.cache/koine")).expanduser()


@cache
def _fingerprint() -> str:
    here = Path(__file__).parent
    return hashlib.sha256(b"".join((here / f"{room}.py").read_bytes() for room in _ROOMS)).hexdigest()[:12]


def _draw_shard(job: tuple[Path, Split, Kind, int, int]) -> None:
    home, split, kind, size, shard = job
    arrays: dict[str, Array] = {
        "images": np.zeros((SHARD, size, size, 3), np.uint8),
        "instance": np.zeros((SHARD, size, size), np.int8),
        "boxes": np.zeros((SHARD, MAX_THINGS, 4), np.float32),
        "amodal_boxes": np.zeros((SHARD, MAX_THINGS, 4), np.float32),
        "visible": np.zeros((SHARD, MAX_THINGS), np.int32),
    }
    for row in range(SHARD):
        scene = sample_scene(shard * SHARD + row, split=split, kind=kind)
        view, n = render(scene, size), len(scene.things)
        arrays["images"][row], arrays["instance"][row] = view.image, view.instance
        arrays["boxes"][row, :n], arrays["amodal_boxes"][row, :n] = view.boxes, view.amodal_boxes
        arrays["visible"][row, :n] = view.visible
    with write_atomically(home / f"{shard:05d}.npz") as path, open(path, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
