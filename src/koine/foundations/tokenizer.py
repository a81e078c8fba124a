"""The nano tokenizer: SentencePiece BPE with LLaMA's settings, trained on the world's text."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from koine.errors import InputError
from koine.files import write_atomically

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

VOCABULARY = 896
END_OF_TEXT = "<end>"
"""Closes a text of CLIP. LLaMA's own `</s>` has id 2, which transformers' CLIP takes for a sign of old weights."""
FILE = "tokenizer.model"


def train_tokenizer(lines: Iterable[str], path: Path, *, vocabulary: int = VOCABULARY) -> None:
    """Learn a BPE of `vocabulary` pieces from lines of text and write it to `path` (a SentencePiece model).

    Settings as LLaMA's: byte fallback, dummy prefix, no normalisation, each digit a token, <unk> 0, <s> 1, </s> 2.
    """
    import io
    import string

    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocabulary,
        control_symbols=[END_OF_TEXT],
        byte_fallback=True,
        split_digits=True,
        add_dummy_prefix=True,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        allow_whitespace_only_pieces=True,
        character_coverage=1.0,
        required_chars=string.ascii_letters + string.digits + string.punctuation,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    with write_atomically(path) as temporary:
        temporary.write_bytes(model.getvalue())


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder that holds `tokenizer.model`; <unk> pads.

    Raises:
        InputError: the folder has no tokenizer.
    """
    from transformers import LlamaTokenizer

    if not (folder / FILE).is_file():
        raise InputError(f"folder {folder} has no {FILE}: give a folder that a foundation was saved to")
    tokenizer = LlamaTokenizer.from_pretrained(folder, legacy=True, add_bos_token=True)
    tokenizer.pad_token = tokenizer.unk_token
    return tokenizer
