"""Quantising: the nearest code, gradients through it, and codebooks that learn, stay alive and agree over processes."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, multiprocessing, nn

from koine.errors import InputError
from koine.parts import quantize
from koine.parts.moving_codebook import (
    LUCIDRAINS,
    SONNET,
    VQVAE2,
    ZALANDO,
    Averaging,
    EMAVectorQuantizer,
    SphericalQuantizer,
)
from koine.parts.quantize import (
    VectorQuantizer,
    code_counts,
    commitment_loss,
    entropy_loss,
    k_means,
    nearest_codes,
    perplexity,
    rotated_through,
    squared_distances,
    straight_through,
    usage,
)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


# -- the steps --


def test_the_nearest_code_is_found_whatever_the_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, codebook = torch.randn(3, 4, 5, 6), torch.randn(17, 6)
    expected = torch.cdist(vectors.flatten(0, 2), codebook).argmin(dim=1).view(3, 4, 5)
    assert torch.equal(nearest_codes(vectors, codebook), expected)
    monkeypatch.setattr(quantize, "_SEARCHED_AT_ONCE", 17 * 7)  # seven vectors at a time
    assert torch.equal(nearest_codes(vectors, codebook), expected)


def test_the_lowest_code_wins_a_tie() -> None:
    codebook = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert nearest_codes(torch.tensor([1.0, 0.0]), codebook) == 0


def test_by_cosine_length_does_not_count() -> None:
    codebook = torch.tensor([[10.0, 0.0], [0.3, 0.3]])
    assert nearest_codes(torch.tensor([0.5, 0.1]), codebook) == 1
    assert nearest_codes(torch.tensor([0.5, 0.1]), codebook, cosine=True) == 0


def test_nothing_to_search_gives_nothing() -> None:
    assert nearest_codes(torch.zeros(0, 4, 3), torch.randn(5, 3)).shape == (0, 4)


def test_distances_keep_their_digits_under_autocast() -> None:
    vectors, codebook = 100 + torch.rand(20, 8), 100 + torch.rand(9, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = squared_distances(vectors, codebook)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.cdist(vectors, codebook).square(), atol=0.1, rtol=0)


def test_another_width_than_the_codebooks_is_bad_input() -> None:
    with pytest.raises(InputError, match=r"width 5 don't fit a codebook of width 6"):
        nearest_codes(torch.randn(2, 5), torch.randn(3, 6))
    for quantizer in (VectorQuantizer(3, 6), EMAVectorQuantizer(3, 6), SphericalQuantizer(3, 6)):
        with pytest.raises(InputError, match="width 5"):
            quantizer(torch.randn(2, 5))
    with pytest.raises(InputError, match="holds nothing"):
        VectorQuantizer(0, 4)


def test_straight_through_gives_codes_and_passes_gradients_on() -> None:
    vectors, codes = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3)
    out = straight_through(vectors, codes)
    torch.testing.assert_close(out, codes)
    out.backward(weight := torch.randn(4, 3))
    assert vectors.grad is not None and torch.equal(vectors.grad, weight)


def test_the_rotation_trick_turns_gradients_as_it_turns_vectors() -> None:
    vectors, codes = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3)
    out = rotated_through(vectors, codes)
    torch.testing.assert_close(out, codes)
    # A gradient along the code reaches the vector along the vector, scaled by the ratio of lengths.
    out.backward(codes / codes.norm(dim=1, keepdim=True))
    scale = codes.norm(dim=1, keepdim=True) / vectors.detach().norm(dim=1, keepdim=True)
    torch.testing.assert_close(vectors.grad, scale * nn.functional.normalize(vectors.detach(), dim=1))


def test_the_commitment_is_a_mean_over_all_elements() -> None:
    assert commitment_loss(torch.zeros(5, 4), torch.full((5, 4), 2.0)) == 4


def test_perplexity_and_usage_count_codes() -> None:
    counts = code_counts(torch.tensor([[0, 1], [2, 3]]), 8)
    assert perplexity(counts).item() == pytest.approx(4, abs=1e-4)
    assert usage(counts) == 0.5
    assert perplexity(code_counts(torch.zeros(9, dtype=torch.long), 8)).item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("target", ["softmax", "argmax"])
def test_entropy_is_least_where_choices_are_sure_and_all_codes_are_chosen(target: str) -> None:
    sure_and_even = torch.full((4, 4), 9.0).fill_diagonal_(0.0)
    sure_of_one = torch.full((4, 4), 9.0)
    sure_of_one[:, 0] = 0.0
    even = entropy_loss(sure_and_even, target=target)  # type: ignore[arg-type]
    assert even.item() == pytest.approx(-math.log(4), abs=1e-3)
    assert entropy_loss(sure_of_one, target=target).item() == pytest.approx(0, abs=1e-3)  # type: ignore[arg-type]


def test_k_means_finds_groups_and_leaves_means_that_nobody_chooses() -> None:
    centres = torch.tensor([[0.0, 0.0], [5.0, 0.0]])
    vectors = torch.cat([centre + 0.1 * torch.randn(50, 2) for centre in centres])
    means, counts = k_means(vectors, torch.tensor([[1.0, 1.0], [4.0, 1.0], [99.0, 99.0]]))
    torch.testing.assert_close(means[:2], centres, atol=0.1, rtol=0)
    assert torch.equal(means[2], torch.tensor([99.0, 99.0])) and counts.tolist() == [50, 50, 0]


# -- codebooks --

EVERY: dict[str, Callable[[], nn.Module]] = {
    "gradient": lambda: VectorQuantizer(16, 4),
    "gradient, k-means": lambda: VectorQuantizer(16, 4, warm_start=True),
    "entropy": lambda: VectorQuantizer(16, 4, entropy=0.1, normalized=True),
    "sonnet": lambda: EMAVectorQuantizer(16, 4, averaging=SONNET),
    "vq-vae-2": lambda: EMAVectorQuantizer(16, 4, averaging=VQVAE2),
    "zalando": lambda: EMAVectorQuantizer(16, 4, averaging=ZALANDO),
    "lucidrains": lambda: EMAVectorQuantizer(16, 4, averaging=LUCIDRAINS, estimator="rotation"),
    "restarted": lambda: EMAVectorQuantizer(16, 4, averaging=Averaging(restart_below=0.5), warm_start=True),
    "spherical": lambda: SphericalQuantizer(16, 4),
}


@pytest.mark.parametrize("build", EVERY.values(), ids=EVERY)
def test_training_survives_batches_that_use_one_code_only(build: Callable[[], nn.Module]) -> None:
    quantizer = build()
    for _ in range(3):
        vectors = torch.ones(2, 3, 4, requires_grad=True)
        found = quantizer(vectors)
        (found.loss + found.vectors.sum()).backward()
        assert torch.isfinite(found.vectors).all() and torch.isfinite(vectors.grad).all()  # type: ignore[arg-type]
        assert found.indices.unique().numel() == 1 and found.perplexity.item() == pytest.approx(1, abs=1e-3)
    assert all(torch.isfinite(tensor).all() for tensor in quantizer.state_dict().values())


@pytest.mark.parametrize("build", EVERY.values(), ids=EVERY)
def test_evaluation_gives_codes_to_the_bit_and_moves_none(build: Callable[[], nn.Module]) -> None:
    quantizer = build().eval()
    before = quantizer.codebook.clone()  # type: ignore[operator, union-attr]
    with torch.no_grad():
        found = quantizer(torch.randn(3, 5, 4))
    assert torch.equal(found.vectors, before[found.indices])
    assert torch.equal(quantizer.codebook, before)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("build", EVERY.values(), ids=EVERY)
def test_a_model_of_any_precision_finds_the_same_codes(build: Callable[[], nn.Module], kind: torch.dtype) -> None:
    quantizer = build().eval()
    quantizer.codebook.data = quantizer.codebook.bfloat16().half().float()  # type: ignore[operator, union-attr]
    vectors = quantizer.codebook[torch.tensor([[3, 7, 11]])].detach().clone()  # type: ignore[index]
    found = quantizer.to(kind)(vectors.to(kind))
    assert found.indices.tolist() == [[3, 7, 11]] and found.vectors.dtype == kind


@pytest.mark.parametrize("name", ["sonnet", "zalando", "restarted", "spherical"])
def test_averages_are_followed_in_double_precision_and_refused_in_half(name: str) -> None:
    """In half precision a step of a hundredth is lost, and nobody would see that nothing is learnt."""
    quantizer = EVERY[name]().double()
    before = quantizer.codebook.clone()  # type: ignore[operator, union-attr]
    quantizer(torch.randn(40, 4, dtype=torch.float64))
    assert not torch.equal(quantizer.codebook, before)  # type: ignore[arg-type]
    for kind in (torch.float16, torch.bfloat16):
        with pytest.raises(InputError, match=f"averages in {kind} would stand still.*train it under autocast"):
            EVERY[name]().to(kind)(torch.randn(40, 4, dtype=kind))


@pytest.mark.parametrize("build", EVERY.values(), ids=EVERY)
def test_a_saved_codebook_goes_on_as_if_never_stopped(build: Callable[[], nn.Module]) -> None:
    first, second = build(), build()
    first(torch.randn(40, 4))
    second.load_state_dict(first.state_dict())
    batch = torch.randn(40, 4)
    torch.manual_seed(1)
    expected = first(batch)
    torch.manual_seed(1)
    assert torch.equal(second(batch).indices, expected.indices)
    assert all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in first.state_dict().items())


def groups(count: int = 400) -> Tensor:
    """Vectors around 16 places, far from the origin."""
    return 5 + torch.randn(16, 4)[torch.randint(16, (count,))] + 0.02 * torch.randn(count, 4)


def test_the_first_step_of_debiased_averages_is_one_of_k_means() -> None:
    quantizer = EMAVectorQuantizer(16, 4)
    vectors, start = torch.randn(200, 4), quantizer.codebook.clone()
    quantizer(vectors)
    expected, counts = k_means(vectors, start, iterations=1)
    torch.testing.assert_close(quantizer.codebook[counts > 0], expected[counts > 0], atol=1e-4, rtol=1e-4)


def test_dead_codes_vanish_or_explode_as_published_and_restart_if_asked() -> None:
    vectors = groups()
    used: dict[str, float] = {}
    for name, averaging in (("plain", SONNET), ("restarted", Averaging(restart_below=1.0))):
        quantizer = EMAVectorQuantizer(32, 4, averaging=averaging)
        for _ in range(5):
            found = quantizer(vectors)
        used[name] = usage(code_counts(found.indices, 32)).item()
        if name == "plain":
            dead = torch.bincount(found.indices, minlength=32) == 0
            assert dead.any() and quantizer.codebook[dead].abs().max() < 1e-3
    assert used["plain"] < 0.5 < used["restarted"]
    exploding = EMAVectorQuantizer(32, 4, averaging=VQVAE2)
    for _ in range(5):
        exploding(vectors)
    assert exploding.codebook.abs().max() > 1e3


def test_a_start_by_k_means_uses_the_codebook_at_once() -> None:
    quantizer = EMAVectorQuantizer(16, 4, warm_start=True)
    assert usage(code_counts(quantizer(groups()).indices, 16)) > 0.9


def test_spherical_codes_stay_on_the_sphere_and_idle_ones_stay_put() -> None:
    quantizer = SphericalQuantizer(16, 4, warm_start=False, decay=0.5)
    start = quantizer.codebook.clone()
    found = quantizer(start[:1] * 7)
    assert found.indices.item() == 0 and found.loss.item() == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(quantizer.codebook.norm(dim=1), torch.ones(16))
    torch.testing.assert_close(quantizer.codebook[1:], start[1:])


def test_an_empty_batch_moves_nothing() -> None:
    for quantizer in (EMAVectorQuantizer(4, 3), SphericalQuantizer(4, 3, warm_start=False)):
        before = quantizer.codebook.clone()
        assert quantizer(torch.zeros(0, 3)).indices.shape == (0,)
        torch.testing.assert_close(quantizer.codebook, before)


@pytest.mark.parametrize(
    "build", [lambda: EMAVectorQuantizer(4, 3), lambda: SphericalQuantizer(4, 3, warm_start=False)]
)
def test_processes_share_counts_and_sums_in_training_only(
    build: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The main process evaluates alone: whatever it shared then would wait for the others for ever."""
    shared = []
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "all_reduce", shared.append)
    quantizer, vectors = build(), torch.randn(5, 3)
    quantizer.eval()(vectors)
    assert not shared
    quantizer.train()(vectors)
    assert [tuple(tensor.shape) for tensor in shared] == [(4,), (4, 3)]


