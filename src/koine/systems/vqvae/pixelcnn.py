"""The gated PixelCNN: a prior over grids of codes (van den Oord et al. 2016, arXiv 1606.05328, section 2).

Two stacks see what comes before a place: the vertical one all rows above, the horizontal one the places to the left
in the same row. `cached_sampling` draws grids by it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from koine.errors import InputError

UNSAID = -1
"""The class of an attribute that a condition leaves open."""


class Condition(nn.Module):
    """What a grid shows as the vector that both gates of both stacks add (section 2.3).

    Args:
        width: channels of the vector.
        attributes: how many classes each attribute has.
        text_width: width of a text's vector; 0 for none.
    """

    def __init__(self, width: int, attributes: Sequence[int], text_width: int) -> None:
        super().__init__()
        self.attributes = nn.ModuleList(nn.Embedding(classes, width) for classes in attributes)
        self.text = nn.Linear(text_width, width, bias=False) if text_width else None

    def forward(self, classes: Tensor | None, text: Tensor | None) -> Tensor | None:
        """
        Args:
            classes: [b, attributes] long, `UNSAID` where an attribute is left open; None leaves all open.
            text: [b, text_width].
        Returns:
            [b, width], or None if nothing is asked for.
        """
        vectors = []
        if classes is not None:
            for attribute, chosen in zip(self.attributes, classes.unbind(dim=1), strict=True):
                vectors.append(attribute(chosen.clamp(min=0)) * (chosen != UNSAID)[:, None])
        if self.text is not None and text is not None:
            vectors.append(self.text(text))
        return sum(vectors[1:], vectors[0]) if vectors else None


class GatedLayer(nn.Module):
    """One layer of both stacks.

    Args:
        width: channels of the stacks.
        kernel: odd; the vertical stack sees `kernel` columns of kernel // 2 rows above and, unless `masked`, of its own
            row; the horizontal one kernel // 2 places to the left and, unless `masked`, its own.
        masked: mask A, for the layer that sees the codes themselves; it has no residual.
        attributes, text_width: see `Condition`.
        rows: whether there is more than one; a single row, as signals have, has no vertical stack.
    """

    def __init__(
        self,
        width: int,
        kernel: int,
        *,
        masked: bool,
        attributes: Sequence[int] = (),
        text_width: int = 0,
        rows: bool = True,
    ) -> None:
        super().__init__()
        self.reach = kernel // 2
        self.masked = masked
        self.condition = Condition(2 * width, attributes, text_width)
        self.rows = rows
        if rows:
            self.vertical = nn.Conv2d(width, 2 * width, (self.reach + 1, kernel), padding=(self.reach, self.reach))
            self.vertical_to_horizontal = nn.Conv2d(2 * width, 2 * width, 1)
        self.horizontal = nn.Conv2d(width, 2 * width, (1, self.reach + 1), padding=(0, self.reach))
        self.horizontal_out = nn.Conv2d(width, width, 1)

    def forward(self, vertical: Tensor, horizontal: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Both stacks, [b, width, rows, columns] each, with a condition's vector [b or 1, 2 width].

        A condition that differs from place to place (section 2.3, too) is [b, 2 width, rows, columns].
        """
        rows, columns = vertical.shape[2:]
        asked = condition if condition.ndim == 4 else condition[:, :, None, None]
        seen = F.conv2d(horizontal, self.horizontal_weight(), self.horizontal.bias, padding=self.horizontal.padding)
        seen = seen[:, :, :, :columns]
        if self.rows:
            above = F.conv2d(vertical, self.vertical_weight(), self.vertical.bias, padding=self.vertical.padding)
            above = above[:, :, :rows]
            seen, vertical = self.vertical_to_horizontal(above) + seen, gate(above + asked)
        out = self.horizontal_out(gate(seen + asked))
        return vertical, out if self.masked else out + horizontal

    def asked(self, classes: Tensor | None, text: Tensor | None) -> Tensor:
        """The condition's vector [b, 2 width]; [1, 2 width] of zeros if nothing is asked for."""
        vector = self.condition(classes, text)
        if vector is None:
            weight = self.horizontal.weight
            return weight.new_zeros(1, len(weight))
        return vector

    def vertical_weight(self) -> Tensor:
        """[2 width, width, reach + 1, kernel]; mask A hides the place's own row."""
        weight = self.vertical.weight
        return F.pad(weight[:, :, :-1], (0, 0, 0, 1)) if self.masked else weight

    def horizontal_weight(self) -> Tensor:
        """[2 width, width, 1, reach + 1]; mask A hides the place itself."""
        weight = self.horizontal.weight
        return F.pad(weight[..., :-1], (0, 1)) if self.masked else weight


