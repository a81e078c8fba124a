"""BEiT-3's words: a sentencepiece model, whose pieces are numbered as XLM-RoBERTa numbers them (beit3.spm)."""

from __future__ import annotations

import io
import string
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from koine.errors import InputError
from koine.files import write_atomically
from koine.systems.beit3.config import Beit3Config

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

FILES = ("beit3.spm", "tokenizer.model")
"""The published file's name, and the one that the nano weights have."""
_SPECIALS = ("<unk>", "<s>", "</s>")
"""The first pieces of the file; a piece behind them moves up by one, since padding has an id but no piece."""
_SHIFT = 1


class Beit3Tokenizer:
    """Texts to ids and back: `<s>` 0, padding 1, `</s>` 2, unknown 3, then the pieces, and the mask token last.

    The published file has 64,000 pieces, so that there are 64,002 tokens; the word table has 64,010 rows, the last
    eight of which nothing uses.
    """

    def __init__(
        self, pieces: SentencePieceProcessor, config: Beit3Config, *, name: str = "the sentencepiece file"
    ) -> None:
        """
        Raises:
            InputError: the file isn't BEiT-3's: other special pieces, or another number of pieces than the model has
                words for.
        """
        count = pieces.get_piece_size()
        specials = tuple(pieces.id_to_piece(place) for place in range(min(count, len(_SPECIALS))))
        if specials != _SPECIALS:
            raise InputError(
                f"{name} begins with the pieces {', '.join(specials)}, not {', '.join(_SPECIALS)}: give the file that "
                "belongs to BEiT-3, beit3.spm"
            )
        if count + _SHIFT != config.mask_token_id or count + 1 + _SHIFT > config.vocab_size:
            raise InputError(
                f"{name} has {count} pieces, but the model's mask token is number {config.mask_token_id}, which takes "
                f"{config.mask_token_id - _SHIFT}: give the file that belongs to these weights"
            )
        self.pieces = pieces
        self.config = config

    @classmethod
    def from_folder(cls, folder: Path, config: Beit3Config) -> Beit3Tokenizer:
        """The tokenizer that lies beside weights.

        Raises:
            InputError: there is none, or it can't be read, or it is another model's.
        """
        file = next((folder / name for name in FILES if (folder / name).is_file()), None)
        if file is None:
            raise InputError(f"folder {folder} has no {' or '.join(FILES)}: put the published beit3.spm there")
        return cls.from_file(file, config)

    @classmethod
    def from_file(cls, file: Path, config: Beit3Config) -> Beit3Tokenizer:
        """The tokenizer of a sentencepiece file.

        Raises:
            InputError: it can't be read, or is another model's.
        """
        from sentencepiece import SentencePieceProcessor

        try:
            pieces = SentencePieceProcessor(model_file=str(file))
        except (RuntimeError, OSError) as error:
            raise InputError(f"{file} is no sentencepiece model: put the published beit3.spm there") from error
        return cls(pieces, config, name=str(file))

    def segments(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text without special tokens."""
        unknown, config = self.pieces.unk_id(), self.config
        return [
            [config.unk_token_id if piece == unknown else piece + _SHIFT for piece in row]
            for row in self.pieces.encode(list(texts))
        ]

    def pad(self, segments: Sequence[Sequence[int]]) -> Tensor:
        """`<s>`, the ids, `</s>`, then padding up to the longest: int64 [texts, tokens]."""
        config = self.config
        rows = np.full((len(segments), max((len(row) for row in segments), default=0) + 2), config.pad_token_id)
        rows[:, 0] = config.bos_token_id
        for row, segment in zip(rows, segments, strict=True):
            row[1 : 1 + len(segment)] = segment
            row[1 + len(segment)] = config.eos_token_id
        return torch.from_numpy(rows)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; special tokens say nothing."""
        pieces = [number - _SHIFT for number in ids if self.config.unk_token_id < number < self.config.mask_token_id]
        return str(self.pieces.decode(pieces))


def train_pieces(lines: Iterable[str], path: Path, *, pieces: int) -> None:
    """Learns a sentencepiece model in the published file's conventions from lines of text and writes it to `path`."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type="bpe",
        vocab_size=pieces,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        character_coverage=1.0,
        required_chars=string.ascii_letters + string.digits + string.punctuation,
        num_threads=1,
        minloglevel=2,
    )
    with write_atomically(path) as temporary:
        temporary.write_bytes(model.getvalue())
