"""Layers of codes: where they lie, what they stand for, and what is refused."""

from __future__ import annotations

import pytest
import torch

from koine.errors import InputError
from koine.parts.residual_quantize import Pyramid, combine_codes, fill, quantize_layers


@pytest.fixture
def codebook() -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(64, 16, generator=torch.Generator().manual_seed(0)), dim=-1)


@pytest.fixture
def vectors() -> torch.Tensor:
    return torch.randn(2, 8, 8, 16, generator=torch.Generator().manual_seed(1)) / 4


class TestPyramid:
    def test_published_pyramid_has_its_words_at_dilated_places(self):
        pyramid = Pyramid.square((1, 2, 4, 8, 16, 16))
        assert pyramid.lengths == (1, 5, 21, 85, 341, 597)
        rows = [list(range(16))[pyramid.places(layer)[0]] for layer in range(6)]
        assert rows[:3] == [[8], [4, 12], [2, 6, 10, 14]]
        assert rows[3] == list(range(1, 16, 2))
        assert rows[4] == rows[5] == list(range(16))

    def test_every_place_has_two_words_at_the_end_and_85_have_three(self):
        counts = Pyramid.square((1, 2, 4, 8, 16, 16)).counts()[-1]
        assert counts.min() == 2
        assert int((counts == 3).sum()) == 85

    def test_layers_need_not_be_square(self):
        pyramid = Pyramid(((1, 2), (2, 4)))
        assert pyramid.lengths == (2, 10)
        assert pyramid.counts()[0].tolist() == [[0, 0, 0, 0], [0, 1, 0, 1]]

    def test_codes_are_split_in_layer_and_raster_order(self):
        parts = Pyramid.square((1, 2, 4)).split(torch.arange(5)[None])
        assert [part.tolist() for part in parts] == [[[[0]]], [[[1, 2], [3, 4]]]]

    def test_length_counts_the_codes_of_the_first_layers(self):
        pyramid = Pyramid.square((1, 2, 4))
        assert [pyramid.length(layers) for layers in (1, 2, 3, None)] == [1, 5, 21, 21]
        for layers in (-1, 0, 4):
            with pytest.raises(InputError, match=f"layers = {layers} of a pyramid of 3"):
                pyramid.length(layers)

    def test_codes_that_end_within_a_layer_are_refused(self):
        with pytest.raises(InputError, match="6 codes don't end with a layer of the pyramid: give one of 1, 5, 21"):
            Pyramid.square((1, 2, 4)).split(torch.arange(6)[None])

    @pytest.mark.parametrize("sides", [(), (3, 8), (0, 8), (16, 8)])
    def test_layers_that_do_not_divide_the_grid_are_refused(self, sides):
        with pytest.raises(InputError, match="pyramid"):
            Pyramid.square(sides)


class TestAverage:
    def test_second_word_is_chosen_for_what_the_mean_still_lacks(self):
        codebook = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
        found = quantize_layers(torch.tensor([[[[0.5, 0.4]]]]), codebook, Pyramid.square((1, 1)))
        assert [part.item() for part in found.tokens] == [0, 1]
        # twice the vector, less the first word
        torch.testing.assert_close(found.targets[1].flatten(), torch.tensor([0.0, 0.8]))
        torch.testing.assert_close(found.reconstructions[1].flatten(), torch.tensor([0.5, 0.5]))

    def test_more_layers_come_closer_where_residuals_do_not(self, vectors, codebook):
        pyramid = Pyramid.square([8] * 6)
        errors = {
            rule: (quantize_layers(vectors, codebook, pyramid, rule=rule).reconstructions - vectors)
            .square()
            .mean(dim=(1, 2, 3, 4))
            for rule in ("average", "residual")
        }
        assert (errors["average"].diff() < 0).all()
        assert errors["average"][-1] < 0.6 * errors["residual"][-1]

    def test_gradients_reach_the_vectors_through_the_remainders(self, vectors, codebook):
        vectors.requires_grad_(True)
        quantize_layers(vectors, codebook, Pyramid.square((8, 8, 8))).targets[2].sum().backward()
        assert torch.equal(vectors.grad, torch.full_like(vectors, 3.0))

    def test_words_alone_give_the_same_vectors(self, vectors, codebook):
        pyramid = Pyramid.square((1, 2, 4, 8, 8))
        found = quantize_layers(vectors, codebook, pyramid)
        for layer in range(1, 6):
            tokens = pyramid.split(found.flat_tokens[:, : pyramid.lengths[layer - 1]])
            torch.testing.assert_close(combine_codes(tokens, codebook, pyramid), found.reconstructions[layer - 1])

    def test_residual_words_add_up(self, vectors, codebook):
        pyramid = Pyramid.square((8, 8))
        found = quantize_layers(vectors, codebook, pyramid, rule="residual")
        total = codebook[found.tokens[0]] + codebook[found.tokens[1]]
        torch.testing.assert_close(combine_codes(found.tokens, codebook, pyramid, rule="residual"), total)


