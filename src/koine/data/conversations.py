"""Conversations of a person and a model as one example: LLaVA's format, which Ferret's training data extends.

A record holds `image` (missing for talk without a picture) and `conversations`: a list of `{"from": "human" | "gpt",
"value": text}` by turns, with `<image>` where the picture was put into the first turn.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from koine.data.annotated import AnnotatedExample
from koine.data.folders import ImageFolder, find_file
from koine.data.records import Record, json_array
from koine.errors import InputError
from koine.sentence import Image, Part, Sentence

PLACEHOLDER = "<image>"


def llava_examples(
    path: str | os.PathLike[str], *, images: str | os.PathLike[str] | None = None
) -> Iterator[AnnotatedExample]:
    """The conversations of one of LLaVA's files; the last exchange is prompt and target, the earlier ones history.

    Args:
        path: the file (`llava_instruct_150k.json`, ...), or a folder with it.
        images: the folder of COCO's train2014 or train2017 pictures, by default `path`.
    Raises:
        InputError: a record lacks a field, or its speakers don't take turns.
    """
    file = find_file(path, "llava_*.json", "*.json", what="a file of LLaVA's conversations")
    return _llava_examples(json_array(file), ImageFolder(images or path))


def turns(record: Record) -> list[str]:
    """The texts of a record, person and model by turns, `<image>` removed.

    Raises:
        InputError: nothing said, the last question unanswered, or two turns of one speaker in a row.
    """
    texts = []
    for number, turn in enumerate(record.children("conversations")):
        speaker, expected = turn.field("from", str), ("human", "gpt")[number % 2]
        if speaker != expected:
            raise InputError(f"{turn.where}: spoken by {speaker!r}: human and gpt must take turns, the human first")
        text = turn.field("value", str)
        texts.append(text.replace(PLACEHOLDER, "").strip() if PLACEHOLDER in text else text)
    if not texts or len(texts) % 2:
        raise InputError(f"{record.where}: {len(texts)} turns: every question needs its answer")
    return texts


def conversation(
    image: Image | None, spoken: Sequence[Sequence[Part]], *, id: str, task: str, annotation: Any = None
) -> AnnotatedExample:
    """The example of a conversation whose turns are already parts; the picture comes first, as in LLaVA and Ferret."""
    sentences = [Sentence(*parts) for parts in spoken]
    if image is not None:
        sentences[0] = Sentence(image) + sentences[0]
    exchanges = list(zip(sentences[::2], sentences[1::2], strict=True))
    prompt, target = exchanges.pop()
    return AnnotatedExample(prompt, target, id=id, task=task, history=tuple(exchanges), annotation=annotation)


def _llava_examples(records: Iterable[Record], images: ImageFolder) -> Iterator[AnnotatedExample]:
    for record in records:
        name = record.optional("image", str, "")
        yield conversation(
            images.open(name) if name else None,
            [[text] for text in turns(record)],
            id=str(record.values.get("id", record.where)),
            task="converse",
        )