def _one_process(rank: int, store: str, results: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    torch.manual_seed(rank)  # different random numbers: restarts must take the first process's
    state = torch.load(f"{results}/start.pt", weights_only=True)
    quantizer = EMAVectorQuantizer(8, 4, averaging=Averaging(restart_below=0.4))
    quantizer.load_state_dict(state)
    for batch in torch.load(f"{results}/batches.pt", weights_only=True):
        quantizer(batch.chunk(2)[rank])
    torch.save(quantizer.state_dict(), f"{results}/{rank}.pt")
    distributed.barrier()  # neither leaves while the other still talks to it
    distributed.destroy_process_group()


@pytest.mark.slow  # two processes import torch
def test_two_processes_move_their_codebooks_alike(tmp_path: Path) -> None:
    start = EMAVectorQuantizer(8, 4, averaging=Averaging(restart_below=0.4))
    batches = torch.randn(3, 40, 4)
    torch.save(start.state_dict(), tmp_path / "start.pt")
    torch.save(batches, tmp_path / "batches.pt")
    multiprocessing.spawn(_one_process, (str(tmp_path / "store"), str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    alone = EMAVectorQuantizer(8, 4)  # without restarts, which draw differently
    alone.load_state_dict(start.state_dict())
    alone(batches[0])
    assert first["counts"].sum().item() == pytest.approx(40 * (1 - 0.99**3), rel=0.3)
    assert alone.counts.sum().item() == pytest.approx(40 * 0.01, rel=1e-4)
