"""CIDEr-D against values worked out by hand."""

from __future__ import annotations

import math

import pytest

from koine.errors import InputError
from koine.evaluation.cider import SIGMA, cider_d, words_of


def test_words() -> None:
    assert words_of("The dog's 2 well-known owners don't run, do they?") == (
        ["the", "dog", "'s", "2", "well-known", "owners", "do", "n't", "run", "do", "they"]
    )


def test_the_same_caption_scores_ten() -> None:
    captions = ["a red cup on a table", "two dogs run over the grass"]
    assert cider_d(captions, [[caption] for caption in captions]) == pytest.approx([10, 10])


def test_nothing_in_common_scores_nothing() -> None:
    assert cider_d(["a cup", "b"], [["two dogs"], ["b"]])[0] == 0


def test_words_of_every_picture_weigh_nothing() -> None:
    # "a" is in both references, so only "cup" counts; no longer n-gram is shared.
    score, _ = cider_d(["cup a", "x"], [["a cup", "a cup too"], ["a dog"]])
    weight = math.log(2)  # of "cup", and of "cup a", "a cup", "too", ...
    one, two = weight, math.sqrt(2) * weight
    length = math.exp(-1 / (2 * SIGMA**2))
    expected = [10 * (weight**2 / (one * one)) / 4, 10 * (weight**2 / (one * two)) / 4 * length]
    assert score == pytest.approx(sum(expected) / 2)


def test_repeating_a_word_does_not_pay() -> None:
    references = [["cup"], ["dog"]]
    once, _ = cider_d(["cup", "dog"], references)
    thrice, _ = cider_d(["cup cup cup", "dog"], references)
    assert thrice == pytest.approx(once / 3 * math.exp(-4 / (2 * SIGMA**2)))


def test_every_picture_needs_references() -> None:
    with pytest.raises(InputError, match="1 captions for 2 pictures"):
        cider_d(["a"], [["a"], ["b"]])
    with pytest.raises(InputError, match="1 of them without references"):
        cider_d(["a", "b"], [["a"], []])
    assert cider_d([], []) == []
