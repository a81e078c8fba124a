"""A small web: long-tailed pictures of the world with noisy alt texts, curated as MetaCLIP curates the real one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from koine.curation.balancing import count_entries, entry_probabilities, keep_texts, text_probabilities
from koine.curation.matching import Matcher
from koine.curation.metadata import FirstRelease, Metadata, build_first
from koine.curation.ngrams import count_ngrams, pointwise_mutual_information
from koine.curation.spilled_counts import SpilledCounts
from koine.data.world_captions import captions
from koine.world.alt_text import Web, alt_text, concept, concept_weight, entity_names
from koine.world.cache import RenderedScenes, rendered_scenes
from koine.world.scene import Kind

Subset = Literal["raw", "matched", "balanced", "online"]
"""All pairs; those that match an entry; those that balancing keeps; those that match, drawn anew in each epoch."""
SOURCE_SCENES = 3000
"""Scenes whose captions take Wikipedia's place as the source of entries."""
_THRESHOLDS = FirstRelease(unigram_count=20, pmi=1.0, views=1, limit=20_000)


@dataclass(frozen=True)
class WebOptions:
    """Which web there is; equal options give the same.

    Attributes:
        scenes, single_scenes: how many to begin with, with any number of things and with one; the long tail comes from
            leaving out scenes of rare concepts.
        texts_per_scene: alt texts of each picture.
        zipf: exponent of the law by which concepts are mentioned and shown.
        seed: of texts and choices.
    """

    scenes: int = 20_000
    single_scenes: int = 40_000
    texts_per_scene: int = 3
    zipf: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Pool:
    """Pictures with several texts each."""

    images: NDArray[np.uint8]
    """[pictures, H, W, 3]."""
    image_of: NDArray[np.int64]
    """[pairs], the picture of each text, ascending."""
    texts: pa.Array
    """[pairs]."""
    uids: pa.Array
    """[pairs], the picture's uid."""


@dataclass(frozen=True)
class CuratedPairs:
    """The pairs of a pool that are to be trained on."""

    pairs: NDArray[np.int64]
    """Places in the pool, ascending."""
    probabilities: NDArray[np.float64]
    """[pairs], with which each is kept when it is drawn; 1 unless curation is online."""


@lru_cache(maxsize=2)
def gather(options: WebOptions) -> Pool:
    """The pool, drawn from training scenes."""
    parts = [_long_tailed(kind, count, options) for kind, count in _parts(options)]
    images = np.concatenate([scenes.images[chosen] for scenes, chosen in parts])
    rng = np.random.default_rng((options.seed, 1))
    web = Web(zipf=options.zipf)
    texts = [
        alt_text(scenes.scene(place), scenes.observation(place, len(scenes.scene(place).things)), rng, web).text
        for scenes, chosen in parts
        for place in chosen
        for _ in range(options.texts_per_scene)
    ]
    image_of = np.repeat(np.arange(len(images)), options.texts_per_scene)
    uids = pa.array([f"{image:08}" for image in image_of], pa.large_string())
    return Pool(images, image_of, pa.array(texts, pa.large_string()), uids)


@lru_cache(maxsize=1)
def entries(seed: int = 0) -> Metadata:
    """The list of entries: words and pairs of clean captions, and the invented names, as titles."""
    scenes = rendered_scenes("train", SOURCE_SCENES)
    texts = (text for of_scene in captions(scenes, per_scene=2, seed=seed) for text in of_scene)
    with SpilledCounts() as unigrams, SpilledCounts() as bigrams:
        count_ngrams(texts, unigrams, bigrams)
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
    listed = entries()
    matches = Matcher.build(listed.entries).match(pool.texts)
    matched = everything[matches.lengths > 0]
    if subset == "matched":
        return CuratedPairs(matched, np.ones(len(matched)))
    of_entry = entry_probabilities(count_entries(matches, len(listed)), threshold).astype(np.float64)
    if subset == "online":
        return CuratedPairs(matched, text_probabilities(matches, of_entry)[matched].astype(np.float64))
    kept = everything[keep_texts(matches, of_entry, pool.uids, pool.texts, seed=seed)]
    return CuratedPairs(kept, np.ones(len(kept)))


def _parts(options: WebOptions) -> tuple[tuple[Kind, int], ...]:
    return (("any", options.scenes), ("single", options.single_scenes))


def _long_tailed(kind: Kind, count: int, options: WebOptions) -> tuple[RenderedScenes, NDArray[np.int64]]:
    """Scenes, and which of them the web has: one of a rare concept is often left out."""
    scenes = rendered_scenes("train", count, kind=kind)
    weights = [
        max(concept_weight(concept(thing), options.zipf) for thing in scenes.scene(place).things)
        for place in range(len(scenes))
    ]
    rng = np.random.default_rng((options.seed, 2, len(kind)))
    return scenes, np.flatnonzero(rng.random(len(scenes)) < weights)


def _split(bigrams: SpilledCounts) -> Iterator[tuple[str, str, int]]:
    for pair, count in bigrams.items():
        first, second = pair.split(" ")
        yield first, second, count
