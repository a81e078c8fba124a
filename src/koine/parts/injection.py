"""Continuous embeddings inside a causal language model's token sequence, for any modality.

PaLM-E's idea, which Ferret, SALMONN, MGIE and KOSMOS-G use too: a placeholder token marks the place, and a segment of
embeddings (an image's patches, a region's feature, a sound's frames, a robot's state) takes that place. The rest of the
sequence stays text, and the language model can't tell the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from koine.errors import InputError

IGNORED_LABEL = -100


@dataclass(frozen=True)
class Segments:
    """The embeddings that replace every occurrence of one placeholder, in reading order (row by row, left to right).

    Attributes:
        placeholder: the token id that marks the places; it may lie outside the vocabulary (negative).
        embeddings: [total, width], all segments end to end.
        lengths: [segments] long, how many embeddings each segment has (0 is allowed: the placeholder just vanishes).
        name: what it is, for error messages.
    """

    placeholder: int
    embeddings: Tensor
    lengths: Tensor
    name: str = "segment"

    def __post_init__(self) -> None:
        if self.embeddings.ndim != 2 or self.lengths.ndim != 1:
            raise InputError(
                f"{self.name} embeddings {list(self.embeddings.shape)} with lengths {list(self.lengths.shape)}: "
                "give [total, width] and [segments]"
            )

    @classmethod
    def uniform(cls, placeholder: int, embeddings: Tensor, name: str = "segment") -> Segments:
        """Segments of one length.

        Args:
            embeddings: [segments, length, width], or [segments, width] where each segment is a single embedding.
        """
        length = 1 if embeddings.ndim == 2 else embeddings.shape[1]
        lengths = torch.full((embeddings.shape[0],), length, device=embeddings.device)
        return cls(placeholder, embeddings.reshape(-1, embeddings.shape[-1]), lengths, name)

    @classmethod
    def ragged(cls, placeholder: int, embeddings: Sequence[Tensor], name: str = "segment") -> Segments:
        """Segments of different lengths, each [length, width]; there must be at least one, to tell the width."""
        packed = torch.cat(list(embeddings))
        lengths = torch.tensor([len(segment) for segment in embeddings], device=packed.device)
        return cls(placeholder, packed, lengths, name)


@dataclass(frozen=True)
class Injected:
    """What a causal language model takes instead of token ids.

    Attributes:
        inputs_embeds: [batch, length, width]; zeros where nothing is.
        attention_mask: [batch, length] long, 1 where there is something to attend to.
        position_ids: [batch, length] long, counted along what is attended to, so that left padding moves nothing.
        labels: [batch, length] long, -100 over segments and padding; None if there were none.
    """

    inputs_embeds: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    labels: Tensor | None = None


def inject(
    input_ids: Tensor,
    embed: Callable[[Tensor], Tensor],
    segments: Sequence[Segments] = (),
    *,
    attention_mask: Tensor | None = None,
    labels: Tensor | None = None,
    padding_side: Literal["left", "right"] = "right",
    padding: Literal["zeros", "tokens"] = "zeros",
) -> Injected:
    """Embeds token rows and puts segments in the places of their placeholders.

    Rows may be padded on either side and hold different numbers of segments; the result is padded afresh. One lookup
    embeds all text and one scatter writes all segments; gradients reach both.

    Args:
        input_ids: [batch, tokens] long.
        embed: the language model's input embedding, ids [..] -> [.., width].
        segments: one entry per modality; their placeholders must differ.
        attention_mask: [batch, tokens], 0 for padding; by default every token counts.
        labels: [batch, tokens] long, moved along with their tokens.
        padding_side: where the result is padded: right for training, left for generation.
        padding: what becomes of padded positions of `input_ids`: "zeros" drops them, so that rows are no longer than
            needed; "tokens" embeds them like text, masked, as the original Ferret does. The language model's output
            at attended positions is the same.
    Raises:
        InputError: the number of segments differs from that of the placeholders, the lengths don't add up, the widths
            differ, or a negative id remains that no segment replaces.
    """
    rows = len(input_ids)
    attended = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
    present = attended if padding == "zeros" else torch.ones_like(attended)

    places = [present & (input_ids == kind.placeholder) for kind in segments]
    text = present.clone()
    span = present.long()
    for kind, place in zip(segments, places, strict=True):
        _check_count(kind, int(place.sum()))
        text &= ~place
        span[place] = kind.lengths
    _check_ids(input_ids[text])

    filled = span.sum(dim=1)
    length = int(filled.max()) if rows else 0
    start = span.cumsum(dim=1) - span + torch.arange(rows, device=span.device)[:, None] * length
    if padding_side == "left":
        start += (length - filled)[:, None]
    text_start = start[text]

    ids = input_ids.new_zeros(rows * length).index_copy(0, text_start, input_ids[text])
    mask = input_ids.new_zeros(rows * length).index_copy(0, text_start, attended[text].to(input_ids.dtype))
    column = torch.arange(length, device=span.device)
    occupied = column < filled[:, None] if padding_side == "right" else column >= length - filled[:, None]
    embeddings = embed(ids.view(rows, length))
    embeddings = embeddings.masked_fill(~occupied[..., None], 0)

    if segments:
        targets = torch.cat(
            [_targets(start[place], kind.lengths) for kind, place in zip(segments, places, strict=True)]
        )
        values = torch.cat([_of_width(kind, embeddings) for kind in segments])
        embeddings = embeddings.flatten(0, 1).index_copy(0, targets, values).view(rows, length, -1)
        mask = mask.index_fill(0, targets, 1)
    mask = mask.view(rows, length)
    moved = None
    if labels is not None:
        moved = labels.new_full((rows * length,), IGNORED_LABEL).index_copy(0, text_start, labels[text])
        moved = moved.view(rows, length)
    return Injected(embeddings, mask, (mask.cumsum(dim=1) - 1).clamp(min=0), moved)


def _targets(starts: Tensor, lengths: Tensor) -> Tensor:
    """[total] long: where each embedding goes, for segments [segments] that start at `starts`."""
    before = lengths.cumsum(0) - lengths
    within = torch.arange(int(lengths.sum()), device=lengths.device)
    return torch.repeat_interleave(starts - before, lengths) + within


def _check_count(kind: Segments, found: int) -> None:
    given = len(kind.lengths)
    if found != given:
        raise InputError(
            f"the token rows hold {found} {kind.name} placeholders (id {kind.placeholder}) but {given} {kind.name} "
            "segments were given: give one for each placeholder, in reading order"
        )
    total = int(kind.lengths.sum())
    if total != len(kind.embeddings):
        raise InputError(
            f"the {kind.name} lengths sum to {total} but there are {len(kind.embeddings)} embeddings: "
            "give one embedding for each place"
        )


def _check_ids(text_ids: Tensor) -> None:
    if len(text_ids) and int(text_ids.min()) < 0:
        raise InputError(
            f"token id {int(text_ids.min())} is a placeholder that no segment replaces: give segments for it"
        )


def _of_width(kind: Segments, embeddings: Tensor) -> Tensor:
    """The segments' embeddings in the type of the text's, if their widths agree."""
    if kind.embeddings.shape[1] != embeddings.shape[-1]:
        raise InputError(
            f"{kind.name} embeddings have width {kind.embeddings.shape[1]} but the language model's have "
            f"{embeddings.shape[-1]}: project them to it first"
        )
    return kind.embeddings.to(embeddings.dtype)