class TestFilling:
    @pytest.fixture
    def sparse(self):
        """Two of four places have a code: the corners of the diagonal."""
        counts = torch.tensor([[1, 0, 0], [0, 0, 0], [0, 0, 1]])
        vectors = torch.zeros(1, 3, 3, 1)
        vectors[0, 0, 0], vectors[0, 2, 2] = 1.0, 3.0
        return vectors, counts

    def test_zero_leaves_them_as_they_are(self, sparse):
        assert torch.equal(fill(*sparse, "zero"), sparse[0])

    def test_nearest_copies_the_closest(self, sparse):
        found = fill(*sparse, "nearest")[0, ..., 0]
        assert found[0].tolist()[:2] == [1, 1]
        assert found[2].tolist()[1:] == [3, 3]

    def test_mean_is_that_of_places_with_a_code(self, sparse):
        found = fill(*sparse, "mean")[0, ..., 0]
        assert found.tolist() == [[1, 2, 2], [2, 2, 2], [2, 2, 3]]

    def test_full_grids_are_not_touched(self, vectors):
        for filling in ("zero", "nearest", "mean"):
            assert fill(vectors, torch.ones(8, 8), filling) is vectors

    def test_unknown_filling(self, sparse):
        with pytest.raises(InputError, match="filling"):
            fill(*sparse, "noise")


class TestBadInput:
    def test_empty_batch(self, vectors, codebook):
        with pytest.raises(InputError, match="batch of vectors to quantise is empty"):
            quantize_layers(vectors[:0], codebook, Pyramid.square((8,)))

    def test_another_width(self, vectors, codebook):
        with pytest.raises(InputError, match="width 16 don't fit a codebook of width 12"):
            quantize_layers(vectors, codebook[:, :12], Pyramid.square((8,)))

    def test_another_grid(self, vectors, codebook):
        with pytest.raises(InputError, match="grid of 8 x 8 don't fit a pyramid over 4 x 4"):
            quantize_layers(vectors, codebook, Pyramid.square((4,)))

    def test_nan(self, vectors, codebook):
        vectors[0, 0, 0, 0] = torch.nan
        with pytest.raises(InputError, match="nan"):
            quantize_layers(vectors, codebook, Pyramid.square((8,)))

    def test_unknown_rule(self, vectors, codebook):
        with pytest.raises(InputError, match="rule"):
            quantize_layers(vectors, codebook, Pyramid.square((8,)), rule="sum")

    @pytest.mark.parametrize(
        "tokens, message",
        [
            ([], "0 layers"),
            ([torch.zeros(1, 1, 1).long()] * 3, "3 layers"),
            ([torch.zeros(1, 2, 2).long()], r"layer 1 has codes \(2, 2\), not \(1, 1\)"),
            ([torch.zeros(2, 1, 1).long(), torch.zeros(1, 8, 8).long()], "codes of 1 pictures, layer 1 of 2"),
            ([torch.zeros(1, 1, 1)], r"layer 1 has codes of torch\.float32"),
            ([torch.full((1, 1, 1), 64)], "outside of the codebook's 0 to 63"),
        ],
    )
    def test_codes_that_do_not_fit(self, tokens, message, codebook):
        with pytest.raises(InputError, match=message):
            combine_codes(tokens, codebook, Pyramid.square((1, 8)))
