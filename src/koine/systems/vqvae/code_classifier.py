"""What a grid of codes shows, told from the codes alone: of several drawings it says which is most like what was asked.

VQ-VAE-2 (arXiv 1906.00446, section 3.4) rejects drawings by a classifier of pictures; this one reads codes, which are
there anyway, and knows the prior's labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from koine.systems.vqvae.pixelcnn import UNSAID

_BLOCKS = 3


class CodeClassifier(nn.Module):
    """Logits of each attribute's classes.

    Args:
        code_width: of the codebook's vectors.
        codes_per_cell: codes that lie side by side for one cell of the picture.
        attributes: how many classes each has.
        width: channels of the convolutions.
    """

    def __init__(self, code_width: int, *, codes_per_cell: int, attributes: Sequence[int], width: int) -> None:
        super().__init__()
        self.codes_per_cell, self.attributes = codes_per_cell, list(attributes)
        self.entry = nn.Conv2d(code_width * codes_per_cell, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1))
            for _ in range(_BLOCKS)
        )
        self.head = nn.Linear(2 * width, sum(self.attributes))

    def forward(self, grids: Tensor, codebook: Tensor) -> list[Tensor]:
        """
        Args:
            grids: [b, rows, columns] long.
            codebook: [codes, code width].
        Returns:
            For each attribute [b, classes].
        """
        # codes of any scale come in with mean 0 and deviation 1
        looks = (codebook - codebook.mean(dim=0)) / codebook.std(dim=0).clamp(min=1e-6)
        cells = F.embedding(grids, looks).unflatten(2, (-1, self.codes_per_cell)).flatten(3)
        hidden = self.entry(cells.movedim(-1, 1))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        hidden = F.relu(hidden)
        pooled = torch.cat((hidden.mean(dim=(2, 3)), hidden.amax(dim=(2, 3))), dim=1)
        return list(self.head(pooled).split(self.attributes, dim=1))


def agreement(logits: Sequence[Tensor], classes: Tensor) -> Tensor:
    """[b], log p of the classes [b, attributes] under the logits of each attribute; what is unsaid counts nothing."""
    said = [
        torch.where(asked == UNSAID, 0.0, -F.cross_entropy(each.float(), asked.clamp(min=0), reduction="none"))
        for each, asked in zip(logits, classes.unbind(dim=1), strict=True)
    ]
    return torch.stack(said).sum(dim=0)
