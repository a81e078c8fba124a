"""The codebook's words: which rows of a language model's input table a picture may be spelt with."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import PreTrainedModel

from koine.errors import InputError

Candidates = Literal["words", "all"]
"""Which rows are taken: "words" are pieces that begin a word, of letters only; "all" are all but control tokens."""
_WORD_STARTS = ("▁", "Ġ")
"""How SentencePiece and byte-level BPE mark a piece that begins a word."""
_SHORTEST = 2


@dataclass(frozen=True)
class Vocabulary:
    """Rows of a table.

    Attributes:
        table: [codes, width] float32.
        token_ids: [codes] int64, the language model's token of each row.
        words: what each row is called, for people; no two alike.
    """

    table: Tensor
    token_ids: Tensor
    words: tuple[str, ...]


def input_table(model: PreTrainedModel) -> Tensor:
    """A copy of a language model's input embeddings, float32 [tokens, width]; tied ones are copied like others.

    Raises:
        InputError: the model has none, or they aren't there as plain numbers: quantised, sharded over machines, or not
            loaded.
    """
    layer: Any = model.get_input_embeddings()
    weight = getattr(layer, "weight", None)
    kind = type(model).__name__
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        raise InputError(f"{kind} has no table of input embeddings [tokens, width]: give a language model that has")
    if not weight.is_floating_point() or weight.element_size() < 2:
        raise InputError(f"the input embeddings of {kind} are quantised to {weight.dtype}: load it unquantised")
    if weight.device.type == "meta" or hasattr(weight, "full_tensor") or weight.numel() == 0:
        raise InputError(f"the input embeddings of {kind} are sharded or not loaded: load it whole on one device")
    if not bool(torch.isfinite(weight).all()):
        raise InputError(f"the input embeddings of {kind} have nan or infinite numbers: the weights are damaged")
    return weight.detach().float().cpu().clone()


def token_names(tokenizer: Any) -> dict[int, str]:
    """What each token is called, for people; no two alike, so that a text of names has one reading.

    A piece that begins a word is called by its letters, another one "+ing", and one without letters of its own "#17".
    Control tokens have no name.
    """
    special = set(tokenizer.all_special_ids)
    taken: set[str] = set()
    names: dict[int, str] = {}
    for token, piece in enumerate(tokenizer.convert_ids_to_tokens(range(len(tokenizer)))):
        if piece is None or token in special:
            continue
        text = tokenizer.convert_tokens_to_string([piece]).strip()
        name = text if piece.startswith(_WORD_STARTS) else f"+{text}"
        if (
            not text.isprintable()
            or not text
            or " " in text
            or piece.startswith("<")
            or name[0] == "#"
            or name in taken
        ):
            name = f"#{token}"
        taken.add(name)
        names[token] = name
    return names


def choose_words(
    tokenizer: Any, *, candidates: Candidates = "words", known: Collection[str] | None = None
) -> list[tuple[int, str]]:
    """The tokens that a picture may be spelt with, ascending, and what each is called.

    Args:
        candidates: see `Candidates`.
        known: keep only words among these, compared without case.
    Raises:
        InputError: an unknown kind of candidates, or no word is left.
    """
    if candidates not in get_args(Candidates):
        raise InputError.unknown("kind of candidates", candidates, get_args(Candidates))
    kept = None if known is None else {word.lower() for word in known}
    found = [
        (token, name)
        for token, name in token_names(tokenizer).items()
        if (candidates == "all" or (len(name) >= _SHORTEST and name.isalpha()))
        and (kept is None or name.lower() in kept)
    ]
    if not found:
        raise InputError("no token of the language model may spell a picture: take other candidates or known words")
    return found


def build_vocabulary(
    table: Tensor,
    words: list[tuple[int, str]],
    *,
    normalized: bool = False,
    scale: float = 1.0,
    width: int | None = None,
) -> Vocabulary:
    """The codebook of these words.

    Whether the paper normalises or projects the table is not known; both are options.

    Args:
        table: the language model's, [tokens, width].
        words: tokens and their names (`choose_words`).
        normalized: bring every row to length 1 (before `scale`).
        scale: what all rows are multiplied by; the semantic loss gets sharper with it.
        width: project to so many dimensions, the principal ones; by default not at all.
    Raises:
        InputError: no words, a token outside the table, or a width beyond the table's.
    """
    if not words:
        raise InputError("a codebook of 0 words spells nothing: give at least one (codebook_size)")
    ids = torch.tensor([token for token, _ in words])
    if int(ids.max()) >= len(table):
        raise InputError(
            f"token {int(ids.max())} is beyond the {len(table)} rows of the table: give the tokenizer of its model"
        )
    rows = table[ids]
    if width is not None and width != rows.shape[1]:
        rows = _projected(rows, width)
    if normalized:
        rows = normalize(rows, dim=-1)
    return Vocabulary(scale * rows, ids, tuple(name for _, name in words))


def _projected(rows: Tensor, width: int) -> Tensor:
    """The coordinates of `rows` [n, wide] along their first `width` principal directions."""
    largest = min(rows.shape)
    if not 0 < width <= largest:
        raise InputError(
            f"{len(rows)} rows of width {rows.shape[1]} can't be projected to width {width}: give 1 to {largest}"
        )
    _, _, directions = torch.linalg.svd(rows - rows.mean(dim=0), full_matrices=False)
    return rows @ directions[:width].T
