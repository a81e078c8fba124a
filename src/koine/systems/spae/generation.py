"""Pictures written by a frozen language model: progressive decoding and in-context denoising (section 3.4).

Coarse layers are written token by token; the long ones below in blocks, each of which sees the coarse words and a few
of the layer above, so that all blocks of a layer go through the language model side by side. The paper's prompts aren't
known; numbers of the schedule are those of V2L-Tokenizer, which repeats the idea.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from koine.errors import InputError
from koine.parts.residual_quantize import Pyramid
from koine.systems.spae.episodes import LQAE, Piece, Wording
from koine.systems.spae.in_context import InContextModel

CORRUPTIONS = (0.50, 0.47, 0.44, 0.41, 0.38, 0.35, 0.32, 0.29, 0.26, 0.23)
"""Shares of words that are replaced in the ten examples of in-context denoising."""


@dataclass(frozen=True)
class Schedule:
    """How the words of a picture are written.

    Attributes:
        one_by_one: how many words are written token by token, the coarse ones; then come blocks. 21 are three layers.
        block: words of a block, which the language model writes in one go.
        window: how many words of the layer above it sees around its place, beside the coarse ones.
    """

    one_by_one: int = 21
    block: int = 4
    window: int = 16

    def __post_init__(self) -> None:
        if self.one_by_one < 1 or self.block < 1 or self.window < 0:
            raise InputError(
                f"a schedule of {self.one_by_one} single words, blocks of {self.block} and a window of {self.window} "
                "writes nothing: give at least 1, 1 and 0"
            )


@dataclass(frozen=True)
class InContextPair:
    """An example for the language model.

    Attributes:
        condition: what is given, such as "an image of 7" or the tokens of another picture.
        codes: the codebook's rows [n] of the picture that it stands for.
    """

    condition: list[Piece]
    codes: Tensor


def decode_progressively(
    language_model: InContextModel,
    examples: Sequence[InContextPair],
    condition: list[Piece],
    pyramid: Pyramid,
    token_ids: Tensor,
    *,
    layers: int | None = None,
    schedule: Schedule | None = None,
    wording: Wording = LQAE,
) -> Tensor:
    """The codes [n] of a picture for `condition`, coarse to fine, each segment given those before it.

    Args:
        examples: at least one; each has the codes of as many layers as are asked for.
        token_ids: [codes], the language model's token of each row of the codebook.
        layers: how many to write; all by default.
    Raises:
        InputError: no examples, too few codes in one, more layers than there are, or prompts that don't fit the
            language model.
    """
    schedule = schedule or Schedule()
    length = pyramid.length(layers)
    if not examples:
        raise InputError("there is no example for the language model to learn from: give at least one pair")
    if short := [pair for pair in examples if len(pair.codes) < length]:
        raise InputError(
            f"an example has {len(short[0].codes)} words, but {length} are to be written: give all of them"
        )
    written = torch.zeros(0, dtype=torch.int64)
    above = 0
    for begin, end in zip((0, *pyramid.lengths), (end for end in pyramid.lengths if end <= length), strict=False):
        at_once = end - begin if end <= schedule.one_by_one else schedule.block
        prompts = []
        for start in range(begin, end, at_once):
            shown = _shown(range(above, begin), (start - begin) / (end - begin), schedule)
            stop = min(start + at_once, end)
            pieces: list[Piece] = []
            for pair in examples:
                told = token_ids[torch.cat([pair.codes[shown], pair.codes[start:stop]])].tolist()
                pieces += [wording.before, *pair.condition, wording.between, told, wording.after]
            so_far = token_ids[written[shown]].tolist()
            prompts.append([*pieces, wording.before, *condition, wording.between, so_far])
        found = language_model.continue_with(prompts, token_ids, length=at_once)
        written = torch.cat([written, _rows(found.flatten(), token_ids)[: end - begin]])
        above = begin
    return written


def denoise(
    language_model: InContextModel,
    clean: Sequence[Tensor],
    corrupted: Sequence[Tensor],
    query: Tensor,
    token_ids: Tensor,
    *,
    schedule: Schedule | None = None,
    wording: Wording = LQAE,
) -> Tensor:
    """The codes [n] that the language model takes `query` [n] to have been before some were replaced.

    Args:
        clean, corrupted: the codes [n] of examples without and with replacements (`corrupt`).
    Raises:
        InputError: no examples, one without its pair or of another length, or prompts that don't fit the language
            model.
    """
    schedule = schedule or Schedule()
    if len(clean) != len(corrupted):
        raise InputError(f"{len(clean)} clean and {len(corrupted)} corrupted examples: give pairs")
    if not clean or any(len(codes) != len(query) for codes in (*clean, *corrupted)):
        raise InputError(f"examples must be pairs of as many words as the query's {len(query)}: give at least one")
    prompts = []
    starts = range(0, len(query), schedule.block)
    for start in starts:
        part = slice(start, start + schedule.block)
        pieces: list[Piece] = []
        for before, after in zip(corrupted, clean, strict=True):
            told = [token_ids[codes[part]].tolist() for codes in (before, after)]
            pieces += [wording.before, told[0], wording.between, told[1], wording.after]
        prompts.append([*pieces, wording.before, token_ids[query[part]].tolist(), wording.between])
    found = language_model.continue_with(prompts, token_ids, length=schedule.block)
    return _rows(found.flatten(), token_ids)[: len(query)]


def corrupt(codes: Tensor, share: float, size: int, generator: torch.Generator, *, keep: int = 0) -> Tensor:
    """Codes [n], each replaced by a random one with chance `share`; by itself, too, once in `size` times.

    Args:
        size: of the codebook.
        keep: how many of the first, coarse codes are never replaced.
    """
    replaced = torch.rand(len(codes), generator=generator) < share
    replaced[:keep] = False
    return torch.where(replaced, torch.randint(size, (len(codes),), generator=generator), codes)


def _shown(above: range, where: float, schedule: Schedule) -> Tensor:
    """Places of the words that are shown before a block: the coarse ones, and those of the layer above that are near.

    Words of the block's own layer aren't: its blocks are written side by side.

    Args:
        above: the places of the layer above.
        where: how far down its layer the block begins, 0 to 1.
    """
    coarse = range(min(above.stop, schedule.one_by_one))
    first = above.start + round(where * len(above)) - schedule.window // 2
    first = max(len(coarse), min(first, above.stop - schedule.window))
    near = range(first, min(above.stop, first + schedule.window))
    return torch.tensor([*coarse, *near], dtype=torch.int64)


def _rows(tokens: Tensor, token_ids: Tensor) -> Tensor:
    """The codebook's rows of tokens, all of which it has."""
    order = token_ids.argsort()
    return order[torch.searchsorted(token_ids[order], tokens)]
