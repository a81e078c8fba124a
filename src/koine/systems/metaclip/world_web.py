"""A small web: photographs of things of the world, long-tailed, with noisy alt texts, curated as MetaCLIP curates.

A photograph is a square cut out of a scene around one thing that stands free, as a shop or a blog would show it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch.nn.functional import grid_sample

from koine.curation.balancing import Counts, count_entries, entry_probabilities, keep_texts, text_probabilities
from koine.curation.matching import Matcher, Matches
from koine.curation.metadata import FirstRelease, Metadata, build_first
from koine.curation.ngrams import count_ngrams, pointwise_mutual_information
from koine.curation.spilled_counts import SpilledCounts
from koine.data.world_captions import captions
from koine.world import german
from koine.world.alt_text import DEFAULT_WEB, Web, alt_text, concept, concept_weight, entity_names
from koine.world.cache import rendered_scenes
from koine.world.observation import Observation
from koine.world.scene import Scene

Subset = Literal["raw", "matched", "balanced", "online"]
"""All pairs; those that match an entry; those that balancing keeps; those that match, drawn anew in each epoch."""
Language = Literal["en", "de"]
SOURCE_SCENES = 3000
"""Scenes whose captions take Wikipedia's place as the source of entries."""
_THRESHOLDS = FirstRelease(unigram_count=20, pmi=1.0, views=1, limit=20_000)
_LEAST_SIDE = 12.0
"""Pixels of a scene that a photograph shows at least along each side."""
_HIDDEN = 1.5
"""Pixels by which the box of what is seen of a thing may fall short of the box of the whole thing."""
_GERMAN = Web(shares={"foreign": 0.72, "file": 0.1, "camera": 0.06, "boilerplate": 0.12})
"""How the German part of the web writes: about what there is, or as sloppily as everywhere."""


@dataclass(frozen=True)
class WebOptions:
    """Which web there is; equal options give the same.

    Attributes:
        scenes: how many scenes are looked at; the long tail comes from passing over things of rare concepts.
        first_scene: the first of them, a multiple of 1000.
        texts_per_picture: alt texts of each picture.
        margins: the least and the most that a photograph's side is, in sides of the thing's box (drawn evenly in the
            logarithm, and never more than the scene).
        side: pixels along each side of a picture.
        zipf: exponent of the law by which concepts are mentioned and shown.
        language: of the texts, apart from what no language has.
        seed: of texts and choices.
    """

    scenes: int = 40_000
    first_scene: int = 0
    texts_per_picture: int = 3
    margins: tuple[float, float] = (1.1, 4.0)
    side: int = 64
    zipf: float = 1.0
    language: Language = "en"
    seed: int = 0


@dataclass(frozen=True)
class Pool:
    """Pictures with several texts each."""

    images: NDArray[np.uint8]
    """[pictures, side, side, 3]."""
    image_of: NDArray[np.int64]
    """[pairs], the picture of each text, ascending."""
    texts: pa.Array
    """[pairs]."""
    uids: pa.Array
    """[pairs], the picture's uid."""
    language: Language = "en"


@dataclass(frozen=True)
class CuratedPairs:
    """The pairs of a pool that are to be trained on."""

    pairs: NDArray[np.int64]
    """Places in the pool, ascending."""
    probabilities: NDArray[np.float64]
    """[pairs], with which each is kept when it is drawn; 1 unless curation is online."""


