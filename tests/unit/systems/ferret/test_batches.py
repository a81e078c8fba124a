"""Packing and batching: the same rows as one by one, whatever lies beside them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from koine.systems.ferret.batches import (
    CLIP_DEVIATION,
    CLIP_MEAN,
    DrawOptions,
    EncodedExample,
    PackedExamples,
    normalize,
)
from koine.systems.ferret.regions import RegionPixels

SIZE = (40, 30)


def example(length: int, regions: int = 0, image: np.ndarray | None = None) -> EncodedExample:
    ids = np.arange(100 * length, 101 * length, dtype=np.int64)
    boxes = tuple(RegionPixels(SIZE, (number, length, number + 20, length + 10)) for number in range(regions))
    return EncodedExample(ids, np.where(ids % 2, ids, -100), image, boxes)


@pytest.fixture
def packed() -> PackedExamples:
    pictures = [np.full((4, 4, 3), value, dtype=np.uint8) for value in (10, 200)]
    examples = [
        example(3, 1, pictures[0]),
        example(7),
        example(5, 2, pictures[1]),
        example(4, 0, pictures[0]),
        example(6, 1, pictures[1]),
    ]
    return PackedExamples.pack(examples, DrawOptions(points=8, anchors=(4, 2)), padding_id=9)


def test_rows_are_padded_on_the_right(packed):
    batch = packed.batch(torch.tensor([2, 0]), 0)
    assert batch.input_ids.tolist() == [[500, 501, 502, 503, 504], [300, 301, 302, 9, 9]]
    assert batch.attention_mask.tolist() == [[1] * 5, [1, 1, 1, 0, 0]]
    assert batch.labels.tolist() == [[-100, 501, -100, 503, -100], [-100, 301, -100, -100, -100]]


def test_every_row_with_an_image_brings_its_own(packed):
    batch = packed.batch(torch.tensor([3, 1, 4, 0]), 0)
    shown = (batch.pixel_values[:, 0, 0, 0] * CLIP_DEVIATION[0] + CLIP_MEAN[0]) * 255
    assert shown.round().tolist() == [10, 200, 10]
    assert batch.region_images.tolist() == [1, 2]  # of the rows 4 and 0, which are second and third with an image
    assert len(packed.images) == 2


def test_features_take_the_place_of_pixels(packed):
    packed.vision_features = torch.tensor([[[1.0]], [[2.0]]])
    batch = packed.batch(torch.tensor([4, 1, 0]), 0)
    assert batch.pixel_values is None
    assert batch.vision_features.flatten().tolist() == [2, 1]


def test_text_alone_has_neither_image_nor_regions(packed):
    batch = packed.batch(torch.tensor([1]), 0)
    assert set(batch.tensors()) == {"input_ids", "attention_mask", "labels"}
    assert set(batch.prompt_tensors()) == {"input_ids", "attention_mask"}


def test_points_follow_their_regions(packed):
    batch = packed.batch(torch.tensor([4, 2]), torch.Generator().manual_seed(0))
    assert batch.region_points.shape == (3, 8, 2)
    pixels = (batch.region_points * torch.tensor(SIZE)).round()
    lowest, highest = pixels.amin(dim=1), pixels.amax(dim=1)
    assert (lowest >= torch.tensor([[0, 6], [0, 5], [1, 5]])).all()
    assert (highest <= torch.tensor([[19, 15], [19, 14], [20, 14]])).all()
    assert batch.region_counts.tolist() == [8, 8, 8]
    assert batch.region_starts.shape == (3, 2)
    assert (batch.region_starts < torch.tensor([8, 4])).all()


def test_a_generator_decides_everything(packed):
    everyone = torch.arange(5)
    first, again, other = (packed.batch(everyone, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    for name, tensor in first.tensors().items():
        assert torch.equal(tensor, getattr(again, name))
    assert not torch.equal(first.region_points, other.region_points)


def test_with_a_seed_the_neighbours_do_not_matter(packed):
    together = packed.batch(torch.tensor([0, 2, 4]), 7)
    alone = packed.batch(torch.tensor([2]), 7)
    assert torch.equal(together.region_points[1:3], alone.region_points)
    assert torch.equal(together.region_starts[1:3], alone.region_starts)
    assert not torch.equal(alone.region_points, packed.batch(torch.tensor([2]), 8).region_points)


def test_first_indices_reach_every_point():
    drawing = DrawOptions(points=4, anchors=(3, 2))
    region = example(3, 1)
    packed = PackedExamples.pack([region] * 200, drawing)
    starts = packed.batch(torch.arange(200), torch.Generator().manual_seed(0)).region_starts
    assert starts[:, 0].unique().tolist() == [0, 1, 2, 3]
    assert starts[:, 1].unique().tolist() == [0, 1, 2]


def test_first_indices_have_nothing_to_do_with_the_points():
    packed = PackedExamples.pack([example(3, 1)] * 500, DrawOptions(points=32, anchors=(8,)))
    batch = packed.batch(torch.arange(500), torch.Generator().manual_seed(0))
    together = torch.stack((batch.region_starts[:, 0].float(), batch.region_points[:, 0, 0]))
    assert torch.corrcoef(together)[0, 1].abs() < 0.15


def test_without_sampler_there_are_no_first_indices():
    packed = PackedExamples.pack([example(3, 1)], DrawOptions(points=4))
    assert packed.batch(torch.tensor([0]), 0).region_starts.shape == (1, 0)


def test_pixels_are_normalised_with_clip_s_numbers():
    pixels = torch.tensor([[[[0, 255, 51]]]], dtype=torch.uint8)
    expected = (torch.tensor([0, 1, 0.2]) - torch.tensor(CLIP_MEAN)) / torch.tensor(CLIP_DEVIATION)
    torch.testing.assert_close(normalize(pixels).flatten(), expected)
