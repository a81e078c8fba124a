"""What masked modelling hides."""

import numpy as np
import pytest
import torch

from koine.errors import InputError
from koine.parts.masking import Blocks, WordMasking, block_masks, mask_words, random_mask, split_by_mask


def test_random_masks_hide_the_same_number_in_each_row():
    mask = random_mask(500, 40, 0.75, generator=torch.Generator().manual_seed(0))
    assert mask.sum(1).tolist() == [30] * 500
    assert (mask.float().mean(0) - 0.75).abs().max() < 0.08


def test_what_stays_is_rounded_down():
    """Of 10 tokens a tenth would stay, but in floating point 10 * (1 - 0.9) is just less than one."""
    assert random_mask(1, 10, 0.9).all()
    assert not random_mask(1, 10, 0.0).any()


def test_given_noise_decides():
    mask = random_mask(1, 4, 0.5, noise=torch.tensor([[0.3, 0.9, 0.1, 0.5]]))
    assert mask.tolist() == [[False, True, False, True]]
    visible, hidden = split_by_mask(mask)
    assert visible.tolist() == [[0, 2]] and hidden.tolist() == [[1, 3]]


@pytest.mark.parametrize("ratio", [-0.1, 1.1])
def test_shares_outside_zero_to_one_are_refused(ratio):
    with pytest.raises(InputError, match="from 0 to 1"):
        random_mask(1, 4, ratio)


def test_block_masks_hide_exactly_so_many_patches_in_each_image():
    masks = block_masks(Blocks((14, 14), 75), 64, np.random.default_rng(0))
    assert masks.sum(axis=(1, 2)).tolist() == [75] * 64


def test_block_masks_hang_together():
    """Most hidden patches have a hidden neighbour to the right, unlike with random patches of the same number."""
    generator = np.random.default_rng(0)
    masks = block_masks(Blocks((14, 14), 75), 64, generator)

    def share(masks: np.ndarray) -> float:
        return float((masks[:, :, :-1] & masks[:, :, 1:]).sum() / masks[:, :, :-1].sum())

    scattered = generator.permuted(masks.reshape(64, -1), axis=1).reshape(masks.shape)
    assert share(masks) > 0.7 > 0.5 > share(scattered)


def test_block_masks_work_at_the_edges_of_what_can_be_asked():
    assert not block_masks(Blocks((3, 5), 0), 2, np.random.default_rng(0)).any()
    assert block_masks(Blocks((3, 5), 15, smallest=1), 2, np.random.default_rng(0)).all()
    with pytest.raises(InputError, match="up to 15"):
        Blocks((3, 5), 16)


def test_equal_seeds_give_equal_block_masks():
    first, second = (block_masks(Blocks((8, 8), 25, smallest=5), 4, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


HOW = WordMasking(mask_token=99, vocabulary=99)


def masked(lengths: list[int], ratio: float, how: WordMasking = HOW) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    size = max(lengths)
    ids = torch.arange(10, 10 + size).repeat(len(lengths), 1)
    generator = torch.Generator().manual_seed(0)
    return ids, *mask_words(ids, torch.tensor(lengths), ratio, how, generator=generator)


def test_as_many_words_are_chosen_as_the_share_says():
    _, _, chosen = masked([20, 20, 3, 2], 0.15)
    assert chosen.sum(1).tolist() == [3, 3, 1, 1]
    _, _, chosen = masked([20, 3], 1.0)
    assert chosen.sum(1).tolist() == [19, 2]


def test_neither_the_first_token_nor_padding_is_chosen():
    _, words, chosen = masked([5] * 200 + [12], 0.5)
    assert not chosen[:, 0].any() and not chosen[:200, 5:].any()
    assert chosen[:200, 4].any(), "the token that ends a text may be hidden"
    assert torch.equal(words[:200, 5:], torch.arange(15, 22).repeat(200, 1))


def test_chosen_words_become_mask_token_themselves_or_others_in_the_given_shares():
    ids, words, chosen = masked([101] * 100, 0.8)
    as_mask = (words == HOW.mask_token) & chosen
    unchanged = (words == ids) & chosen
    assert abs(float(as_mask.sum() / chosen.sum()) - 0.8) < 0.02
    assert abs(float(unchanged.sum() / chosen.sum()) - 0.1) < 0.02
    others = words[chosen & ~as_mask & ~unchanged]
    assert others.min() >= HOW.first_word and others.max() < HOW.vocabulary
    assert torch.equal(words[~chosen], ids[~chosen])
