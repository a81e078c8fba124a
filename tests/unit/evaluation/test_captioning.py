"""BLEU by hand."""

from __future__ import annotations

import math

import pytest

from koine.data.karpathy import DescribedPicture
from koine.errors import InputError
from koine.evaluation.answers import Answer
from koine.evaluation.captioning import bleu, score


def test_equal_captions_score_one() -> None:
    said = ["a dog runs on the grass", "two red balls lie here"]
    assert bleu(said, [[text] for text in said]) == pytest.approx((1, 1, 1, 1))


def test_a_word_counts_no_more_often_than_one_reference_has_it() -> None:
    # the classic: seven "the", of which the first reference has two
    found = bleu(["the the the the the the the"], [["the cat is on the mat", "there is a cat on the mat"]])
    assert found[0] == pytest.approx(2 / 7)


def test_short_captions_are_penalised_by_the_nearest_reference() -> None:
    found = bleu(["the cat"], [["the cat sat", "the cat sat on the mat"]])
    assert found[0] == pytest.approx(math.exp(1 - 3 / 2))
    # as near to two words as to four: the shorter counts
    assert bleu(["a b c"], [["a b", "a b c d"]])[0] == pytest.approx(1.0)


def test_counts_are_summed_over_the_corpus_before_they_are_divided() -> None:
    found = bleu(["a b", "c d e f"], [["a x"], ["c d e f"]])
    assert found[0] == pytest.approx(5 / 6)
    assert found[1] == pytest.approx(math.sqrt(5 / 6 * 3 / 4))


def test_score_and_refusal() -> None:
    pictures = [DescribedPicture("1", "1.jpg", ("a dog on grass",)), DescribedPicture("2", "2.jpg", ("a red ball",))]
    metrics = score([Answer.of_text(picture.captions[0]) for picture in pictures], pictures)
    assert metrics["bleu1"] == pytest.approx(1) and metrics["cider"] > 100
    with pytest.raises(InputError, match="1 captions for 2 pictures"):
        bleu(["a"], [["a"], ["b"]])