@lru_cache(maxsize=6)
def gather(options: WebOptions) -> Pool:
    """The pool, drawn from training scenes."""
    scenes = rendered_scenes("train", options.scenes, first_seed=options.first_scene)
    rng = np.random.default_rng((options.seed, 1))
    web = _GERMAN if options.language == "de" else DEFAULT_WEB
    web = replace(web, zipf=options.zipf)
    shown: list[int] = []
    boxes: list[NDArray[np.float32]] = []
    texts: list[str] = []
    for place, (scene, view) in enumerate(scenes):
        for index in free_standing(scene, view):
            if rng.random() >= concept_weight(concept(scene.things[index]), options.zipf):
                continue
            shown.append(place)
            boxes.append(view.boxes[index])
            alone = only(scene, view, index)
            texts += [alt_text(*alone, rng, web).text for _ in range(options.texts_per_picture)]
    least, most = np.log(options.margins)
    margins = np.exp(rng.uniform(least, most, len(shown)))
    images = photographs(scenes.images, np.array(shown), np.stack(boxes), margins, side=options.side)
    image_of = np.repeat(np.arange(len(images)), options.texts_per_picture)
    uids = pa.array([f"{options.language}{image:08}" for image in image_of], pa.large_string())
    return Pool(images, image_of, pa.array(texts, pa.large_string()), uids, options.language)


def free_standing(scene: Scene, view: Observation) -> list[int]:
    """The things of a scene that touch no other and are to be seen wholly."""
    touched = {other for thing in scene.things for other in (thing.on, thing.inside) if other is not None}
    return [
        index
        for index, thing in enumerate(scene.things)
        if thing.on is None
        and thing.inside is None
        and index not in touched
        and np.abs(view.boxes[index] - view.amodal_boxes[index]).max() < _HIDDEN
    ]


def only(scene: Scene, view: Observation, index: int) -> tuple[Scene, Observation]:
    """The scene as if nothing but one thing stood there."""
    chosen = [index]
    alone = replace(
        view, boxes=view.boxes[chosen], amodal_boxes=view.amodal_boxes[chosen], visible=view.visible[chosen]
    )
    return replace(scene, things=(scene.things[index],)), alone


def photographs(
    images: NDArray[np.uint8],
    shown: NDArray[np.int64],
    boxes: NDArray[np.float32],
    margins: NDArray[np.float64],
    *,
    side: int,
) -> NDArray[np.uint8]:
    """Squares around things, cut out of scenes and resized bilinearly, uint8 [n, side, side, 3].

    Args:
        images: uint8 [scenes, H, H, 3].
        shown: [n], the scene of each.
        boxes: [n, 4], left, top, right, bottom in pixels.
        margins: [n], the square's side in longer sides of the box; it is moved and made smaller to fit the scene.
    """
    whole = images.shape[1]
    widths = np.clip((boxes[:, 2:] - boxes[:, :2]).max(axis=1) * margins, _LEAST_SIDE, whole)
    middles = np.clip((boxes[:, :2] + boxes[:, 2:]) / 2, widths[:, None] / 2, whole - widths[:, None] / 2)
    # Places of the pixels' centres, from -1 at the left or upper edge of the scene to 1 at the other.
    steps = (np.arange(side) + 0.5) / side - 0.5
    places = torch.from_numpy((middles[:, None, :] + steps[:, None] * widths[:, None, None]) / whole * 2 - 1).float()
    found = np.empty((len(shown), side, side, 3), np.uint8)
    for begin in range(0, len(shown), 1000):
        part = slice(begin, begin + 1000)
        x, y = places[part, :, 0], places[part, :, 1]
        grid = torch.stack([x[:, None].expand(-1, side, -1), y[:, :, None].expand(-1, -1, side)], dim=-1)
        source = torch.from_numpy(images[shown[part]]).permute(0, 3, 1, 2).float()
        cut = grid_sample(source, grid, mode="bilinear", padding_mode="border", align_corners=False)
        found[part] = cut.round().byte().permute(0, 2, 3, 1).numpy()
    return found


