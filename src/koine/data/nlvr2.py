"""NLVR2: is a sentence true of a left and a right photograph? (arXiv:1811.00491)

JSON lines with the fields identifier, sentence and label (`True` or `False`), one file a split: `train.json`,
`dev.json`, `test1.json`. The pictures of `dev-850-0-1` are `dev-850-0-img0.png` (left) and `dev-850-0-img1.png`;
those of the training split lie in numbered folders that the field directory names.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from koine.data.annotated import AnnotatedExample
from koine.data.folders import ImageFolder, find_file
from koine.data.records import Record, json_lines
from koine.errors import InputError
from koine.sentence import Image, Sentence

SPLITS = ("dev", "test1", "test2", "balanced_dev", "unbalanced_dev", "balanced_test1", "unbalanced_test1", "train")


@dataclass(frozen=True)
class StatementOnPictures:
    """One statement about pictures.

    Attributes:
        group: what consistency counts: the examples with the same sentence, here the identifier without its pictures.
        images: the files of the pictures, left to right.
        label: whether the sentence is true.
    """

    id: str
    group: str
    sentence: str
    images: tuple[str, ...]
    label: bool


def read(path: str | os.PathLike[str], *, split: str = "dev") -> Iterator[StatementOnPictures]:
    """The statements of a split.

    Raises:
        InputError: an unknown split, a missing file or field, or a label that is neither true nor false.
    """
    if split not in SPLITS:
        raise InputError.unknown("split of NLVR2", split, SPLITS)
    file = find_file(path, f"{split}.json*", what=f"NLVR2's {split}.json")
    return (_statement(record) for record in json_lines(file))


def examples(
    path: str | os.PathLike[str], *, images: str | os.PathLike[str] | None = None, split: str = "dev"
) -> Iterator[AnnotatedExample]:
    """Left picture, right picture, sentence; the target is `true` or `false`.

    Args:
        images: the folder of the pictures, by default `path`; for the training split the one that holds the numbered
            folders.
    """
    return _examples(read(path, split=split), ImageFolder(images or path))


def example(statement: StatementOnPictures, pictures: Iterable[Image]) -> AnnotatedExample:
    """The pictures in order, then the sentence."""
    return AnnotatedExample(
        prompt=Sentence(*pictures, statement.sentence),
        target=Sentence("true" if statement.label else "false"),
        id=statement.id,
        task="judge",
        annotation=statement,
    )


def truth(value: object, where: str) -> bool:
    """A published label as a truth value.

    Raises:
        InputError: it is neither.
    """
    label = {"true": True, "false": False}.get(str(value).lower())
    if label is None:
        raise InputError(f"{where}: label is {value!r}: give True or False")
    return label


def _examples(statements: Iterable[StatementOnPictures], images: ImageFolder) -> Iterator[AnnotatedExample]:
    for statement in statements:
        yield example(statement, [images.open(name) for name in statement.images])


def _statement(record: Record) -> StatementOnPictures:
    identifier = record.field("identifier", str)
    picture, _, _ = identifier.rpartition("-")
    if not picture:
        raise InputError(f"{record.where}: identifier is {identifier!r}: give one such as dev-850-0-1")
    split, set_number, _, sentence = ([*identifier.split("-"), "", "", ""])[:4]
    folder = record.values.get("directory")
    below = "" if folder is None else f"{folder}/"
    return StatementOnPictures(
        id=identifier,
        # split-set-pair-sentence: a sentence was written for a set and judged on several of its pairs
        group=f"{split}-{set_number}-{sentence}",
        sentence=record.field("sentence", str),
        images=tuple(f"{below}{picture}-img{side}.png" for side in (0, 1)),
        label=truth(record.field("label", object), record.where),
    )
