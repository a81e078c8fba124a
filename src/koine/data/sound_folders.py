"""Sounds alone: folders of recordings, such as VCTK and LibriSpeech, and audio data sets of the hub.

Read as they lie on disk: a folder of sound files, with or without a folder for each class (a speaker, say), or parquet
files, of a Hugging Face audio data set or others, with a column that holds encoded files. Nothing is decoded before its
turn, and a recording is decoded whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from koine.data.annotated import AnnotatedExample
from koine.data.labelled_files import LABEL, FilesInTurn, Kind, LabelledFiles, open_files
from koine.sentence import Audio, Sentence

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
SOUND = Kind("sound", SUFFIXES, "audio", Audio.open)
Sounds: TypeAlias = LabelledFiles[Audio]


def open_sounds(path: str | os.PathLike[str], *, split: str | None = None, label: str = LABEL) -> Sounds:
    """The sounds of a folder, or of the parquet files in it; see `koine.data.labelled_files.open_files`.

    Args:
        label: of parquet files, the column whose values are the classes, such as "speaker".
    Raises:
        InputError: there are no sounds.
    """
    return open_files(SOUND, path, split=split, label=label)


def open_together(paths: Sequence[str | os.PathLike[str]], *, label: str = LABEL) -> Sounds:
    """The sounds of several folders or parquet files, one after another; their classes are those of the first.

    Raises:
        InputError: see `open_sounds`.
    """
    return FilesInTurn([open_sounds(path, label=label) for path in paths])


def examples(
    path: str | os.PathLike[str], *, split: str | None = None, label: str = LABEL
) -> Iterator[AnnotatedExample]:
    """Each sound; the target is the name of its class, or nothing.

    Raises:
        InputError: see `open_sounds`.
    """
    sounds = open_sounds(path, split=split, label=label)
    return (_example(sounds, index) for index in range(len(sounds)))


def _example(sounds: Sounds, index: int) -> AnnotatedExample:
    where = sounds.where(index)
    target = Sentence() if where.label is None else Sentence(sounds.classes[where.label])
    return AnnotatedExample(Sentence(sounds.open(index)), target, id=where.name, task="sound", annotation=where)