@lru_cache(maxsize=2)
def entries(language: Language = "en", seed: int = 0) -> Metadata:
    """A language's list of entries: words and pairs of clean captions; and the invented names, as titles."""
    with SpilledCounts() as unigrams, SpilledCounts() as bigrams:
        count_ngrams(_clean_texts(language, seed), unigrams, bigrams)
        words, pairs = dict(unigrams.items()), list(_split(bigrams))
    names = {name: 1 for of_concept in entity_names().values() for name in of_concept}
    return build_first(
        unigrams=words.items(),
        bigrams=pointwise_mutual_information(words, pairs),
        titles=names.items(),
        thresholds=_THRESHOLDS,
    )


def curate_pool(pool: Pool, subset: Subset, *, threshold: float, seed: int) -> CuratedPairs:
    """Chooses pairs of a pool.

    Args:
        threshold: texts per entry, t, for "balanced" and "online".
        seed: of the draws of "balanced".
    """
    everything = np.arange(len(pool.texts))
    if subset == "raw":
        return CuratedPairs(everything, np.ones(len(everything)))
    matches = match_pool(pool)
    matched = everything[matches.lengths > 0]
    if subset == "matched":
        return CuratedPairs(matched, np.ones(len(matched)))
    of_entry = entry_probabilities(counts_of(pool), threshold).astype(np.float64)
    if subset == "online":
        return CuratedPairs(matched, text_probabilities(matches, of_entry)[matched].astype(np.float64))
    kept = everything[keep_texts(matches, of_entry, pool.uids, pool.texts, seed=seed)]
    return CuratedPairs(kept, np.ones(len(kept)))


def match_pool(pool: Pool) -> Matches:
    """The entries of its language that each text of a pool contains."""
    return Matcher.build(entries(pool.language).entries).match(pool.texts)


def counts_of(pool: Pool) -> Counts:
    """[entries], how many texts of a pool contain each."""
    return count_entries(match_pool(pool), len(entries(pool.language)))


@dataclass(frozen=True)
class Part:
    """A pool and what is done with it."""

    web: WebOptions
    subset: Subset
    threshold: float
    """Texts per entry, t, for "balanced" and "online"."""


def curate(parts: Sequence[Part], *, seed: int) -> tuple[Pool, CuratedPairs]:
    """What several pools hold for training, as one pool; `seed` is that of the draws of balancing."""
    pools = [gather(part.web) for part in parts]
    curated = [
        curate_pool(pool, part.subset, threshold=part.threshold, seed=seed)
        for pool, part in zip(pools, parts, strict=True)
    ]
    return join(list(zip(pools, curated, strict=True)))


def join(parts: Sequence[tuple[Pool, CuratedPairs]]) -> tuple[Pool, CuratedPairs]:
    """Several curated pools as one; its language is the first one's."""
    pictures = np.cumsum([0, *(len(pool.images) for pool, _ in parts)])
    pairs = np.cumsum([0, *(len(pool.texts) for pool, _ in parts)])
    whole = Pool(
        np.concatenate([pool.images for pool, _ in parts]),
        np.concatenate([pool.image_of + first for (pool, _), first in zip(parts, pictures, strict=False)]),
        pa.concat_arrays([pool.texts for pool, _ in parts]),
        pa.concat_arrays([pool.uids for pool, _ in parts]),
        parts[0][0].language,
    )
    return whole, CuratedPairs(
        np.concatenate([curated.pairs + first for (_, curated), first in zip(parts, pairs, strict=False)]),
        np.concatenate([curated.probabilities for _, curated in parts]),
    )


def _clean_texts(language: Language, seed: int) -> Iterator[str]:
    scenes = rendered_scenes("train", SOURCE_SCENES)
    if language == "en":
        yield from (text for of_scene in captions(scenes, per_scene=2, seed=seed) for text in of_scene)
        return
    rng = np.random.default_rng((seed, 17))
    for scene, view in scenes:
        yield from (german.caption(scene, view, rng, "full") for _ in range(2))


def _split(bigrams: SpilledCounts) -> Iterator[tuple[str, str, int]]:
    for pair, count in bigrams.items():
        first, second = pair.split(" ")
        yield first, second, count
