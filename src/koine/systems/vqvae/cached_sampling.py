"""Drawing grids from a gated PixelCNN with everything kept that was computed: each new code costs one code.

The vertical stack of a row depends on the rows above it only, so it is run once a row. Then the horizontal stack goes
along the row, and at each place reads the few places to its left that it keeps. The naive way runs the whole network
at all places for each code. The sums are the same ones, and so are the grids.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from koine.errors import InputError
from koine.systems.vqvae.pixelcnn import GatedLayer, GatedPixelCNN, gate
from koine.systems.vqvae.sampling import SamplingOptions, draw, guided


@torch.no_grad()  # not inference_mode, so that what is drawn can be learnt from
def sample(
    prior: GatedPixelCNN,
    uniforms: Tensor,
    *,
    classes: Tensor | None = None,
    text: Tensor | None = None,
    options: SamplingOptions | None = None,
    given: Tensor | None = None,
) -> Tensor:
    """Grids [n, rows, columns] long, on the prior's device.

    Args:
        uniforms: [n, rows, columns] in [0, 1), one for each code to draw.
        classes: [n, attributes], `UNSAID` where an attribute is left open.
        text: [n, text width].
        given: [n, rows, columns] long, codes that are to stay; -1 where one is to be drawn.
    Raises:
        InputError: a condition or given codes that don't fit, or several rows for a prior of single ones.
    """
    options = options or SamplingOptions()
    options.check(prior.codes)
    prior.check(None if given is None else given.clamp(min=0), classes, text, count=len(uniforms))
    prior.check_rows(uniforms.shape[1])
    if given is not None and given.shape != uniforms.shape:
        raise InputError(f"given codes {list(given.shape)} don't cover the grid: give {list(uniforms.shape)}")
    device = prior.embedding.weight.device
    uniforms, given = uniforms.to(device), None if given is None else given.to(device)
    count, rows, columns = uniforms.shape
    conditions = [layer.asked(classes, text) for layer in prior.layers]
    copies = 2 if options.guidance != 1 and (classes is not None or text is not None) else 1
    if copies == 2:  # each grid once more, with nothing asked for
        conditions = [
            torch.cat([asked.expand(count, -1), torch.zeros_like(asked).expand(count, -1)]) for asked in conditions
        ]
    layers = [_Layer.of(layer, asked) for layer, asked in zip(prior.layers, conditions, strict=True)]
    grids = torch.zeros(count, rows, columns, dtype=torch.long, device=device)
    history = _Rows(prior, layers, copies * count, columns)
    first, last = prior.head_convolutions
    for row in range(rows):
        # [columns, n, 2 width] for each layer: all that the horizontal stack adds which it doesn't compute itself.
        addends = history.above(layers)
        seen = [
            uniforms.new_zeros(copies * count, (layer.reach + columns) * layer.width, dtype=first.weight.dtype)
            for layer in layers
        ]
        for column in range(columns):
            state = None
            for number, layer in enumerate(layers):
                if state is not None:  # the embedding of this place isn't known yet, and mask A hides it
                    layer.write(seen[number], column, state)
                state = layer.step(seen[number], column, addends[number][column], state)
            assert state is not None
            hidden = F.relu(F.linear(state, first.weight[:, :, 0, 0], first.bias))
            logits = F.linear(hidden, last.weight[:, :, 0, 0], last.bias)
            logits = guided(logits, options.guidance) if copies == 2 else logits
            code = draw(logits, uniforms[:, row, column], options)
            if given is not None:
                code = torch.where(given[:, row, column] < 0, code, given[:, row, column])
            grids[:, row, column] = code
            layers[0].write(seen[0], column, prior.embed(code[:, None], column)[:, 0].repeat(copies, 1))
        history.append(prior.embed(grids[:, row]).permute(0, 2, 1).repeat(copies, 1, 1))
    return grids


@dataclass(frozen=True)
class _Layer:
    """A layer's weights as matrices, ready for one place at a time.

    Attributes:
        reach, width: places to the left (and rows above) that it sees, and channels.
        condition: [n or 1, 2 width].
        horizontal: [seen places x width, 2 width]; mask A's place left out.
        out: [width, width].
        residual: whether the layer adds its input.
    """

    layer: GatedLayer
    reach: int
    width: int
    condition: Tensor
    horizontal: Tensor
    out: Tensor
    residual: bool

    @classmethod
    def of(cls, layer: GatedLayer, condition: Tensor) -> _Layer:
        weight = layer.horizontal.weight[:, :, 0]  # [2 width, width, places]
        seen = weight[:, :, :-1] if layer.masked else weight
        return cls(
            layer=layer,
            reach=layer.reach,
            width=weight.shape[1],
            condition=condition,
            horizontal=seen.permute(2, 1, 0).reshape(-1, len(weight)).contiguous(),
            out=layer.horizontal_out.weight[:, :, 0, 0],
            residual=not layer.masked,
        )

    def write(self, seen: Tensor, column: int, state: Tensor) -> None:
        """Puts a place's input [n, width] into what the layer has seen of the row."""
        start = (self.reach + column) * self.width
        seen[:, start : start + self.width] = state

    def step(self, seen: Tensor, column: int, addend: Tensor, state: Tensor | None) -> Tensor:
        """The layer's output [n, width] at a place."""
        start = column * self.width
        window = seen[:, start : start + len(self.horizontal)]
        out = F.linear(gate(torch.addmm(addend, window, self.horizontal)), self.out, self.layer.horizontal_out.bias)
        return out + state if self.residual and state is not None else out


class _Rows:
    """The vertical stack's last rows: what each layer needs of its input to compute the next row."""

    def __init__(self, prior: GatedPixelCNN, layers: list[_Layer], count: int, columns: int) -> None:
        weight = prior.embedding.weight
        # [n, width, rows, columns]: the first layer sees `reach` rows above; the others their own row as well
        self.inputs = [weight.new_zeros(count, layer.width, layer.reach, columns) for layer in layers]

    def append(self, embedded: Tensor) -> None:
        """Takes the embedded codes [n, width, columns] of the row that was drawn."""
        self.inputs[0] = torch.cat([self.inputs[0][:, :, 1:], embedded[:, :, None]], dim=2)

    def above(self, layers: list[_Layer]) -> list[Tensor]:
        """Runs the vertical stack for the next row; gives each layer's addend [columns, n, 2 width]."""
        addends = []
        row: Tensor | None = None  # [n, width, 1, columns], the layer's input in the row itself
        for number, one in enumerate(layers):
            layer, inputs = one.layer, self.inputs[number]
            if not layer.rows:
                alone = one.condition + layer.horizontal.bias  # type: ignore[operator]
                addends.append(alone.expand(inputs.shape[3], inputs.shape[0], -1))
                continue
            weight = layer.vertical.weight
            if row is None:
                weight = weight[:, :, :-1]
            else:
                inputs = torch.cat([inputs, row], dim=2)
                self.inputs[number] = inputs[:, :, 1:]
            above = F.conv2d(inputs, weight, layer.vertical.bias, padding=(0, layer.reach))
            across = layer.vertical_to_horizontal(above) + layer.horizontal.bias[:, None, None]  # type: ignore[index]
            addends.append((across[:, :, 0] + one.condition[:, :, None]).permute(2, 0, 1).contiguous())
            row = gate(above + one.condition[:, :, None, None])
        return addends
