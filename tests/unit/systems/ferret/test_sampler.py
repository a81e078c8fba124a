"""The sampler: where it reads, what its stages choose, and that both formulations agree."""

from __future__ import annotations

import pytest
import torch

from koine.systems.ferret.sampler import (
    AverageRegionPooling,
    GeoRegionSampler,
    farthest_points,
    nearest_neighbours,
    read_features,
)


def columns_and_rows(grid: int) -> torch.Tensor:
    """[1, grid * grid, 2]: every patch holds its own column and row."""
    rows, columns = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    return torch.stack((columns, rows), dim=-1).view(1, -1, 2).float()


FIRST = torch.tensor([0])


def test_a_patch_s_feature_lies_at_its_centre():
    centres = torch.tensor([[[0.125, 0.375], [0.875, 0.625]]])  # of columns 0 and 3, rows 1 and 2, of four
    read = read_features(columns_and_rows(4), centres, FIRST)
    torch.testing.assert_close(read, torch.tensor([[[0.0, 1.0], [3.0, 2.0]]]))


def test_published_alignment_spreads_the_map_over_the_whole_image():
    points = torch.tensor([[[0.0, 1.0], [0.5, 1 / 3]]])
    read = read_features(columns_and_rows(4), points, FIRST, alignment="corners")
    torch.testing.assert_close(read, torch.tensor([[[0.0, 3.0], [1.5, 1.0]]]))


def test_published_orientation_is_mirrored():
    points = torch.rand(1, 5, 2, generator=torch.Generator().manual_seed(0))
    straight = read_features(columns_and_rows(4), points, FIRST)
    mirrored = read_features(columns_and_rows(4), points, FIRST, orientation="published")
    torch.testing.assert_close(mirrored, straight.flip(-1))


def test_between_centres_it_interpolates_and_beyond_them_it_holds():
    points = torch.tensor([[[0.25, 0.5], [0.0, 0.0], [1.0, 1.0]]])
    read = read_features(columns_and_rows(4), points, FIRST)
    torch.testing.assert_close(read, torch.tensor([[[0.5, 1.5], [0.0, 0.0], [3.0, 3.0]]]))


def test_each_region_reads_its_own_image():
    maps = torch.stack((torch.zeros(16, 3), torch.ones(16, 3), 2 * torch.ones(16, 3)))
    read = read_features(maps, torch.rand(3, 4, 2), torch.tensor([2, 0, 2]))
    assert read[:, 0, 0].tolist() == [2, 0, 2]


def test_half_precision_maps_are_read_at_exact_places():
    features = columns_and_rows(24).half()
    points = torch.rand(2, 50, 2, generator=torch.Generator().manual_seed(0))
    read = read_features(features, points, torch.tensor([0, 0]))
    exact = read_features(features.float(), points, torch.tensor([0, 0]))
    assert read.dtype == torch.float16
    assert (read.float() - exact).abs().max() < 0.01  # a rounded result, not a rounded place


def test_farthest_points_spread():
    line = torch.tensor([[[0.0, 0], [0.1, 0], [0.25, 0], [0.9, 0], [1.0, 0], [0.5, 0]]])
    assert farthest_points(line, 4, torch.tensor([1])).tolist() == [[1, 4, 5, 2]]


def test_exhausted_farthest_points_repeat_the_first():
    twice = torch.tensor([[[0.0, 0], [1.0, 1], [0.0, 0], [1.0, 1]]])
    assert farthest_points(twice, 4, torch.tensor([3])).tolist() == [[3, 0, 0, 0]]


def test_an_anchor_is_its_own_neighbour():
    points = torch.rand(2, 20, 2, generator=torch.Generator().manual_seed(0))
    neighbours = nearest_neighbours(points[:, 5:6], points, 3)
    assert (neighbours == 5).any(dim=-1).all()
    distances = (points[:, 5:6] - points).norm(dim=-1)
    assert torch.equal(neighbours[:, 0].sort().values, distances.topk(3, largest=False).indices.sort().values)


