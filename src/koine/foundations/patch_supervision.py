"""What each patch of a picture shows and where that thing ends, asked directly of every patch at once.

A CLIP that has seen 400 million pictures knows this of its patches (Zhou et al. 2022, arXiv 2112.01071). The nano one
sees 60,000, so before it is matched with texts its vision tower is asked: linear readouts of each patch's features
give the attributes of the thing in it, whether there is one, and its box. The readouts are thrown away afterwards.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from koine.world.facts import ATTRIBUTES, VALUES

LEAST_PIXELS = 6
"""A patch of 64 pixels is asked about a thing that it shows this much of."""
_BOX_WEIGHT = 20.0
_BOX_TOLERANCE = 0.02
"""In shares of the picture: where the loss of a box side turns from quadratic to linear."""


class PatchReadouts(nn.Module):
    """Linear readouts of patch features [.., width]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attributes = nn.ModuleDict({name: nn.Linear(width, len(VALUES[name])) for name in ATTRIBUTES})
        self.box = nn.Linear(width, 4)
        self.occupied = nn.Linear(width, 1)


def thing_pixels(instance: Tensor, seen: Tensor, grid: int) -> Tensor:
    """How many pixels of each thing each patch shows.

    Args:
        instance: int8 [b, H, W], the index of the thing at each pixel, negative for none.
        seen: bool [b, things]; of the others nothing is counted.
        grid: patches along each side.

    Returns:
        float32 [b, grid * grid, things], patches row-major.
    """
    things = torch.arange(seen.shape[1], dtype=instance.dtype)
    shown = (instance[..., None] == things).float()
    patch = instance.shape[-1] // grid
    counted = shown.unflatten(2, (grid, patch)).unflatten(1, (grid, patch)).sum(dim=(2, 4))
    return counted.flatten(1, 2) * seen[:, None]


def patch_losses(
    readouts: PatchReadouts, features: Tensor, pixels: Tensor, codes: Tensor, boxes: Tensor, coloured: Tensor
) -> dict[str, Tensor]:
    """One loss for each question; their sum is what the first stage minimises.

    Attributes are asked twice: of single patches, about the thing that covers most of them, and of the mean over a
    thing's patches, so that two things in one patch can be told apart by where else they are. Colours are asked in
    pictures that have their own, shapes in those that have not, so that neither is learnt as a hint at the other.

    Args:
        features: [b, patches, width].
        pixels: [b, patches, things] as of `thing_pixels`.
        codes: long [b, things, 4], values of `ATTRIBUTES`.
        boxes: [b, things, 4], x0, y0, x1, y1 of the visible parts in shares of the picture.
        coloured: bool [b], whether the picture has its own colours.
    """
    features = features.float()
    most, owner = pixels.max(dim=-1)
    image, patch = torch.nonzero(most >= LEAST_PIXELS, as_tuple=True)
    thing = owner[image, patch]
    of_patch = features[image, patch]
    shown, whole = torch.nonzero(pixels.sum(dim=1) > 0, as_tuple=True)
    shares = pixels[shown, :, whole]
    of_thing = torch.einsum("rp,rpd->rd", shares / shares.sum(dim=1, keepdim=True), features[shown])
    losses = {}
    for place, (name, readout) in enumerate(readouts.attributes.items()):
        losses[name] = sum(
            F.cross_entropy(readout(vectors[asked]), codes[images[asked], things[asked], place])
            for vectors, images, things in ((of_patch, image, thing), (of_thing, shown, whole))
            if (asked := _asked(name, coloured[images])).any()
        )
    box_errors = F.smooth_l1_loss(readouts.box(of_patch), boxes[image, thing], beta=_BOX_TOLERANCE)
    losses["box"] = _BOX_WEIGHT * box_errors
    occupied = readouts.occupied(features)[..., 0]
    losses["occupied"] = F.binary_cross_entropy_with_logits(occupied, (most >= LEAST_PIXELS).float())
    return {name: torch.as_tensor(loss, dtype=torch.float32) for name, loss in losses.items()}


def _asked(attribute: str, coloured: Tensor) -> Tensor:
    """In which pictures [n] an attribute is asked about."""
    if attribute == "colour":
        return coloured
    return ~coloured if attribute == "shape" else torch.ones_like(coloured)
