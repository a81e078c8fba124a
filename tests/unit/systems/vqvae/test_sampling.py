"""Drawing: what temperature, top-k and top-p let through, and grids that are the same with and without a cache."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from koine.errors import InputError
from koine.systems.vqvae.cached_sampling import sample
from koine.systems.vqvae.pixelcnn import GatedPixelCNN
from koine.systems.vqvae.sampling import SamplingOptions, draw, draw_uniforms, sample_naively

SHARES = torch.tensor([0.1, 0.5, 0.15, 0.25])


def frequencies(options: SamplingOptions) -> Tensor:
    """How often each code is drawn at evenly spread uniforms."""
    uniforms = torch.arange(0.5, 1000, dtype=torch.float64) / 1000
    codes = draw(SHARES.log().expand(1000, 4), uniforms, options)
    return torch.bincount(codes, minlength=4) / 1000


def test_codes_are_drawn_as_often_as_they_are_likely() -> None:
    torch.testing.assert_close(frequencies(SamplingOptions()), SHARES, atol=2e-3, rtol=0)


def test_temperature_sharpens_and_zero_takes_the_likeliest() -> None:
    sharper = SHARES.square() / SHARES.square().sum()
    torch.testing.assert_close(frequencies(SamplingOptions(temperature=0.5)), sharper, atol=2e-3, rtol=0)
    assert frequencies(SamplingOptions(temperature=0))[1] == 1


def test_top_k_and_top_p_leave_the_likeliest() -> None:
    two_of_three = torch.tensor([0, 2 / 3, 0, 1 / 3])
    torch.testing.assert_close(frequencies(SamplingOptions(top_k=2)), two_of_three, atol=2e-3, rtol=0)
    torch.testing.assert_close(frequencies(SamplingOptions(top_p=0.7)), two_of_three, atol=2e-3, rtol=0)
    assert frequencies(SamplingOptions(top_p=0.01))[1] == 1  # the likeliest always stays


def test_the_largest_uniform_draws_a_code_that_can_be_drawn() -> None:
    # Seven sevenths add up to a little less than 1, which the uniform lies above.
    almost_one = torch.tensor([1 - 1e-16], dtype=torch.float64)
    logits = torch.cat([torch.zeros(1, 7), torch.full((1, 2), -1.0)], dim=1)
    assert logits[:, :7].double().softmax(dim=-1).cumsum(dim=-1)[0, -1] < almost_one
    assert draw(logits, almost_one, SamplingOptions(top_k=7)).item() == 6


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"temperature": -1}, "out of range"),
        ({"temperature": float("nan")}, "out of range"),
        ({"top_k": -1}, "negative"),
        ({"guidance": -1}, "out of range"),
        ({"guidance": float("inf")}, "out of range"),
        ({"top_p": 0.0}, "out of range"),
    ],
)
def test_options_out_of_range_are_bad_input(wrong: dict[str, float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        SamplingOptions(**wrong)  # type: ignore[arg-type]


def build(**options: object) -> GatedPixelCNN:
    return GatedPixelCNN(12, **{"width": 8, "layers": 4, "head": 16, "attributes": (2, 3), **options}).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("grid", [(8, 8), (16, 16), (3, 7), (1, 20), (5, 1)], ids=str)
@pytest.mark.parametrize("options", [SamplingOptions(), SamplingOptions(0.7, top_k=5, top_p=0.9)], ids=["1", "cut"])
def test_with_and_without_a_cache_the_same_grid_is_drawn(grid: tuple[int, int], options: SamplingOptions) -> None:
    prior = build()
    classes = torch.tensor([[0, 2], [-1, 1], [-1, -1]])
    uniforms = draw_uniforms(3, grid, generator=torch.Generator().manual_seed(1))
    cached = sample(prior, uniforms, classes=classes, options=options)
    assert torch.equal(cached, sample_naively(lambda grids: prior(grids, classes), uniforms, options))


def test_other_kernels_and_text_conditions_are_cached_too() -> None:
    prior = build(first_kernel=3, kernel=5, attributes=(), text_width=6)
    text, uniforms = torch.randn(2, 6), draw_uniforms(2, (6, 6))
    expected = sample_naively(lambda grids: prior(grids, None, text), uniforms)
    assert torch.equal(sample(prior, uniforms, text=text), expected)
    assert not torch.equal(sample(prior, uniforms, text=-5 * text), expected)


def test_a_single_row_without_a_vertical_stack_is_cached_too() -> None:
    prior, uniforms = build(rows=False, codes_per_cell=2), draw_uniforms(3, (1, 20))
    for layer in prior.layers:  # biases begin at zero
        torch.nn.init.normal_(layer.horizontal.bias)
    classes, options = torch.tensor([[0, 2], [-1, 1], [-1, -1]]), SamplingOptions(guidance=2.0)
    expected = sample_naively(lambda grids: 2 * prior(grids, classes) - prior(grids), uniforms)
    assert torch.equal(sample(prior, uniforms, classes=classes, options=options), expected)
    assert torch.equal(sample(prior, uniforms), sample_naively(prior, uniforms))
    with pytest.raises(InputError, match="grids have 2 rows but the prior is one of signals"):
        sample(prior, draw_uniforms(3, (2, 20)))


def test_guidance_counts_what_the_condition_changes_so_many_times() -> None:
    prior, uniforms = build(), draw_uniforms(2, (6, 6))
    classes = torch.tensor([[0, 2], [1, -1]])
    expected = sample_naively(lambda grids: (1 - 2.5) * prior(grids) + 2.5 * prior(grids, classes), uniforms)
    assert torch.equal(sample(prior, uniforms, classes=classes, options=SamplingOptions(guidance=2.5)), expected)
    free = sample(prior, uniforms, options=SamplingOptions(guidance=2.5))  # nothing asked for: nothing to follow
    assert torch.equal(free, sample(prior, uniforms))
    assert torch.equal(sample(prior, uniforms, classes=classes, options=SamplingOptions(guidance=0)), free)


def test_given_codes_stay_and_the_rest_is_drawn_to_fit() -> None:
    prior, uniforms = build(), draw_uniforms(2, (6, 6))
    given = torch.full((2, 6, 6), -1)
    given[:, :3] = torch.randint(12, (2, 3, 6))
    grids = sample(prior, uniforms, given=given)
    assert torch.equal(grids[:, :3], given[:, :3])
    logits = prior(grids)
    for row in range(3, 6):
        for column in range(6):
            codes = draw(logits[:, :, row, column], uniforms[:, row, column], SamplingOptions())
            assert torch.equal(codes, grids[:, row, column])
    with pytest.raises(InputError, match="don't cover"):
        sample(prior, uniforms, given=given[:, :3])


def test_a_condition_belongs_to_one_grid_or_to_all() -> None:
    prior, uniforms = build(attributes=(3,)), draw_uniforms(4, (2, 2), generator=torch.Generator().manual_seed(0))
    for_all, for_each = torch.tensor([[1]]), torch.tensor([[1]] * 4)
    assert torch.equal(sample(prior, uniforms, classes=for_all), sample(prior, uniforms, classes=for_each))
    with pytest.raises(InputError, match="3 conditions for 4 grids"):
        sample(prior, uniforms, classes=for_each[:3])


def test_fewer_codes_than_top_k_is_bad_input() -> None:
    with pytest.raises(InputError, match="top_k 13 of a codebook of 12 codes"):
        sample(build(), draw_uniforms(1, (2, 2)), options=SamplingOptions(top_k=13))
