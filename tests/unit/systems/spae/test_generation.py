"""Pictures' words written by a language model, coarse to fine and in blocks."""

from __future__ import annotations

import pytest
import torch

from koine.errors import InputError
from koine.parts.residual_quantize import Pyramid
from koine.systems.spae.generation import (
    CORRUPTIONS,
    InContextPair,
    Schedule,
    corrupt,
    decode_progressively,
    denoise,
)

PYRAMID = Pyramid.square((1, 2, 4, 4))
TOKENS = torch.arange(100, 110)
SCHEDULE = Schedule(one_by_one=5, block=4, window=4)


class Copier:
    """A language model that writes what the last example of its prompt shows at the end; keeps its prompts."""

    def __init__(self) -> None:
        self.calls: list[list[list]] = []

    def continue_with(self, prompts, token_ids, *, length):
        self.calls.append(prompts)
        shown = [[piece for piece in pieces if isinstance(piece, list)] for pieces in prompts]
        return torch.tensor([rows[-2][-length:] for rows in shown])


@pytest.fixture
def codes() -> torch.Tensor:
    return torch.arange(37) % 10


def test_an_example_is_written_again_segment_by_segment(codes):
    copier = Copier()
    pair = InContextPair(["a picture"], codes)
    found = decode_progressively(copier, [pair], ["a picture"], PYRAMID, TOKENS, schedule=SCHEDULE)
    assert torch.equal(found, codes)
    # one call for each layer; the long ones in blocks of four side by side
    assert [len(prompts) for prompts in copier.calls] == [1, 1, 4, 4]


def test_coarse_segments_see_all_words_above_and_blocks_see_near_ones(codes):
    copier = Copier()
    decode_progressively(copier, [InContextPair(["a"], codes)], ["b"], PYRAMID, TOKENS, schedule=SCHEDULE)
    query = [[prompt[-1] for prompt in prompts] for prompts in copier.calls]
    assert [len(row) for row in query[1]] == [1]
    assert [len(row) for row in query[2]] == [5] * 4
    # blocks of the last layer: five coarse words and four of the layer above, further down for each
    assert [len(row) for row in query[3]] == [9] * 4
    near = [[int(token) - 100 for token in row[5:]] for row in query[3]]
    assert near[0] == codes[5:9].tolist()
    assert near[3] == codes[15:19].tolist()


def test_fewer_layers(codes):
    found = decode_progressively(Copier(), [InContextPair(["a"], codes)], ["a"], PYRAMID, TOKENS, layers=2)
    assert torch.equal(found, codes[:5])


def test_no_examples():
    with pytest.raises(InputError, match="no example"):
        decode_progressively(Copier(), [], ["a"], PYRAMID, TOKENS)


def test_examples_with_too_few_words(codes):
    with pytest.raises(InputError, match="an example has 5 words, but 37"):
        decode_progressively(Copier(), [InContextPair(["a"], codes[:5])], ["a"], PYRAMID, TOKENS)


def test_denoising_shows_corrupted_and_clean_blocks(codes):
    class Last(Copier):
        def continue_with(self, prompts, token_ids, *, length):
            self.calls.append(prompts)
            return torch.tensor([[piece for piece in p if isinstance(piece, list)][-1][:length] for p in prompts])

    reader = Last()
    noisy = corrupt(codes[:20], 0.5, 10, torch.Generator().manual_seed(0))
    found = denoise(reader, [codes[:20]], [noisy], codes[:20], TOKENS, schedule=SCHEDULE)
    assert torch.equal(found, codes[:20])
    pieces = [piece for piece in reader.calls[0][0] if isinstance(piece, list)]
    assert pieces[0] == (noisy[:4] + 100).tolist()
    assert pieces[1] == (codes[:4] + 100).tolist()


def test_denoising_needs_pairs_of_one_length(codes):
    with pytest.raises(InputError, match="pairs of as many words as the query's 37"):
        denoise(Copier(), [codes[:4]], [codes[:4]], codes, TOKENS)


def test_denoising_needs_a_pair_of_each(codes):
    with pytest.raises(InputError, match="2 clean and 1 corrupted examples: give pairs"):
        denoise(Copier(), [codes, codes], [codes], codes, TOKENS)


def test_share_of_replaced_words():
    codes = torch.full((4000,), 5)
    found = corrupt(codes, CORRUPTIONS[0], 1000, torch.Generator().manual_seed(0), keep=100)
    assert (found[:100] == 5).all()
    assert float((found[100:] != 5).float().mean()) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("options", [{"one_by_one": 0}, {"block": 0}, {"window": -1}])
def test_schedules_that_write_nothing(options):
    with pytest.raises(InputError, match="writes nothing"):
        Schedule(**options)
