"""Counts of entries, thresholds, and draws that keep about `t` texts of every frequent entry (MetaCLIP, section 3.3).

An entry that `count` texts match is kept with probability t / max(count, t); a text is kept if any of its entries is.
The published variants differ in how they draw; `keep_texts` is the one whose result depends on nothing but the rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from koine.curation.draws import draw_rows, hash_column, uniform_rows
from koine.curation.matching import Matches
from koine.errors import InputError

Counts = npt.NDArray[np.uint64]


def count_entries(matches: Matches, entries: int) -> Counts:
    """[entries], how many of these texts match each: texts, not occurrences and not images."""
    return np.bincount(matches.ids, minlength=entries).astype(np.uint64)


def tail_share(counts: Counts, threshold: float) -> float:
    """The share of all matches that belongs to entries with fewer than `threshold`, p(t); 0 if there are no matches."""
    total = int(counts.sum())
    return int(counts[counts < threshold].sum()) / total if total else 0.0


def threshold_for(counts: Counts, share: float) -> int:
    """The threshold whose tail share is nearest to `share`, t(p), as MetaCLIP 2 transfers it between languages.

    The counts are sorted ascending; where their cumulative share is nearest to `share` (the first place, if several are
    equally near), the count there is the threshold. Where the original finds 0, because rare entries matched nothing,
    its probabilities become 0/0; here the threshold is then the least positive count, which keeps every text of the
    rarest entries. Without any match it is 1.

    Raises:
        InputError: `share` is not between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise InputError(f"a tail share of {share} is not between 0 and 1: give for example 0.06")
    ascending = np.sort(counts)
    total = int(ascending.sum())
    if total == 0:
        return 1
    cumulative = np.cumsum(ascending) / total
    threshold = int(ascending[np.argmin(np.abs(cumulative - share))])
    return threshold or int(ascending[ascending > 0][0])


def entry_probabilities(
    counts: Counts, threshold: float, kind: type[np.floating[Any]] = np.float64
) -> npt.NDArray[np.floating[Any]]:
    """[entries], t / max(count, t): 1 for the tail, and everywhere if t is infinite. MetaCLIP 2 stores it as float32.

    Raises:
        InputError: the threshold is not positive.
    """
    if not threshold > 0:
        raise InputError(f"a threshold of {threshold} keeps nothing: give a positive number of texts per entry")
    if np.isinf(threshold):
        return np.ones(len(counts), kind)
    return (threshold / np.maximum(counts.astype(np.float64), threshold)).astype(kind)


def text_probabilities(matches: Matches, probabilities: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
    """[texts], the probability that a text is kept: 1 - prod(1 - p) over its entries, 0 without any."""
    lost = np.concatenate([1 - probabilities[matches.ids], np.ones(1, probabilities.dtype)])
    products = np.multiply.reduceat(lost, matches.offsets[:-1]) if len(matches) else lost[:0]
    return np.where(matches.lengths > 0, 1 - products, probabilities.dtype.type(0))


def keep_texts(
    matches: Matches,
    probabilities: npt.NDArray[np.float64],
    uids: pa.Array,
    texts: pa.Array,
    *,
    seed: int,
) -> npt.NDArray[np.bool_]:
    """[texts], which to keep, by draws that belong to the row: keyed by `seed` and uid, counted by text and entry.

    Two texts of one image draw independently. A text kept under a threshold is also kept under every larger one.
    """
    uid, text = hash_column(uids), hash_column(texts)
    return draw_rows(np.uint64(seed), uid, text, probabilities, matches.offsets, matches.ids)


def keep_in_sequence(
    matches: Matches, probabilities: npt.NDArray[np.float64], draw: Callable[[], float]
) -> npt.NDArray[np.bool_]:
    """[texts], kept as MetaCLIP's first sampler does: text by text, entry by entry, until a draw is less than p.

    Its result hangs on the order in which `draw` is called; it is here to reproduce published subsets.
    """
    chances = probabilities[matches.ids].tolist()
    ends = matches.offsets.tolist()
    return np.array(
        [any(draw() < chance for chance in chances[begin:end]) for begin, end in itertools.pairwise(ends)],
        np.bool_,
    )


def keep_by_index(
    matches: Matches, probabilities: npt.NDArray[np.float64], draws: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """[texts], kept as by the inverted index: one of `draws` ([matches], text by text) for every text and entry."""
    kept = np.concatenate([draws < probabilities[matches.ids], np.zeros(1, np.bool_)])
    any_kept = np.logical_or.reduceat(kept, matches.offsets[:-1]) if len(matches) else kept[:0]
    return any_kept & (matches.lengths > 0)


@dataclass(frozen=True)
class OnlineChoice:
    """What the online sampler decided for each image."""

    texts: npt.NDArray[np.int64]
    """[images], the text chosen from each image's, by its place among all; -1 if it is left out this time."""
    probabilities: npt.NDArray[np.floating[Any]]
    """[images], the probability with which the chosen text is kept."""


def choose_in_sequence(
    groups: Sequence[Sequence[int]],
    probabilities: npt.NDArray[np.floating[Any]],
    choose: Callable[[Sequence[int]], int],
    draw: Callable[[], float],
) -> OnlineChoice:
    """MetaCLIP 2's online sampler as published: per image one text at random, dropped if its probability < a draw.

    Args:
        groups: each image's matched texts, none empty.
        probabilities: [texts].
        choose, draw: `random.choice` and `random.random`, or the like.
    """
    texts = np.empty(len(groups), np.int64)
    chances = np.empty(len(groups), probabilities.dtype)
    for image, group in enumerate(groups):
        text = choose(group)
        chances[image] = probabilities[text]
        texts[image] = -1 if chances[image] < draw() else text
    return OnlineChoice(texts, chances)


def choose_texts(
    group_of: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float64],
    uids: npt.NDArray[np.uint64],
    texts: npt.NDArray[np.uint64],
    *,
    seed: int,
    epoch: int,
) -> npt.NDArray[np.int64]:
    """The online sampler with draws that belong to the row and the epoch: the texts to train on now, by their place.

    Args:
        group_of: [texts], the image of each text, ascending.
        probabilities: [texts], the probability that each is kept.
        uids, texts: [texts], hashes (`draws.hash_column`) of the image's uid and of the text.
    """
    if not len(group_of):
        return np.zeros(0, np.int64)
    # The text with the largest number of its image is a uniform choice among them.
    lots = uniform_rows(np.uint64(seed), uids, texts, np.uint64(2 * epoch))
    order = np.lexsort((lots, group_of))
    last_of_group = np.append(np.flatnonzero(np.diff(group_of[order])), len(order) - 1)
    chosen = order[last_of_group]
    draws = uniform_rows(np.uint64(seed), uids[chosen], texts[chosen], np.uint64(2 * epoch + 1))
    return chosen[probabilities[chosen] >= draws]
