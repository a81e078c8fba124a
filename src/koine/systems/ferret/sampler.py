"""The spatial-aware visual sampler: turns the image features under a region of any shape into one embedding.

Paper section 3.2 (arXiv 2310.07704). Points drawn from the region read the feature map; two stages of farthest point
sampling, neighbour gathering and pooling then condense them, so that shape and texture survive where an average would
blur them. Drawing the points is the processor's work (`regions.py`): everything here is a function of its tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from koine.systems.ferret.config import Alignment, Orientation, Pooling

Formulation = Literal["factored", "direct"]

# On a CPU without gradients, the neighbourhoods are worked through in slices of about this many numbers, which stay in
# its cache between the four operations on them: 0.10 s instead of 0.14 s at the published size.
_SLICE = 1 << 19


def read_features(
    features: Tensor,
    points: Tensor,
    image_index: Tensor,
    *,
    orientation: Orientation = "corrected",
    alignment: Alignment = "centers",
) -> Tensor:
    """Reads the feature map of each region's image at the region's points, bilinearly.

    All points of all regions of all images are one weighted lookup; no map is copied.

    Args:
        features: [images, grid * grid, width], row-major.
        points: [regions, points, 2], (x, y) relative to the image, 0..1.
        image_index: [regions] long, the image that each region lies in.
        orientation, alignment: see `FerretConfig.region_orientation` and `.region_alignment`.
    Returns:
        [regions, points, width] in the type of `features`.
    """
    grid = int(features.shape[1] ** 0.5)
    points = points.float()
    if orientation == "published":
        points = points.flip(-1)
    place = points * (grid - 1) if alignment == "corners" else (points * grid - 0.5).clamp(0, grid - 1)
    corner = place.detach().floor().clamp(0, grid - 1)
    share = place - corner
    low = corner.long()
    high = (low + 1).clamp(max=grid - 1)
    rows = torch.stack((low[..., 1], low[..., 1], high[..., 1], high[..., 1]), dim=-1)
    columns = torch.stack((low[..., 0], high[..., 0], low[..., 0], high[..., 0]), dim=-1)
    x, y = share.unbind(-1)
    weights = torch.stack(((1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y), dim=-1)
    tokens = (image_index[:, None, None] * grid + rows) * grid + columns
    # Float32 as in the original: half-precision weights would move the points by up to a pixel.
    table = features.flatten(0, 1).float()
    read = F.embedding_bag(tokens.view(-1, 4), table, per_sample_weights=weights.view(-1, 4), mode="sum")
    return read.view(*points.shape[:2], -1).to(features.dtype)


def farthest_points(points: Tensor, count: int, starts: Tensor) -> Tensor:
    """Farthest point sampling: each next point is the one farthest from all chosen before.

    Args:
        points: [regions, points, 2] float32.
        count: how many to choose.
        starts: [regions] long, the first choice of each region.
    Returns:
        [regions, count] long, in order of choice. Once all points coincide with chosen ones, index 0 repeats.
    """
    rows = torch.arange(len(points), device=points.device)
    nearest = points.new_full(points.shape[:2], 1e10)
    chosen = [starts]
    for _ in range(count - 1):
        latest = points[rows, chosen[-1]]
        nearest = torch.minimum(nearest, (points - latest[:, None]).square().sum(-1))
        chosen.append(nearest.argmax(dim=1))
    return torch.stack(chosen, dim=1)


def squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """[.., m, n] squared Euclidean distances of [.., m, 2] and [.., n, 2], expanded as -2ab + |a|^2 + |b|^2.

    Form and order are the original's, so that ties and near-ties, which abound on a pixel grid, fall as they do there.
    """
    # In half precision the expanded form finds nearly random neighbours in small regions.
    with torch.autocast(first.device.type, enabled=False):
        product = first @ second.transpose(-1, -2)
    return -2 * product + first.square().sum(-1)[..., None] + second.square().sum(-1)[..., None, :]


def nearest_neighbours(anchors: Tensor, points: Tensor, count: int) -> Tensor:
    """[regions, anchors, count] long: the nearest points of each anchor, in no particular order.

    Args:
        anchors: [regions, anchors, 2] float32.
        points: [regions, points, 2] float32; an anchor that is one of them is its own neighbour.
    """
    return squared_distances(anchors, points).topk(count, dim=-1, largest=False, sorted=False).indices


class NeighbourhoodStage(nn.Module):
    """One stage: gathers neighbours around anchors, compares each with its anchor, and pools.

    With z = (feature, x, y), a neighbour n of an anchor a becomes
    LayerNorm(ReLU(aggregate(difference(z_n - z_a), z_a))), and the stage pools over the neighbours.
    """

    def __init__(self, width: int, pooling: Pooling) -> None:
        super().__init__()
        self.width = width
        self.pooling = pooling
        self.difference = nn.Linear(width + 2, width + 2)
        self.aggregate = nn.Linear(2 * (width + 2), width)
        self.norm = nn.LayerNorm(width)
        self._folded: tuple[Tensor, Tensor, Tensor] | None = None
        self._folded_from: tuple[object, ...] = ()

    def forward(
        self, features: Tensor, points: Tensor, anchors: Tensor, neighbours: Tensor, formulation: Formulation
    ) -> Tensor:
        """
        Args:
            features: [regions, points, width].
            points: [regions, points, 2] float32.
            anchors: [regions, anchors] long.
            neighbours: [regions, anchors, neighbours] long.
            formulation: "direct" applies both linear maps to every (anchor, neighbour) pair, as written in the paper;
                "factored" applies them to every point once, which gives the same numbers.
        Returns:
            [regions, anchors, width].
        """
        located = torch.cat((features, points.to(features.dtype)), dim=-1)
        offsets = torch.arange(len(located), device=located.device) * located.shape[1]
        anchors = (anchors + offsets[:, None]).flatten()
        neighbours = (neighbours + offsets[:, None, None]).flatten(0, 1)
        compute = self._direct if formulation == "direct" else self._factored
        return compute(located.flatten(0, 1), anchors, neighbours).view(len(located), -1, self.width)

    def _direct(self, located: Tensor, anchors: Tensor, neighbours: Tensor) -> Tensor:
        """located [points, width + 2], anchors [n], neighbours [n, k] -> [n, width]."""
        center = located[anchors][:, None]
        difference = self.difference(located[neighbours] - center)
        pairs = torch.cat((difference, center.expand_as(difference)), dim=-1)
        return self._pool(self.norm(F.relu(self.aggregate(pairs))))

    def _factored(self, located: Tensor, anchors: Tensor, neighbours: Tensor) -> Tensor:
        """As `_direct`, with both maps multiplied out: the sum of a term of the neighbour and one of the anchor."""
        of_neighbour, of_anchor, bias = self._fold()
        terms = F.linear(located, of_neighbour)
        centers = F.linear(located[anchors], of_anchor, bias)
        if torch.is_grad_enabled() or located.device.type != "cpu":
            return self._pool(self.norm(F.relu(terms[neighbours] + centers[:, None])))
        pooled = torch.empty_like(centers)
        step = max(1, _SLICE // (neighbours.shape[1] * self.width))
        for begin in range(0, len(anchors), step):
            part = slice(begin, begin + step)
            sums = terms[neighbours[part]].add_(centers[part, None]).relu_()
            pooled[part] = self._pool(self.norm(sums))
        return pooled

    def _pool(self, gathered: Tensor) -> Tensor:
        """[n, neighbours, width] -> [n, width]."""
        return gathered.amax(dim=1) if self.pooling == "max" else gathered.mean(dim=1)

    def _fold(self) -> tuple[Tensor, Tensor, Tensor]:
        """The factored maps: of the neighbour [width, width + 2], of the anchor [width, width + 2], bias [width].

        In inference the product is kept until a weight changes; `train()` and `eval()` drop it too, because a weight
        written through `.data` leaves no trace.
        """
        weights = (self.difference.weight, self.difference.bias, self.aggregate.weight, self.aggregate.bias)
        if torch.is_grad_enabled() or self.training or any(weight.is_inference() for weight in weights):
            return self._multiply()
        state = tuple((weight.data_ptr(), weight._version, weight.dtype, weight.device) for weight in weights)
        if self._folded is None or state != self._folded_from:
            self._folded, self._folded_from = self._multiply(), state
        return self._folded

    def _multiply(self) -> tuple[Tensor, Tensor, Tensor]:
        of_difference, of_anchor = self.aggregate.weight.float().split(self.width + 2, dim=1)
        with torch.autocast(of_anchor.device.type, enabled=False):
            product = of_difference @ self.difference.weight.float()
            bias = self.aggregate.bias.float() + of_difference @ self.difference.bias.float()
        kind = self.aggregate.weight.dtype
        return product.to(kind), (of_anchor - product).to(kind), bias.to(kind)

    def train(self, mode: bool = True) -> NeighbourhoodStage:
        self._folded = None
        super().train(mode)
        return self


@dataclass(frozen=True)
class SamplerTrace:
    """What the sampler computed on its way.

    Attributes:
        point_features: [regions, points, width], as read from the map.
        anchors: per stage [regions, anchors] long.
        neighbours: per stage [regions, anchors, neighbours] long.
        stage_features: per stage [regions, anchors, width].
        flat: [regions, width], after all anchors are merged.
        output: [regions, output_width].
    """

    point_features: Tensor
    anchors: tuple[Tensor, ...]
    neighbours: tuple[Tensor, ...]
    stage_features: tuple[Tensor, ...]
    flat: Tensor
    output: Tensor


class GeoRegionSampler(nn.Module):
    """The spatial-aware visual sampler (paper section 3.2).

    Args:
        width: of the image features.
        output_width: of the language model.
        anchors: points kept by each stage.
        neighbours: points gathered around each kept one, per stage.
    """

    def __init__(
        self,
        width: int,
        output_width: int,
        *,
        anchors: Sequence[int] = (128, 32),
        neighbours: Sequence[int] = (24, 24),
        pooling: Pooling = "max",
        orientation: Orientation = "corrected",
        alignment: Alignment = "centers",
        formulation: Formulation = "factored",
    ) -> None:
        super().__init__()
        self.anchors = tuple(anchors)
        self.neighbours = tuple(neighbours)
        self.orientation: Orientation = orientation
        self.alignment: Alignment = alignment
        self.formulation: Formulation = formulation
        self.stages = nn.ModuleList([NeighbourhoodStage(width, pooling) for _ in self.anchors])
        self.merge = nn.Linear(self.anchors[-1] * width, width)
        self.project = nn.Linear(width, output_width)

    def forward(self, features: Tensor, points: Tensor, image_index: Tensor, *, starts: Tensor | None = None) -> Tensor:
        """
        Args:
            features: [images, grid * grid, width], row-major.
            points: [regions, points, 2] float32, (x, y) relative to the image.
            image_index: [regions] long, the image that each region lies in.
            starts: [regions, stages] long, where farthest point sampling starts; by default at the first point.
        Returns:
            [regions, output_width].
        """
        return self.trace(features, points, image_index, starts=starts).output

    def trace(
        self,
        features: Tensor,
        points: Tensor,
        image_index: Tensor,
        *,
        starts: Tensor | None = None,
        anchors: Sequence[Tensor] | None = None,
        neighbours: Sequence[Tensor] | None = None,
    ) -> SamplerTrace:
        """As `forward`, keeping the intermediate results; geometry may be given instead of computed.

        Args:
            anchors: per stage [regions, anchors] long.
            neighbours: per stage [regions, anchors, neighbours] long.
        """
        points = points.float()
        current = read_features(features, points, image_index, orientation=self.orientation, alignment=self.alignment)
        point_features = current
        used_anchors, used_neighbours, stage_features = [], [], []
        rows = torch.arange(len(points), device=points.device)[:, None]
        for number, stage in enumerate(self.stages):
            if anchors is not None:
                chosen = anchors[number].long()
            else:
                first = points.new_zeros(len(points), dtype=torch.long) if starts is None else starts[:, number]
                chosen = farthest_points(points, self.anchors[number], first)
            kept = points[rows, chosen]
            if neighbours is not None:
                around = neighbours[number].long()
            else:
                around = nearest_neighbours(kept, points, self.neighbours[number])
            current = stage(current, points, chosen, around, self.formulation)
            points = kept
            used_anchors.append(chosen)
            used_neighbours.append(around)
            stage_features.append(current)
        flat = self.merge(current.flatten(1))
        return SamplerTrace(
            point_features,
            tuple(used_anchors),
            tuple(used_neighbours),
            tuple(stage_features),
            flat,
            self.project(flat),
        )


class AverageRegionPooling(nn.Module):
    """The ablation without sampler: the mean of the features under the region, projected."""

    def __init__(
        self,
        width: int,
        output_width: int,
        *,
        orientation: Orientation = "corrected",
        alignment: Alignment = "centers",
    ) -> None:
        super().__init__()
        self.orientation: Orientation = orientation
        self.alignment: Alignment = alignment
        self.project = nn.Linear(width, output_width)

    def forward(self, features: Tensor, points: Tensor, image_index: Tensor, *, counts: Tensor | None = None) -> Tensor:
        """
        Args:
            features: [images, grid * grid, width], row-major.
            points: [regions, points, 2] float32, (x, y) relative to the image.
            image_index: [regions] long.
            counts: [regions] long, how many of the points count (the others repeat them); by default all.
        Returns:
            [regions, output_width].
        """
        read = read_features(features, points, image_index, orientation=self.orientation, alignment=self.alignment)
        if counts is None:
            mean = read.mean(dim=1)
        else:
            counts = counts[:, None]
            counted = torch.arange(points.shape[1], device=points.device) < counts
            mean = (read * counted[..., None]).sum(dim=1) / counts.clamp(min=1)
        # The original projects the whole map first; reading and averaging are linear, so the order doesn't matter.
        return self.project(mean.to(features.dtype))
