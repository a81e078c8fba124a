"""Encoded examples: one by one, packed side by side, and as the batches that the network takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from koine.parts.injection import IGNORED_LABEL
from koine.systems.ferret.regions import RegionPixels, RegionTable, uniform

# CLIP's mean and standard deviation of red, green and blue, for values in 0..1.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)

# Consecutive seeds leave room for so many regions of an example.
_SEEDS_APART = 1 << 20


@dataclass(frozen=True, eq=False)
class EncodedExample:
    """An example in numbers, before any random draw.

    Attributes:
        input_ids: [tokens] int64, the image and each region as one placeholder.
        labels: [tokens] int64, -100 where nothing is to be learnt; all of them if there is no answer yet.
        image: [size, size, 3] uint8, resized for the tower; None for text only. Examples about one image share it.
        regions: in the order of their placeholders.
    """

    input_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    image: NDArray[np.uint8] | None = None
    regions: tuple[RegionPixels, ...] = ()


@dataclass(frozen=True, eq=False)
class FerretBatch:
    """What `FerretForConditionalGeneration.forward` takes; see there for the shapes."""

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor | None = None
    pixel_values: Tensor | None = None
    vision_features: Tensor | None = None
    region_points: Tensor | None = None
    region_images: Tensor | None = None
    region_starts: Tensor | None = None
    region_counts: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """The fields that are there, by name: `model(**batch.tensors())`."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def prompt_tensors(self) -> dict[str, Tensor]:
        """As `tensors`, without labels: `model.generate(**batch.prompt_tensors())`."""
        return replace(self, labels=None).tensors()

    def to(self, device: torch.device | str) -> FerretBatch:
        return FerretBatch(**{name: tensor.to(device) for name, tensor in self.tensors().items()})


@dataclass(frozen=True)
class DrawOptions:
    """What the random part of a batch depends on.

    Attributes:
        points: drawn from each region.
        anchors: points that each stage of the sampler keeps; empty without sampler.
        pixel_offset: where in its pixel a point lies; see `RegionTable.draw`.
    """

    points: int
    anchors: tuple[int, ...] = ()
    pixel_offset: float = 0.0

    def draw(self, regions: RegionTable, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Points [regions, points, 2] and first indices [regions, stages] of farthest point sampling.

        Args:
            seeds: [regions] long.
        """
        points = regions.draw(self.points, seeds, pixel_offset=self.pixel_offset)
        reaching = torch.tensor((self.points, *self.anchors[:-1])[: len(self.anchors)], dtype=torch.long)
        # Points take the streams' numbers from 0 up; these lie before them.
        starts = uniform(seeds, len(reaching), first=-len(reaching)) * reaching
        return points, starts.long()


@dataclass
class PackedExamples:
    """Many encoded examples in a few tensors; a batch is a handful of lookups, without a loop over examples.

    Attributes:
        input_ids, labels: [tokens of all examples] long, end to end.
        token_offsets: [examples + 1] long.
        regions: of all examples, in order.
        region_offsets: [examples + 1] long.
        images: [images, size, size, 3] uint8, each different image once.
        image_index: [examples] long, -1 for text only.
        drawing: how points are drawn.
        padding_id: fills short rows.
        vision_features: [images, tokens, width], set by whoever has encoded `images` already (the tower being
            frozen); batches then carry them instead of pixels.
    """

    input_ids: Tensor
    labels: Tensor
    token_offsets: Tensor
    regions: RegionTable
    region_offsets: Tensor
    images: Tensor
    image_index: Tensor
    drawing: DrawOptions
    padding_id: int = 0
    vision_features: Tensor | None = None

    @classmethod
    def pack(cls, examples: Sequence[EncodedExample], drawing: DrawOptions, padding_id: int = 0) -> PackedExamples:
        """Packs at least one example; images are compared by identity."""
        different = {id(example.image): example.image for example in examples if example.image is not None}
        number = {key: place for place, key in enumerate(different)}
        images = np.stack(list(different.values())) if different else np.zeros((0, 1, 1, 3), dtype=np.uint8)
        return cls(
            torch.from_numpy(np.concatenate([example.input_ids for example in examples])),
            torch.from_numpy(np.concatenate([example.labels for example in examples])),
            _offsets([len(example.input_ids) for example in examples]),
            RegionTable.pack([region for example in examples for region in example.regions]),
            _offsets([len(example.regions) for example in examples]),
            torch.from_numpy(images),
            torch.tensor([number.get(id(example.image), -1) for example in examples]),
            drawing,
            padding_id,
        )

    def __len__(self) -> int:
        return len(self.image_index)

    def batch(self, indices: Tensor, randomness: torch.Generator | int) -> FerretBatch:
        """The examples with these numbers ([b] long), right-padded, with points drawn from their regions.

        `region_images` counts the batch's images, of which every example with an image brings one.

        Args:
            randomness: a generator, from which each region gets a seed; or a seed that every example starts from, so
                that its points don't depend on what else is in the batch.
        """
        rows, place = _ragged(self.token_offsets, indices)
        lengths = self.token_offsets[indices + 1] - self.token_offsets[indices]
        column = torch.arange(int(lengths.max()))
        mask = column < lengths[:, None]
        input_ids = torch.full(mask.shape, self.padding_id)
        labels = torch.full(mask.shape, IGNORED_LABEL)
        input_ids[mask], labels[mask] = self.input_ids[place], self.labels[place]

        shown = self.image_index[indices]
        has_image = shown >= 0
        pixels = features = None
        if has_image.any():
            if self.vision_features is None:
                pixels = normalize(self.images[shown[has_image]])
            else:
                features = self.vision_features[shown[has_image]]
        batch = FerretBatch(input_ids, mask.long(), labels, pixels, features)

        rows, place = _ragged(self.region_offsets, indices)
        if not len(place):
            return batch
        regions = self.regions.select(place)
        if isinstance(randomness, int):
            within = torch.arange(len(place)) - torch.searchsorted(rows, rows)
            seeds = randomness * _SEEDS_APART + within
        else:
            seeds = torch.randint(2**62, (len(place),), generator=randomness)
        points, starts = self.drawing.draw(regions, seeds)
        return replace(
            batch,
            region_points=points,
            region_images=(has_image.cumsum(0) - 1)[rows],
            region_starts=starts,
            region_counts=regions.counts.clamp(max=self.drawing.points),
        )


def normalize(images: Tensor) -> Tensor:
    """[images, height, width, 3] uint8 -> [images, 3, height, width] float32 with CLIP's mean and deviation."""
    mean, deviation = torch.tensor(CLIP_MEAN), torch.tensor(CLIP_DEVIATION)
    return ((images.float() / 255 - mean) / deviation).permute(0, 3, 1, 2).contiguous()


def _offsets(lengths: Sequence[int]) -> Tensor:
    """[n] lengths -> [n + 1] where each begins, and the end."""
    return torch.tensor([0, *lengths]).cumsum(0)


def _ragged(offsets: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """The elements of the given rows of a ragged array: for each, the number in `indices` and the place."""
    begins = offsets[indices]
    lengths = offsets[indices + 1] - begins
    rows = torch.repeat_interleave(torch.arange(len(indices)), lengths)
    before = lengths.cumsum(0) - lengths
    return rows, torch.arange(len(rows)) - before[rows] + begins[rows]
