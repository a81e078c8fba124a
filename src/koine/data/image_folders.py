"""Pictures alone, for models that learn from nothing else: folders in any order, and image data sets of the hub.

Read as they lie on disk: a folder of pictures, with or without a folder for each class (FFHQ, ImageNet), or the parquet
files of a Hugging Face image data set, whose column `image` holds encoded files. Nothing is decoded before its turn.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from koine.data.annotated import AnnotatedExample
from koine.data.imagenet import SUFFIXES
from koine.data.labelled_files import FilesInTurn, Kind, LabelledFiles, open_files
from koine.sentence import Image, Sentence

PICTURE = Kind("picture", SUFFIXES, "image", Image.open)
"""Some data sets call the column otherwise, as CIFAR-10 does ("img"): then it's the only one that holds files."""
Pictures: TypeAlias = LabelledFiles[Image]


def open_pictures(path: str | os.PathLike[str], *, split: str | None = None) -> Pictures:
    """The pictures of a folder, or of the parquet files in it; see `koine.data.labelled_files.open_files`.

    Raises:
        InputError: there are no pictures.
    """
    return open_files(PICTURE, path, split=split)


def open_together(paths: Sequence[str | os.PathLike[str]]) -> Pictures:
    """The pictures of several folders or parquet files, one after another; their classes are those of the first.

    A picture of another whose class the first has not is one without a class.

    Raises:
        InputError: see `open_pictures`.
    """
    return FilesInTurn([open_pictures(path) for path in paths])


def examples(
    path: str | os.PathLike[str], *, images: str | os.PathLike[str] | None = None, split: str | None = None
) -> Iterator[AnnotatedExample]:
    """Each picture; the target is the name of its class, or nothing.

    Args:
        images: the folder of the pictures, if it isn't `path`.
    Raises:
        InputError: see `open_pictures`.
    """
    pictures = open_pictures(images or path, split=split)
    return (_example(pictures, index) for index in range(len(pictures)))


def _example(pictures: Pictures, index: int) -> AnnotatedExample:
    where = pictures.where(index)
    target = Sentence() if where.label is None else Sentence(pictures.classes[where.label])
    return AnnotatedExample(Sentence(pictures.open(index)), target, id=where.name, task="picture", annotation=where)
