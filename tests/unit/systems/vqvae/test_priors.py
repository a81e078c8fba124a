"""Priors: what a place may see, what they are told, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from koine.errors import InputError
from koine.systems.vqvae.pixelcnn import GatedPixelCNN
from koine.systems.vqvae.pixelsnail import PixelSnail

CODES = 9
SIZES: dict[str, Any] = {"width": 8, "layers": 4, "head": 16}
SNAIL: dict[str, Any] = {"width": 16, "inner": 8, "blocks": 2, "residual_blocks": 2}


def seen_from(logits_of: Any, grid: Tensor) -> Tensor:
    """[places, places] bool: whether the logits at a place (row) change with the code at another (column)."""
    places = grid[0].numel()
    before = logits_of(grid).flatten(2)
    changed = []
    for place in range(places):
        other = grid.clone().flatten(1)
        other[:, place] = (other[:, place] + 1) % CODES
        difference = (logits_of(other.view_as(grid)).flatten(2) - before).abs().amax(dim=(0, 1))
        changed.append(difference > 0)
    return torch.stack(changed, dim=1)


@pytest.mark.parametrize("layers", [1, 2, 6])
@pytest.mark.parametrize("kernels", [(7, 3), (3, 5)], ids=str)
@torch.inference_mode()
def test_a_place_of_a_pixelcnn_sees_nothing_at_or_after_it(layers: int, kernels: tuple[int, int]) -> None:
    prior = GatedPixelCNN(CODES, **{**SIZES, "layers": layers}, first_kernel=kernels[0], kernel=kernels[1]).eval()
    seen = seen_from(prior, torch.randint(CODES, (1, 4, 5)))
    assert not seen.triu().any()
    if layers == 6:
        assert seen.sum() == 20 * 19 // 2  # deep enough, it has no blind spot


@torch.inference_mode()
def test_a_place_of_a_single_row_sees_as_far_back_as_the_layers_reach() -> None:
    prior = GatedPixelCNN(CODES, **{**SIZES, "layers": 3}, first_kernel=5, kernel=3, rows=False).eval()
    assert not any("vertical" in name for name in prior.state_dict())
    seen = seen_from(prior, torch.randint(CODES, (1, 1, 9)))
    places = torch.arange(9)
    back = places[:, None] - places
    assert torch.equal(seen, (back >= 1) & (back <= 2 + 1 + 1))
    with pytest.raises(InputError, match="grids have 2 rows but the prior is one of signals"):
        prior(torch.zeros(1, 2, 9, dtype=torch.long))


@pytest.mark.parametrize("attention", [True, False])
@torch.inference_mode()
def test_a_place_of_a_pixelsnail_sees_nothing_at_or_after_it(attention: bool) -> None:
    prior = PixelSnail(CODES, **SNAIL, attention=attention).eval()
    seen = seen_from(prior, torch.randint(CODES, (1, 4, 4)))
    assert not seen.triu().any() and seen.any()


def test_what_is_unsaid_adds_nothing_and_what_is_said_does() -> None:
    prior = GatedPixelCNN(CODES, **SIZES, attributes=(2, 3)).eval()
    grids = torch.randint(CODES, (2, 4, 4))
    unsaid = prior(grids, torch.full((2, 2), -1))
    torch.testing.assert_close(unsaid, prior(grids))
    said = prior(grids, torch.tensor([[1, -1], [-1, 2]]))
    assert ((said - unsaid).abs().amax(dim=(1, 2, 3)) > 0).all()


def test_the_condition_is_the_same_everywhere() -> None:
    prior = GatedPixelCNN(CODES, **SIZES, attributes=(2,)).eval()
    nn.init.zeros_(prior.embedding.weight)
    logits = prior(torch.zeros(1, 9, 9, dtype=torch.long), torch.tensor([[1]]))
    # Biases alone would fade in from the borders; away from them all places are alike.
    torch.testing.assert_close(logits[..., 8, 4], logits[..., 7, 4])


def test_a_text_vector_conditions_as_classes_do() -> None:
    prior = GatedPixelCNN(CODES, **SIZES, text_width=5).eval()
    grids = torch.randint(CODES, (1, 4, 4))
    assert not torch.equal(prior(grids, None, torch.randn(1, 5)), prior(grids))
    with pytest.raises(InputError, match="width 4: the prior takes 5"):
        prior(grids, None, torch.randn(1, 4))


@pytest.mark.parametrize(
    ("grids", "classes", "words"),
    [
        (torch.full((1, 4, 4), CODES), None, "codes from 9 to 9 but the prior knows 0 to 8"),
        (torch.zeros(0, 4, 4, dtype=torch.long), None, "none of them 0"),
        (torch.zeros(4, 4, dtype=torch.long), None, "give .batch, rows, columns."),
        (torch.zeros(1, 4, 4, dtype=torch.long), torch.tensor([[0]]), "one class for each attribute"),
        (torch.zeros(1, 4, 4, dtype=torch.long), torch.tensor([[0, 3]]), "attribute 1 has classes from 3 to 3"),
    ],
)
def test_what_does_not_fit_is_bad_input(grids: Tensor, classes: Tensor | None, words: str) -> None:
    with pytest.raises(InputError, match=words):
        GatedPixelCNN(CODES, **SIZES, attributes=(2, 3))(grids, classes)


def test_conditions_are_as_many_as_grids() -> None:
    prior = GatedPixelCNN(CODES, **SIZES, attributes=(2,))
    with pytest.raises(InputError, match="3 conditions for 4 grids"):
        prior(torch.zeros(4, 4, 4, dtype=torch.long), torch.zeros(3, 1, dtype=torch.long))


def test_kernels_must_have_a_centre_and_the_first_a_neighbour() -> None:
    for kernels in ({"kernel": 4}, {"first_kernel": 4}, {"first_kernel": 1}):
        with pytest.raises(InputError, match="odd"):
            GatedPixelCNN(CODES, **SIZES, **kernels)
    with pytest.raises(InputError, match="odd"):
        PixelSnail(CODES, **SNAIL, kernel=4)
    with pytest.raises(InputError, match=r"width 24 .* multiple of 16"):
        PixelSnail(CODES, **{**SNAIL, "width": 24})


def test_a_pixelsnail_refuses_codes_that_the_codebook_has_not() -> None:
    for grids in (torch.full((1, 4, 4), CODES), torch.full((1, 4, 4), -1)):
        with pytest.raises(InputError, match="the prior knows 0 to 8"):
            PixelSnail(CODES, **SNAIL)(grids)


def test_the_bottom_prior_needs_the_coarse_grid_and_the_top_none() -> None:
    bottom = PixelSnail(CODES, **SNAIL, attention=False, condition_blocks=1, condition_width=6).eval()
    fine, coarse = torch.randint(CODES, (1, 4, 4)), torch.randint(CODES, (1, 2, 2))
    assert not torch.equal(bottom(fine, coarse), bottom(fine, (coarse + 1) % CODES))
    with pytest.raises(InputError, match="bottom prior"):
        bottom(fine)
    with pytest.raises(InputError, match="bottom prior"):
        PixelSnail(CODES, **SNAIL)(fine, coarse)
    with pytest.raises(InputError, match="not half"):
        bottom(fine, fine)
