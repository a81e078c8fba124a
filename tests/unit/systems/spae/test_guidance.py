"""Candidates and the semantic loss."""

from __future__ import annotations

import math

import pytest
import torch

from koine.errors import InputError
from koine.systems.spae import guidance
from koine.systems.spae.guidance import (
    candidate_pools,
    draw_candidates,
    semantic_loss,
    similarities,
    word_vectors,
)

IMAGES = torch.tensor([[1.0, 0.0]])
WORDS = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])


def test_minmax_spreads_each_pictures_cosines():
    torch.testing.assert_close(similarities(IMAGES, WORDS), torch.tensor([[1.0, 0.6, 0.0]]))


def test_max_divides_by_the_largest():
    torch.testing.assert_close(similarities(IMAGES / 2, WORDS, rescaling="max"), torch.tensor([[1.0, 0.6, 0.0]]))


def test_words_that_do_not_guide_are_never_candidates():
    found = similarities(IMAGES, WORDS, guided=torch.tensor([False, True, True]))
    torch.testing.assert_close(found, torch.tensor([[-math.inf, 1.0, 0.0]]))


def test_what_a_word_is_to_all_pictures_is_taken_off():
    found = similarities(IMAGES, WORDS, usual=torch.tensor([0.9, 0.0, 0.0]))
    assert found.argmax() == 1


def test_words_that_fit_alike_are_all_the_best():
    alone = similarities(IMAGES, WORDS, guided=torch.tensor([False, True, False]))
    assert alone.tolist() == [[-math.inf, 1.0, -math.inf]]
    assert similarities(IMAGES, WORDS[:1].expand(3, 2)).tolist() == [[1.0, 1.0, 1.0]]


def test_autocast_does_not_blur_what_thresholds_compare():
    generator = torch.Generator().manual_seed(0)
    images, words = (torch.nn.functional.normalize(torch.randn(n, 8, generator=generator)) for n in (2, 50))
    with torch.autocast("cpu", torch.bfloat16):
        found = similarities(images, words)
    assert torch.equal(found, similarities(images, words))


def test_no_word_guides():
    with pytest.raises(InputError, match="none of the codebook's words may guide"):
        similarities(IMAGES, WORDS, guided=torch.zeros(3, dtype=torch.bool))


def test_unknown_rescaling():
    with pytest.raises(InputError, match="rescaling"):
        similarities(IMAGES, WORDS, rescaling="softmax")


def test_pools_shrink_with_the_threshold():
    pools = candidate_pools(similarities(IMAGES, WORDS), (0.9, 0.5))
    assert pools.tolist() == [[[True, False, False]], [[True, True, False]]]


def test_candidates_are_drawn_evenly_in_the_codebooks_order():
    pool = torch.tensor([[False, True, False, True, True]])
    uniforms = torch.tensor([[[0.0, 0.33], [0.34, 0.999]]])
    assert draw_candidates(pool, uniforms).tolist() == [[[1, 1], [3, 4]]]


def test_loss_is_cross_entropy_over_negative_squared_distances():
    codebook = torch.tensor([[0.0], [1.0]])
    found = semantic_loss([torch.zeros(1, 1, 1, 1)], codebook, [torch.tensor([[[1]]])])
    assert float(found) == pytest.approx(math.log(1 + math.e))


def test_large_vocabularies_are_searched_in_parts_with_the_same_gradients(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    codebook, chosen = torch.randn(9, 4, generator=generator), torch.randint(9, (2, 2, 2), generator=generator)
    gradients = []
    for at_once in (2**20, 20):
        monkeypatch.setattr(guidance, "_AT_ONCE", at_once)
        vectors = torch.ones(2, 2, 2, 4, requires_grad=True)
        semantic_loss([vectors], codebook, [chosen]).backward()
        gradients.append(vectors.grad)
    torch.testing.assert_close(*gradients)


def test_words_are_averaged_over_templates_in_portions():
    vectors = {"red": [1.0, 0.0], "a red": [0.0, 1.0], "blue": [0.0, 1.0], "a blue": [0.0, 1.0]}
    found = word_vectors(
        lambda texts: torch.tensor([vectors[text] for text in texts]), ["red", "blue"], ("{}", "a {}"), at_once=1
    )
    torch.testing.assert_close(found, torch.tensor([[0.5**0.5, 0.5**0.5], [0.0, 1.0]]))
