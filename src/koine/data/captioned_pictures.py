"""Pictures with captions, opened in any order, for models that learn what texts show.

Read as they lie on disk: COCO's captions, Karpathy's division of COCO and Flickr30k, a `metadata.jsonl` beside pictures
as Hugging Face's image folders have it, or parquet files that hold pictures, or the paths of pictures as those of
`koine curate` do, beside texts. No picture is decoded before its turn.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from koine.data import coco, karpathy
from koine.data.folders import ImageFolder, find_file, find_files
from koine.data.image_folders import PICTURE
from koine.data.labelled_files import FilesInParquet, FilesInTurn, LabelledFile, LabelledFiles
from koine.data.records import json_lines
from koine.errors import InputError
from koine.sentence import Image

LISTS = ("captions_train*.json", "captions_*.json", "dataset_*.json", "metadata.jsonl")
TEXTS = ("text", "caption", "captions", "texts")
"""What columns and fields of captions are called; each holds a text or a list of texts."""


@dataclass(frozen=True)
class CaptionedPicture:
    """A picture and what is said about it, in at least one caption."""

    image: Image
    captions: tuple[str, ...]


CaptionedPictures: TypeAlias = LabelledFiles[CaptionedPicture]


def open_together(
    paths: Sequence[str | os.PathLike[str]], *, images: str | os.PathLike[str] | None = None
) -> CaptionedPictures:
    """The captioned pictures of several files or folders, one after another.

    Args:
        paths: `LISTS` or parquet files, or folders that hold them.
        images: the folder of the pictures, by default `paths` themselves.
    Raises:
        InputError: a path holds no captions, or files of another form.
    """
    return FilesInTurn([_opened(Path(path), images) for path in paths])


def _opened(path: Path, images: str | os.PathLike[str] | None) -> CaptionedPictures:
    what = "a list of pictures with captions"
    file = find_file(path, *LISTS, "*.parquet", what=what)
    if file.suffix != ".parquet":
        return ListedPictures(list(_listed(file)), ImageFolder(images or path))
    return PicturesInTables(find_files(path, "*.parquet", what=what), ImageFolder(images or path))


def _listed(file: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The names of a file's pictures, each with its captions."""
    if file.name.startswith("captions_"):
        for coco_picture in coco.read_captions(file):
            yield coco_picture.picture.name, coco_picture.captions
    elif file.name.startswith("dataset_"):
        for described in karpathy.read(file, split="train"):
            yield described.image, described.captions
    else:
        for record in json_lines(file):
            yield record.field("file_name", str), _captions(record.values, record.where)


class ListedPictures:
    """Pictures of a folder that a list names with their captions."""

    classes: Sequence[str] = ()

    def __init__(self, listed: Sequence[tuple[str, tuple[str, ...]]], folder: ImageFolder) -> None:
        """
        Raises:
            InputError: nothing is listed.
        """
        if not listed:
            raise InputError(f"the list in {folder.root} names no pictures with captions: give one that does")
        self.listed, self.folder = listed, folder

    def __len__(self) -> int:
        return len(self.listed)

    def open(self, index: int) -> CaptionedPicture:
        name, captions = self.listed[index]
        return CaptionedPicture(self.folder.open(name), captions)

    def where(self, index: int) -> LabelledFile:
        return LabelledFile(self.listed[index][0])


class PicturesInTables:
    """The rows of parquet files: a column `image` of encoded files or of paths, and one of `TEXTS`."""

    classes: Sequence[str] = ()

    def __init__(self, files: Sequence[Path], folder: ImageFolder) -> None:
        """
        Raises:
            InputError: see `FilesInParquet`.
        """
        self.rows, self.folder = FilesInParquet(PICTURE, files, beside=TEXTS), folder

    def __len__(self) -> int:
        return len(self.rows)

    def open(self, index: int) -> CaptionedPicture:
        row = self.rows.row(index)
        name = row[PICTURE.column]
        image = self.folder.open(name) if isinstance(name, str) else self.rows.open(index)
        return CaptionedPicture(image, _captions(row, f"row {index} of {self.rows.files[0].parent}"))

    def where(self, index: int) -> LabelledFile:
        return LabelledFile(str(index))


def _captions(values: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """The texts of the first of `TEXTS` that is there.

    Raises:
        InputError: there is none, or it is empty.
    """
    found: Any = next((values[name] for name in TEXTS if values.get(name)), [])
    texts = [found] if isinstance(found, str) else list(found)
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise InputError(
            f"{where} has no caption but {texts}: give a text, or a list of texts, as {' or '.join(TEXTS)}"
        )
    return tuple(text.strip() for text in texts)