def test_geometry_stays_exact_under_autocast():
    points = 0.5 + torch.rand(1, 64, 2, generator=torch.Generator().manual_seed(0)) / 64  # a small region
    exact = nearest_neighbours(points[:, :8], points, 4).sort().values
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(nearest_neighbours(points[:, :8], points, 4).sort().values, exact)


def sampler(formulation="factored", pooling="max", seed=0) -> GeoRegionSampler:
    torch.manual_seed(seed)
    made = GeoRegionSampler(6, 10, anchors=(8, 4), neighbours=(5, 3), pooling=pooling, formulation=formulation)
    return made.eval()


def inputs(seed=1):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 16, 6, generator=generator)
    return features, torch.rand(3, 20, 2, generator=generator), torch.tensor([0, 1, 1])


@pytest.mark.parametrize("pooling", ["max", "mean"])
@pytest.mark.parametrize("gradients", [False, True])
def test_both_formulations_give_the_same_numbers(pooling, gradients):
    with torch.set_grad_enabled(gradients):
        direct = sampler("direct", pooling)(*inputs())
        factored = sampler("factored", pooling)(*inputs())
    assert direct.shape == (3, 10)
    torch.testing.assert_close(factored, direct, atol=1e-5, rtol=1e-5)


def test_both_formulations_give_the_same_gradients():
    gradients = {}
    for formulation in ("direct", "factored"):
        made = sampler(formulation).train()
        made(*inputs()).square().sum().backward()
        gradients[formulation] = {name: weight.grad for name, weight in made.named_parameters()}
    for name, gradient in gradients["direct"].items():
        torch.testing.assert_close(gradients["factored"][name], gradient, atol=1e-4, rtol=1e-4)


def test_slices_of_the_work_make_no_difference(monkeypatch):
    with torch.no_grad():
        whole = sampler()(*inputs())
        monkeypatch.setattr("koine.systems.ferret.sampler._SLICE", 1)
        torch.testing.assert_close(sampler()(*inputs()), whole)


@torch.no_grad()
def test_changed_weights_are_noticed_in_inference():
    made = sampler()
    before = made(*inputs())
    made.stages[0].difference.weight.mul_(-1)
    changed = made(*inputs())
    made.formulation = "direct"
    assert not torch.allclose(before, changed)
    torch.testing.assert_close(changed, made(*inputs()), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_weights_changed_without_a_trace_are_noticed_after_eval():
    made = sampler()
    made(*inputs())
    made.stages[1].aggregate.weight.data.mul_(-1)
    made.eval()
    changed = made(*inputs())
    made.formulation = "direct"
    torch.testing.assert_close(changed, made(*inputs()), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_product_of_the_maps_is_kept_in_inference():
    stage = sampler().stages[0]
    assert stage._fold()[0] is stage._fold()[0]


def test_regions_do_not_see_each_other():
    features, points, images = inputs()
    together = sampler()(features, points, images)
    alone = sampler()(features, points[1:2], images[1:2])
    torch.testing.assert_close(together[1:2], alone, atol=1e-6, rtol=1e-5)


def test_the_start_of_farthest_point_sampling_counts():
    features, points, images = inputs()
    starts = torch.tensor([[3, 1], [0, 0], [7, 2]])
    trace = sampler().trace(features, points, images, starts=starts)
    assert torch.stack([chosen[:, 0] for chosen in trace.anchors], dim=1).tolist() == starts.tolist()


def test_an_average_counts_each_pixel_once():
    torch.manual_seed(0)
    pooling = AverageRegionPooling(2, 3)
    points = torch.tensor([[[0.125, 0.125], [0.875, 0.875], [0.875, 0.875], [0.875, 0.875]]])
    found = pooling(columns_and_rows(4), points, FIRST, counts=torch.tensor([2]))
    torch.testing.assert_close(found, pooling.project(torch.tensor([[1.5, 1.5]])))
