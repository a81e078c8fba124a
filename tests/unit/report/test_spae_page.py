"""The words on SPAE's pictures stand in their places, and only what the model made is shown."""

from __future__ import annotations

import numpy as np
import torch

from koine.report.pages.spae import SIDE, page, with_words
from koine.sentence import Image
from tests.unit.systems.spae.conftest import images, language_model, model, reader, spae, tokenizer, vocabulary

__all__ = ["images", "language_model", "model", "reader", "spae", "tokenizer", "vocabulary"]

WORDS = ["cube", "red"]


def dark(side: int = 64) -> Image:
    return Image(np.full((side, side, 3), 40, np.uint8))


def lit(picture: Image) -> np.ndarray:
    """Where letters are."""
    return picture.pixels.min(axis=2) > 200


def test_each_word_stands_in_its_cell():
    found = lit(with_words(dark(), torch.zeros(2, 2, dtype=torch.int64), WORDS, frozenset()))
    assert found.shape == (SIDE, SIDE)
    half = SIDE // 2
    for rows in (slice(0, half), slice(half, SIDE)):
        for columns in (slice(0, half), slice(half, SIDE)):
            assert found[rows, columns].any()
    assert not found[half - 20 : half + 20].any()


def test_words_of_a_fine_layer_do_not_touch():
    found = lit(with_words(dark(), torch.zeros(8, 8, dtype=torch.int64), WORDS, frozenset()))
    cell = SIDE // 8
    assert not found[:, ::cell].any()


def test_true_words_are_underlined():
    layer = torch.tensor([[0, 1]])
    plain = with_words(dark(), layer, WORDS, frozenset()).pixels.astype(int)
    underlined = with_words(dark(), layer, WORDS, frozenset({"red"})).pixels.astype(int)
    changed = np.abs(plain - underlined).sum(axis=2) > 0
    assert not changed[:, : SIDE // 2].any()
    assert changed[:, SIDE // 2 :].any()


def test_page_shows_each_layer_and_judges_by_the_truth(spae):
    section = page(spae, seed=0)
    assert [figure.caption.split(":")[0] for figure in section.figures] == [
        "what the encoder saw",
        "layer 1",
        "layer 2",
        "layer 3",
    ]
    assert "16 more words, 21 in all" in section.figures[-1].caption
    names = [answer for answer in section.answers if answer.task == "a name by two examples"]
    assert all(answer.correct == answer.answer.text.startswith(answer.truth.text) for answer in names)
