"""What counts as right on scenes, by a stand-in that notes what it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from koine.evaluation.world_captions import judge
from koine.sentence import Image
from koine.systems.beit3.world_figures import intervals
from koine.world import cache
from koine.world.facts import members, observe
from koine.world.language import article, name

SCENES = 10


class Noting:
    """Names one thing of each scene, and takes every statement for true."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self.shown: list[tuple[Image, Image, str]] = []

    def captions(self, images: Sequence[Image]) -> list[str]:
        return list(self.texts)

    def judgements(self, statements: Sequence[tuple[Image, Image, str]]) -> list[float]:
        self.shown = list(statements)
        return [1.0] * len(statements)


def test_captions_are_judged_by_their_scenes_and_statements_by_both_of_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOINE_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "SHARD", 20)
    pairs = list(zip(cache.rendered_scenes("test", SCENES + 1), range(SCENES), strict=False))
    scenes = [pair for pair, _ in pairs]
    texts = [article(name(scene.things[next(iter(members(observe(scene, view).seen)))])) for scene, view in scenes]
    verdicts = [judge(text, *scene) for text, scene in zip(texts, scenes, strict=True)]
    stand_in = Noting(texts)
    found = intervals(stand_in, scenes=SCENES, tasks=("captions", "statements"))  # type: ignore[arg-type]
    assert found["captions"].estimate == sum(verdict.true for verdict in verdicts) / SCENES
    assert found["complete captions"].estimate == sum(verdict.complete for verdict in verdicts) / SCENES
    assert found["captions"].estimate > found["complete captions"].estimate, "one thing of several is not all"
    images = [view.image for _, view in scenes]
    for left, right, _ in stand_in.shown:
        place = next(number for number, image in enumerate(images) if np.array_equal(image, left.pixels))
        assert place % 2 == 0 and np.array_equal(images[place + 1], right.pixels)
    assert 0 < found["statements"].estimate < 1 and found["statements"].samples == len(stand_in.shown)
