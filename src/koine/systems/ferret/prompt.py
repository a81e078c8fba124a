"""The wording of Ferret's prompts: conversation template, coordinates, region token, and which tokens are learnt.

The published set-up (template `ferret_v1`): system text, then `USER: <image>\\n{question} ASSISTANT: {answer}</s>` turn
by turn, with regions as `[x, y] <region_fea>` or `[x1, y1, x2, y2] <region_fea>`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, normalizers
from transformers import LlamaTokenizer, PreTrainedTokenizerBase

from koine.errors import InputError
from koine.parts.injection import IGNORED_LABEL
from koine.sentence import Region

IMAGE_MARK = "<image>"
REGION_TOKEN = "<region_fea>"
END_OF_ANSWER = "</s>"
TOKENIZER_FILE = "tokenizer.model"
RESERVED = (IMAGE_MARK, REGION_TOKEN, END_OF_ANSWER)


@dataclass(frozen=True)
class Turn:
    """One question with its answer; the answer of the last turn may be missing: it is what the model shall write."""

    question: str
    answer: str | None = None


def load_tokenizer(source: str | os.PathLike[str]) -> PreTrainedTokenizerBase:
    """The SentencePiece tokenizer in that file or folder (`tokenizer.model`), with the region token added.

    It behaves like the slow tokenizer that Vicuna and Ferret were trained with: every piece of text between special
    tokens begins with a space of its own, and the region token swallows the spaces around it.

    Raises:
        InputError: there is no such file, or it isn't a SentencePiece model.
    """
    path = Path(source)
    file = path if path.name == TOKENIZER_FILE else path / TOKENIZER_FILE
    if not file.is_file():
        raise InputError(f"there is no tokenizer at {file}: give a folder with {TOKENIZER_FILE}, or that file")
    try:
        tokenizer = LlamaTokenizer.from_pretrained(str(file.parent), legacy=True)
    except Exception as error:  # the reader raises whatever the bytes lead it to
        raise InputError(f"{file} is not a SentencePiece tokenizer: give that of the weights") from error
    return with_region_token(tokenizer)


def with_region_token(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Adds `<region_fea>` if the tokenizer lacks it, and makes text pieces begin with a space as in training."""
    token = AddedToken(REGION_TOKEN, lstrip=True, rstrip=True, normalized=False, special=True)
    tokenizer.add_tokens([token], special_tokens=True)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None and isinstance(tokenizer, LlamaTokenizer):
        # The class of transformers 5 leaves the added space away where the text has one already; the slow tokenizer
        # didn't, and neither did the classes that wrote the published training data.
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return tokenizer


def conversation(turns: Sequence[Turn], system_prompt: str) -> str:
    """The text of a conversation, ready to be tokenised; without a last answer it ends where one is to begin."""
    return (f"{system_prompt} " if system_prompt else "") + "".join(
        _asked(turn) + ("" if turn.answer is None else f" {turn.answer}{END_OF_ANSWER}") for turn in turns
    )


def _asked(turn: Turn) -> str:
    return f"USER: {turn.question} ASSISTANT:"


def tokenize(text: str, tokenizer: PreTrainedTokenizerBase, image_token_id: int) -> list[int]:
    """Token ids without begin-of-sequence; every `<image>` becomes `image_token_id` and ends a piece of text."""
    ids: list[int] = []
    for number, piece in enumerate(text.split(IMAGE_MARK)):
        if number:
            ids.append(image_token_id)
        ids += tokenizer(piece, add_special_tokens=False).input_ids if piece else []
    return ids


def tokenize_conversation(
    turns: Sequence[Turn], system_prompt: str, tokenizer: PreTrainedTokenizerBase, image_token_id: int
) -> tuple[list[int], list[int]]:
    """The conversation's token ids and labels, begin-of-sequence first.

    Labels are the ids of the answers and of the end after each; everything else is -100: the system text, the
    questions, and `ASSISTANT:`.
    """
    ids = [int(tokenizer.bos_token_id)]
    labels = [IGNORED_LABEL]
    prefix = f"{system_prompt} " if system_prompt else ""
    for turn in turns:
        asked = tokenize(prefix + _asked(turn), tokenizer, image_token_id)
        if turn.answer is None:
            whole = asked
        else:
            whole = tokenize(f"{prefix}{_asked(turn)} {turn.answer}{END_OF_ANSWER}", tokenizer, image_token_id)
        ids += whole
        labels += [IGNORED_LABEL] * len(asked) + whole[len(asked) :]
        prefix = ""
    return ids, labels


def to_bin(pixel: float, size: int, bins: int) -> int:
    """The coordinate bin of a pixel position: truncated, 0..bins."""
    return int(pixel * bins / size)


def from_bin(value: float, size: int, bins: int) -> int:
    """The pixel of a coordinate bin, truncated, as the published evaluation reads answers."""
    return int(value * size / bins)


def write_coordinates(values: Sequence[float], size: tuple[int, int], bins: int) -> str:
    """Pixels (x, y) or (x0, y0, x1, y1) of an image of `size` (width, height) as `[x, y]` or `[x1, y1, x2, y2]`."""
    return f"[{', '.join(str(to_bin(value, size[axis % 2], bins)) for axis, value in enumerate(values))}]"


def write_region(region: Region, bins: int) -> str:
    """A region's coordinates: a point as such, a box or a mask by its bounds."""
    values = region.bounds[:2] if region.kind == "point" else region.bounds
    # A box read from an answer (bin * size / bins) must be written as the same bins again, whatever its last bit.
    return write_coordinates([value + 1e-6 for value in values], region.image.size, bins)


def check_unreserved(text: str) -> None:
    """
    Raises:
        InputError: the text contains one of the template's own marks, which would be read as such.
    """
    for mark in RESERVED:
        if mark in text:
            raise InputError(
                f"the text {text[:60]!r} contains {mark}, which Ferret's template uses itself: leave it out, and give "
                "images and regions as parts of the sentence"
            )
