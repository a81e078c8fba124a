"""Thresholds at their corners, and draws that belong to the row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from koine.curation.balancing import (
    choose_texts,
    count_entries,
    entry_probabilities,
    keep_by_index,
    keep_texts,
    tail_share,
    text_probabilities,
    threshold_for,
)
from koine.curation.draws import hash_column, philox, uniform_rows
from koine.curation.matching import Matcher, Matches
from koine.errors import InputError


def rows(count: int) -> tuple[Matches, pa.Array, pa.Array]:
    """Texts with a head word in all of them and a rare one in every tenth."""
    texts = pa.array([f"head {'rare' if number % 10 == 0 else 'x'} {number}" for number in range(count)])
    uids = pa.array([f"{number:024}" for number in range(count)])
    return Matcher.build(["head", "rare"]).match(texts), uids, texts


def counts(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.uint64)


def test_counts_are_of_texts() -> None:
    matches = Matcher.build(["a", "b", "c"]).match(["a a a b", "a", "", "x"])
    assert count_entries(matches, 3).tolist() == [2, 1, 0]


def test_tail_share_is_strictly_below_the_threshold() -> None:
    assert tail_share(counts(1, 2, 3, 4), 3) == pytest.approx(0.3)
    assert tail_share(counts(1, 2, 3, 4), 4) == pytest.approx(0.6)
    assert tail_share(counts(0, 0), 5) == 0


def test_threshold_of_a_share() -> None:
    assert threshold_for(counts(4, 3, 2, 1), 0.3) == 2
    assert threshold_for(counts(4, 3, 2, 1), 1.0) == 4
    assert threshold_for(counts(5, 5, 5, 5), 0.5) == 5


def test_a_threshold_is_never_zero() -> None:
    sparse = counts(0, 0, 0, 0, 7, 9)
    assert threshold_for(sparse, 0.0) == 7
    assert np.isfinite(entry_probabilities(sparse, threshold_for(sparse, 0.0))).all()
    assert threshold_for(counts(0, 0), 0.5) == 1
    assert threshold_for(counts(), 0.5) == 1


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_between_zero_and_one(share: float) -> None:
    with pytest.raises(InputError, match="share"):
        threshold_for(counts(1), share)


@pytest.mark.parametrize("threshold", [0, -1, float("nan")])
def test_a_threshold_is_positive(threshold: float) -> None:
    with pytest.raises(InputError, match="threshold"):
        entry_probabilities(counts(1), threshold)


def test_probabilities() -> None:
    probabilities = entry_probabilities(counts(0, 5, 20, 100), 20)
    assert probabilities.tolist() == [1, 1, 1, 0.2]
    assert entry_probabilities(counts(0, 5, 100), np.inf).tolist() == [1, 1, 1]
    matches = Matches(np.array([0, 1, 1, 3, 3]), np.array([3, 2, 3], np.int32))
    assert text_probabilities(matches, probabilities) == pytest.approx([0.2, 0, 1, 0])
    assert text_probabilities(Matches(np.zeros(1, np.int64), np.zeros(0, np.int32)), probabilities).shape == (0,)


def test_the_generator_is_numpys_philox() -> None:
    for counter, key in (((0, 0, 0, 0), (0, 0)), ((1, 2, 3, 4), (5, 6)), ((2**64 - 2, 7, 0, 1), (2**63, 2**64 - 1))):
        # numpy counts before it draws.
        before = [counter[0] - 1, *counter[1:]] if counter[0] else [2**64 - 1] * 4
        expected = np.random.Philox(counter=np.array(before, np.uint64), key=np.array(key, np.uint64)).random_raw(4)
        found = philox(tuple(map(np.uint64, counter)), tuple(map(np.uint64, key)))
        assert [int(number) for number in found] == expected.tolist()


def test_what_is_kept_does_not_depend_on_order_or_division() -> None:
    matches, uids, texts = rows(4000)
    probabilities = entry_probabilities(count_entries(matches, 2), 300)
    kept = set(uids.filter(pa.array(keep_texts(matches, probabilities, uids, texts, seed=3))).to_pylist())
    order = pa.array(np.random.default_rng(0).permutation(len(texts)))
    shuffled = uids.take(order), texts.take(order)
    again: set[str] = set()
    for part in range(7):
        part_uids, part_texts = (column.slice(part * 600, 600) for column in shuffled)
        part_matches = Matcher.build(["head", "rare"]).match(part_texts)
        mask = keep_texts(part_matches, probabilities, part_uids, part_texts, seed=3)
        again |= set(part_uids.filter(pa.array(mask)).to_pylist())
    assert again == kept
    assert keep_texts(matches, probabilities, uids, texts, seed=4).sum() != len(kept)


def test_kept_share_is_the_probability() -> None:
    matches, uids, texts = rows(20_000)
    probabilities = entry_probabilities(count_entries(matches, 2), 1000)
    expected = text_probabilities(matches, probabilities)
    kept = keep_texts(matches, probabilities, uids, texts, seed=0)
    deviation = np.sqrt((expected * (1 - expected)).sum())
    assert abs(kept.sum() - expected.sum()) < 4 * deviation
    rare = matches.lengths == 2
    share = 1 - (1 - probabilities[0]) * (1 - probabilities[1])
    assert abs(kept[rare].mean() - share) < 4 * np.sqrt(share * (1 - share) / rare.sum())


def test_a_larger_threshold_keeps_all_that_a_smaller_one_keeps() -> None:
    matches, uids, texts = rows(5000)
    total = count_entries(matches, 2)
    small, large = (
        keep_texts(matches, entry_probabilities(total, threshold), uids, texts, seed=1) for threshold in (100, 150)
    )
    assert (large | ~small).all() and large.sum() > small.sum()


def test_texts_of_one_image_draw_independently() -> None:
    matches, _, texts = rows(2000)
    uids = pa.array(["one image"] * 2000)
    kept = keep_texts(matches, np.full(2, 0.5), uids, texts, seed=0)
    assert 0.4 < kept.mean() < 0.9


def test_an_index_without_matches_keeps_nothing() -> None:
    matches = Matches(np.array([0, 0, 1, 1]), np.array([0], np.int32))
    assert keep_by_index(matches, np.array([0.5]), np.array([0.4])).tolist() == [False, True, False]
    assert keep_by_index(matches, np.array([0.5]), np.array([0.5])).tolist() == [False, False, False]


def test_online_choice_takes_one_text_per_image_and_another_each_epoch() -> None:
    images, per_image = 3000, 4
    group_of = np.repeat(np.arange(images), per_image)
    uids = hash_column(pa.array([str(image) for image in group_of]))
    texts = hash_column(pa.array([f"text {number}" for number in range(len(group_of))]))
    probabilities = np.tile([1.0, 0.5, 0.5, 0.0], images)
    epochs = [choose_texts(group_of, probabilities, uids, texts, seed=0, epoch=epoch) for epoch in range(20)]
    for chosen in epochs:
        assert len(np.unique(group_of[chosen])) == len(chosen)
    drawn = np.bincount(np.concatenate(epochs) % per_image, minlength=per_image) / (20 * images)
    assert drawn == pytest.approx([0.25, 0.125, 0.125, 0.0], abs=0.01)
    assert not np.array_equal(epochs[0], epochs[1])
    assert np.array_equal(epochs[0], choose_texts(group_of, probabilities, uids, texts, seed=0, epoch=0))
    assert choose_texts(group_of[:0], probabilities[:0], uids[:0], texts[:0], seed=0, epoch=0).tolist() == []


def test_uniform_numbers_are_uniform() -> None:
    uids = hash_column(pa.array([str(number) for number in range(50_000)]))
    numbers = uniform_rows(np.uint64(0), uids, np.zeros_like(uids), np.uint64(0))
    assert numbers.min() >= 0 and numbers.max() < 1
    histogram = np.histogram(numbers, 20, (0, 1))[0]
    assert ((histogram - 2500) ** 2 / 2500).sum() < 45  # chi square, 19 degrees of freedom, p = 0.001
