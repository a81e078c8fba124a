"""PixelSNAIL: causal convolutions and causal attention, the prior that VQ-VAE-2 takes (Chen et al. 2018, 1712.09763).

Laid out as in the port of VQ-VAE-2 that people use: a top prior for the coarse grid, with attention, and a bottom one
for the fine grid, which sees the coarse codes.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from koine.errors import InputError

Padding = Literal["same", "causal", "down", "downright"]


class NormedConvolution(nn.Module):
    """A convolution whose weight is gain * direction / |direction| (weight normalisation, Salimans & Kingma 2016).

    torch's own can't hide places of the direction before its norm is taken, as the causal layers here do.

    Args:
        padding: "same"; "causal": rows above, and in its own row the places to the left; "down": its own row and those
            above; "downright": the same, and only places to the left.
    """

    def __init__(
        self,
        before: int,
        after: int,
        kernel: int | tuple[int, int] = 1,
        *,
        padding: Padding = "same",
        bias: bool = True,
    ) -> None:
        super().__init__()
        rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
        self.direction = nn.Parameter(torch.empty(after, before, rows, columns))
        nn.init.kaiming_uniform_(self.direction, a=5**0.5)
        self.gain = nn.Parameter(self.direction.detach().flatten(1).norm(dim=1).view(-1, 1, 1, 1))
        self.bias = nn.Parameter(torch.zeros(after)) if bias else None
        half = columns // 2
        # left, right, above, below
        self.padding = {
            "same": (half, half, rows // 2, rows // 2),
            "causal": (half, half, rows - 1, 0),
            "down": (half, half, rows - 1, 0),
            "downright": (columns - 1, 0, rows - 1, 0),
        }[padding]
        self.hidden = half if padding == "causal" else 0

    def forward(self, features: Tensor) -> Tensor:
        """[b, before, rows, columns] to [b, after, rows, columns]."""
        return F.conv2d(F.pad(features, self.padding), self.weight(), self.bias)

    def weight(self) -> Tensor:
        """[after, before, *kernel]."""
        direction: Tensor = self.direction
        if self.hidden:
            seen = torch.ones_like(direction[:1, :1])
            seen[:, :, -1, self.hidden :] = 0
            direction = direction * seen
        return self.gain * direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


class GatedResidual(nn.Module):
    """x + glu(conv(elu(conv(elu x) + aux)) + condition)."""

    def __init__(
        self,
        width: int,
        inner: int,
        kernel: int,
        *,
        padding: Padding = "same",
        dropout: float = 0.1,
        auxiliary: int = 0,
        condition: int = 0,
    ) -> None:
        super().__init__()
        self.first = NormedConvolution(width, inner, kernel, padding=padding)
        self.auxiliary = NormedConvolution(auxiliary, inner) if auxiliary else None
        self.dropout = nn.Dropout(dropout)
        self.second = NormedConvolution(inner, 2 * width, kernel, padding=padding)
        self.condition = NormedConvolution(condition, 2 * width, bias=False) if condition else None

    def forward(self, features: Tensor, *, auxiliary: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        """[b, width, rows, columns] to the same."""
        inner = self.first(F.elu(features))
        if self.auxiliary is not None and auxiliary is not None:
            inner = inner + self.auxiliary(F.elu(auxiliary))
        out = self.second(self.dropout(F.elu(inner)))
        if self.condition is not None and condition is not None:
            out = out + self.condition(condition)
        return features + F.glu(out, dim=1)


class CausalAttention(nn.Module):
    """Each place attends to those before it; the first to nothing."""

    def __init__(self, query: int, key: int, width: int, *, heads: int = 8, dropout: float = 0.1) -> None:
        super().__init__()
        self.query, self.key, self.value = (NormedConvolution(before, width) for before in (query, key, key))
        self.heads, self.dropout = heads, dropout

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """[b, query, rows, columns] and [b, key, rows, columns] to [b, width, rows, columns]."""
        queries, keys, values = (
            part.unflatten(1, (self.heads, -1)).flatten(3).transpose(2, 3)  # [b, heads, places, width / heads]
            for part in (self.query(query), self.key(key), self.value(key))
        )
        # The second place attends to the first, the third to the first two: causal attention, shifted by one.
        later = F.scaled_dot_product_attention(
            queries[:, :, 1:],
            keys[:, :, :-1],
            values[:, :, :-1],
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=True,
        )
        seen = F.pad(later, (0, 0, 1, 0))
        return seen.transpose(2, 3).flatten(1, 2).unflatten(2, query.shape[2:])


class PixelBlock(nn.Module):
    """Causal residual blocks, then attention over all places before, or just a convolution."""

    def __init__(
        self, width: int, inner: int, kernel: int, blocks: int, *, attention: bool, dropout: float, condition: int
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            GatedResidual(width, inner, kernel, padding="causal", dropout=dropout, condition=condition)
            for _ in range(blocks)
        )
        self.attends = attention
        if attention:
            self.key = GatedResidual(2 * width + 2, width, 1, dropout=dropout)
            self.query = GatedResidual(width + 2, width, 1, dropout=dropout)
            self.attention = CausalAttention(width + 2, 2 * width + 2, width // 2, dropout=dropout)
            self.out = GatedResidual(width, width, 1, dropout=dropout, auxiliary=width // 2)
        else:
            self.mix = NormedConvolution(width + 2, width)

    def forward(self, features: Tensor, background: Tensor, condition: Tensor | None) -> Tensor:
        """[b, width, rows, columns] to the same."""
        out = features
        for block in self.blocks:
            out = block(out, condition=condition)
        if not self.attends:
            return self.mix(torch.cat([out, background], dim=1))
        keys = self.key(torch.cat([features, out, background], dim=1))
        queries = self.query(torch.cat([out, background], dim=1))
        return self.out(out, auxiliary=self.attention(queries, keys))


class PixelSnail(nn.Module):
    """Logits of each code of a grid, given those before it in reading order and perhaps a coarser grid.

    Args:
        codes: size of the codebook.
        width, inner: channels, and those inside of residual blocks.
        kernel: odd, at least 3.
        blocks, residual_blocks: `PixelBlock`s and residual blocks in each.
        attention: whether blocks attend.
        dropout: in all residual blocks and in attention.
        condition_blocks, condition_width, condition_kernel: residual blocks on the coarser grid; 0 for no coarser grid.
        out_blocks: residual blocks before the logits.
    """

    def __init__(
        self,
        codes: int,
        *,
        width: int = 256,
        inner: int = 256,
        kernel: int = 5,
        blocks: int = 4,
        residual_blocks: int = 4,
        attention: bool = True,
        dropout: float = 0.1,
        condition_blocks: int = 0,
        condition_width: int = 0,
        condition_kernel: int = 3,
        out_blocks: int = 0,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0 or kernel < 3 or condition_kernel % 2 == 0:
            raise InputError(
                f"kernels {kernel} and {condition_kernel} of a PixelSNAIL: give odd ones, the first 3 or more"
            )
        if attention and width % 16:
            raise InputError(f"width {width} of a PixelSNAIL that attends: give a multiple of 16, for its 8 heads")
        self.codes = codes
        self.above = NormedConvolution(codes, width, (kernel // 2, kernel), padding="down")
        self.left = NormedConvolution(codes, width, ((kernel + 1) // 2, kernel // 2), padding="downright")
        self.blocks = nn.ModuleList(
            PixelBlock(
                width,
                inner,
                kernel,
                residual_blocks,
                attention=attention,
                dropout=dropout,
                condition=condition_width if condition_blocks else 0,
            )
            for _ in range(blocks)
        )
        self.coarse_in: NormedConvolution | None = None
        if condition_blocks:
            self.coarse_in = NormedConvolution(codes, condition_width, condition_kernel)
        self.coarse_blocks = nn.ModuleList(
            GatedResidual(condition_width, condition_width, condition_kernel, dropout=dropout)
            for _ in range(condition_blocks)
        )
        self.out_blocks = nn.ModuleList(GatedResidual(width, inner, 1, dropout=dropout) for _ in range(out_blocks))
        self.head = NormedConvolution(width, codes)

    def forward(self, grids: Tensor, coarse: Tensor | None = None) -> Tensor:
        """
        Args:
            grids: [b, rows, columns] long.
            coarse: [b, rows / 2, columns / 2] long, if the prior takes a coarser grid.
        Returns:
            logits [b, codes, rows, columns].
        Raises:
            InputError: a code that the codebook hasn't; a coarser grid is missing, or too much, or doesn't fit.
        """
        codes = self._one_hot(grids)
        out = F.pad(self.above(codes), (0, 0, 1, 0))[:, :, :-1] + F.pad(self.left(codes), (1, 0))[..., :-1]
        background = places(*grids.shape[1:], like=out).expand(len(out), -1, -1, -1)
        condition = self._condition(grids, coarse)
        for block in self.blocks:
            out = block(out, background, condition)
        for block in self.out_blocks:
            out = block(out)
        return self.head(F.elu(out))

    def _condition(self, grids: Tensor, coarse: Tensor | None) -> Tensor | None:
        if (coarse is None) != (self.coarse_in is None):
            raise InputError("the bottom prior takes the coarse grid, and no other does: give it to that one only")
        if coarse is None or self.coarse_in is None:
            return None
        if [2 * side for side in coarse.shape[1:]] != list(grids.shape[1:]):
            raise InputError(f"the coarse grid {list(coarse.shape[1:])} is not half of {list(grids.shape[1:])}")
        features = self.coarse_in(self._one_hot(coarse))
        for block in self.coarse_blocks:
            features = block(features)
        return F.interpolate(features, scale_factor=2)

    def _one_hot(self, grids: Tensor) -> Tensor:
        if int(grids.min()) < 0 or int(grids.max()) >= self.codes:
            raise InputError(
                f"the grids hold codes from {int(grids.min())} to {int(grids.max())} but the prior knows 0 to "
                f"{self.codes - 1}: give codes of the codebook that it was trained with"
            )
        return F.one_hot(grids, self.codes).permute(0, 3, 1, 2).to(self.head.direction.dtype)


def places(rows: int, columns: int, *, like: Tensor) -> Tensor:
    """[1, 2, rows, columns]: each place's row and column, in [-0.5, 0.5)."""
    down = torch.arange(rows, device=like.device, dtype=like.dtype).sub(rows / 2) / rows
    across = torch.arange(columns, device=like.device, dtype=like.dtype).sub(columns / 2) / columns
    return torch.stack(torch.meshgrid(down, across, indexing="ij"))[None]