class GatedPixelCNN(nn.Module):
    """Logits of each code of a grid, given those before it in reading order and what the grid shows.

    Args:
        codes: size of the codebook.
        width, layers: channels and depth.
        head: channels of the last layers.
        first_kernel, kernel: of the first, masked layer, at least 3, and of the others; odd.
        codes_per_cell: codes that lie side by side for one cell of the picture; each learns its place among them.
        attributes, text_width: see `Condition`.
        rows: whether grids may have several rows; without, as for signals, there is no vertical stack.
    """

    def __init__(
        self,
        codes: int,
        *,
        width: int = 64,
        layers: int = 15,
        head: int = 512,
        first_kernel: int = 7,
        kernel: int = 3,
        codes_per_cell: int = 1,
        attributes: Sequence[int] = (),
        text_width: int = 0,
        rows: bool = True,
    ) -> None:
        super().__init__()
        if first_kernel % 2 == 0 or kernel % 2 == 0 or first_kernel < 3 or kernel < 1:
            raise InputError(
                f"kernels {first_kernel} and {kernel} of a PixelCNN: give odd ones, which have a centre, the first "
                "of 3 or more"
            )
        self.codes, self.classes, self.text_width, self.rows = codes, tuple(attributes), text_width, rows
        self.embedding = nn.Embedding(codes, width)
        self.places = nn.Embedding(codes_per_cell, width) if codes_per_cell > 1 else None
        self.layers: Sequence[GatedLayer] = nn.ModuleList(  # type: ignore[assignment]
            GatedLayer(
                width,
                kernel if number else first_kernel,
                masked=number == 0,
                attributes=attributes,
                text_width=text_width,
                rows=rows,
            )
            for number in range(layers)
        )
        self.head = nn.Sequential(nn.Conv2d(width, head, 1), nn.ReLU(), nn.Conv2d(head, codes, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, grids: Tensor, classes: Tensor | None = None, text: Tensor | None = None) -> Tensor:
        """
        Args:
            grids: [b, rows, columns] long; any number of rows and columns.
            classes, text: see `Condition`.
        Returns:
            logits [b, codes, rows, columns].
        Raises:
            InputError: a code that the codebook hasn't, a condition that doesn't fit, or too many rows.
        """
        self.check(grids, classes, text, count=len(grids))
        self.check_rows(grids.shape[1])
        vertical = horizontal = self.embed(grids).permute(0, 3, 1, 2)
        for layer in self.layers:
            vertical, horizontal = layer(vertical, horizontal, layer.asked(classes, text))
        return self.head(horizontal)

    def embed(self, codes: Tensor, first: int = 0) -> Tensor:
        """Codes [.., columns] of a row, from column `first` on, to [.., columns, width]."""
        embedded = self.embedding(codes)
        if self.places is None:
            return embedded
        columns = torch.arange(first, first + codes.shape[-1], device=codes.device)
        return embedded + self.places(columns % self.places.num_embeddings)

    @property
    def head_convolutions(self) -> tuple[nn.Conv2d, nn.Conv2d]:
        """The pointwise convolutions to the hidden channels and to the logits."""
        first, _, last = self.head
        return first, last  # type: ignore[return-value]

    def check(self, grids: Tensor | None, classes: Tensor | None, text: Tensor | None, *, count: int) -> None:
        """
        Args:
            count: how many grids there are or will be; a condition is for each of them, or one for all.
        Raises:
            InputError: see `forward`.
        """
        if grids is not None:
            if grids.ndim != 3 or 0 in grids.shape:
                raise InputError(
                    f"grids have the shape {list(grids.shape)}: give [batch, rows, columns], none of them 0"
                )
            if int(grids.min()) < 0 or int(grids.max()) >= self.codes:
                raise InputError(
                    f"the grids hold codes from {int(grids.min())} to {int(grids.max())} but the prior knows 0 to "
                    f"{self.codes - 1}: give codes of the codebook that it was trained with"
                )
        for condition in (classes, text):
            if condition is not None and len(condition) not in (1, count):
                raise InputError(f"{len(condition)} conditions for {count} grids: give one for each, or one for all")
        if classes is not None:
            if classes.ndim != 2 or classes.shape[1] != len(self.classes):
                raise InputError(
                    f"classes have the shape {list(classes.shape)}: give [batch, {len(self.classes)}], one class for "
                    "each attribute that the prior knows"
                )
            for place, (chosen, known) in enumerate(zip(classes.unbind(dim=1), self.classes, strict=True)):
                if int(chosen.min()) < UNSAID or int(chosen.max()) >= known:
                    raise InputError(
                        f"attribute {place} has classes from {int(chosen.min())} to {int(chosen.max())}: give 0 to "
                        f"{known - 1}, or {UNSAID} to leave it open"
                    )
        if text is not None and text.shape[-1] != self.text_width:
            raise InputError(f"text vectors have width {text.shape[-1]}: the prior takes {self.text_width}")

    def check_rows(self, rows: int) -> None:
        """
        Raises:
            InputError: several rows for a prior of single ones.
        """
        if not self.rows and rows != 1:
            raise InputError(f"grids have {rows} rows but the prior is one of signals: give [batch, 1, steps]")


def gate(features: Tensor) -> Tensor:
    """tanh of the first half of the channels times the sigmoid of the second (equation 2)."""
    first, second = features.chunk(2, dim=1)
    return torch.tanh(first) * torch.sigmoid(second)
