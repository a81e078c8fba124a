"""Pictures of the world with captions, for contrastive training."""

from __future__ import annotations

import numpy as np

from koine.world.cache import RenderedScenes
from koine.world.facts import ATTRIBUTES, members, observe
from koine.world.language import STYLES, Style, article, caption, name, pick
from koine.world.render import Observation
from koine.world.scene import Scene

_DETAIL_SHARE = 0.5
"""Share of the single-thing captions that leave attributes out."""


def captions(scenes: RenderedScenes, *, per_scene: int, seed: int) -> list[list[str]]:
    """`per_scene` captions of each scene, the same for the same seed.

    Captions of a single thing often leave attributes out ("something red", "a metal thing", "a cube"), so that
    each word must be learnt by itself.
    """
    rng = np.random.default_rng((seed, 17))
    found = []
    for scene, view in scenes:
        seen = list(members(observe(scene, view).seen))
        if len(seen) == 1 and len(scene.things) == 1:
            found.append([_single(rng, scene, view) for _ in range(per_scene)])
        else:
            styles: tuple[Style, ...] = ("full", "full", "scene", "short")
            found.append([caption(scene, view, rng, pick(rng, styles)) for _ in range(per_scene)])
    return found


def _single(rng: np.random.Generator, scene: Scene, view: Observation) -> str:
    thing = scene.things[0]
    if rng.random() > _DETAIL_SHARE:
        return caption(scene, view, rng, pick(rng, STYLES))
    detail = [attribute for attribute in ATTRIBUTES if rng.random() < 0.4] or [pick(rng, ATTRIBUTES)]
    return article(name(thing, detail))
