"""Pictures alone, for models that learn from nothing else: folders in any order, and image data sets of the hub.

Read as they lie on disk: a folder of pictures, with or without a folder for each class (FFHQ, ImageNet), or the parquet
files of a Hugging Face image data set, whose column `image` holds encoded files. Nothing is decoded before its turn.
"""

from __future__ import annotations

import io
import json
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from koine.data.annotated import AnnotatedExample
from koine.data.imagenet import SUFFIXES
from koine.errors import InputError
from koine.sentence import Image, Sentence

if TYPE_CHECKING:
    import pyarrow as pa

IMAGE, LABEL = "image", "label"
"""Columns of a Hugging Face image data set; some call that of the pictures otherwise, as CIFAR-10 does ("img")."""


@dataclass(frozen=True)
class PictureInFolder:
    """Where a picture comes from.

    Attributes:
        image: its file's name, or its place in the parquet files.
        label: number of its class; None if there are no classes.
    """

    image: str
    label: int | None = None


class Pictures(Protocol):
    """Pictures that can be opened in any order, and the names of their classes, if they have any."""

    classes: Sequence[str]

    def __len__(self) -> int: ...

    def open(self, index: int) -> Image:
        """The picture of that number.

        Raises:
            InputError: it can't be read.
        """

    def where(self, index: int) -> PictureInFolder:
        """Where it comes from."""


def open_pictures(path: str | os.PathLike[str], *, split: str | None = None) -> Pictures:
    """The pictures of a folder, or of the parquet files in it.

    Args:
        path: the folder, a parquet file, or a folder with a folder or parquet files for each split.
        split: "train", "validation", ...; by default everything that there is.
    Raises:
        InputError: there are no pictures.
    """
    root = Path(path)
    if not root.exists():
        raise InputError(f"there is no folder {root}: give one with pictures, or with parquet files that hold them")
    if tables := _parquet_files(root, split):
        return PicturesInParquet(tables)
    folder = root / split if split and (root / split).is_dir() else root
    return PicturesInFolder(folder)


def open_together(paths: Sequence[str | os.PathLike[str]]) -> Pictures:
    """The pictures of several folders or parquet files, one after another; their classes are those of the first.

    A picture of another whose class the first has not is one without a class.

    Raises:
        InputError: see `open_pictures`.
    """
    return PicturesInTurn([open_pictures(path) for path in paths])


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
    return AnnotatedExample(Sentence(pictures.open(index)), target, id=where.image, task="picture", annotation=where)


class PicturesInTurn:
    """Pictures of several collections, one collection after another."""

    def __init__(self, parts: Sequence[Pictures]) -> None:
        self.parts = parts
        self.classes = parts[0].classes
        self._labels = [_renumbered(part.classes, self.classes) for part in parts]
        self._ends = list(accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1]

    def open(self, index: int) -> Image:
        number, place = self._found(index)
        return self.parts[number].open(place)

    def where(self, index: int) -> PictureInFolder:
        number, place = self._found(index)
        found = self.parts[number].where(place)
        return found if found.label is None else replace(found, label=self._labels[number][found.label])

    def _found(self, index: int) -> tuple[int, int]:
        number = bisect_right(self._ends, index)
        return number, index - (self._ends[number - 1] if number else 0)


class PicturesInFolder:
    """Every picture below a folder, by name; if all lie in folders of the first level, these are the classes."""

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            InputError: there is no picture below it.
        """
        self.folder = folder
        self.names = sorted(_names_below(folder)) if folder.is_dir() else []
        if not self.names:
            raise InputError(f"{folder} holds no pictures ({', '.join(SUFFIXES)}): give the folder that holds them")
        tops = [name.partition(os.sep)[0] if os.sep in name else None for name in self.names]
        self.classes: Sequence[str] = [] if None in tops else sorted({top for top in tops if top is not None})
        numbers = {name: number for number, name in enumerate(self.classes)}
        self._labels = [numbers.get(top or "") for top in tops]

    def __len__(self) -> int:
        return len(self.names)

    def open(self, index: int) -> Image:
        return Image.open(self.folder / self.names[index])

    def where(self, index: int) -> PictureInFolder:
        return PictureInFolder(self.names[index], self._labels[index])


class PicturesInParquet:
    """The rows of parquet files with one column of {bytes, path}, such as `image`, and perhaps a column `label`.

    Rows are read by row group, of which the latest few are kept: cheap in order, dear at random if groups are large.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        """
        Raises:
            InputError: a file is damaged or has no such column, or none has a row.
        """
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.files = list(files)
        groups: list[tuple[int, int]] = []
        sizes: list[int] = []
        for number, file in enumerate(self.files):
            try:
                opened = pq.ParquetFile(file)
            except (pa.ArrowException, OSError) as error:
                raise InputError(f"{file} is not a readable parquet file ({error}): fetch it again") from error
            if _image_column(opened.schema_arrow) is None:
                raise InputError(
                    f"{file} has no column {IMAGE!r} but {opened.schema_arrow.names}: give image data sets"
                )
            groups += [(number, group) for group in range(opened.num_row_groups)]
            sizes += [opened.metadata.row_group(group).num_rows for group in range(opened.num_row_groups)]
        if not sum(sizes):
            raise InputError(f"{self.files[0]} holds no pictures: give tables with rows")
        self._groups = groups
        self._ends = np.cumsum(sizes)
        self.classes: Sequence[str] = _class_names(pq.read_schema(self.files[0]))
        self._read = lru_cache(maxsize=8)(self._read_group)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def open(self, index: int) -> Image:
        value = self._row(index)[IMAGE]
        content = value.get("bytes") if isinstance(value, dict) else value
        if content is None:
            raise InputError(f"picture {index} of {self.files[0].parent} is not inside of its file: embed the pictures")
        return Image.open(io.BytesIO(content))

    def where(self, index: int) -> PictureInFolder:
        label = self._row(index).get(LABEL)
        if label is None or label < 0 or not self.classes:  # -1 stands for a label that is kept secret
            return PictureInFolder(str(index))
        return PictureInFolder(str(index), int(label))

    def _row(self, index: int) -> dict[str, Any]:
        import numpy as np

        place = int(np.searchsorted(self._ends, index, side="right"))
        begin = int(self._ends[place - 1]) if place else 0
        row: dict[str, Any] = self._read(place).slice(index - begin, 1).to_pylist()[0]
        return row

    def _read_group(self, place: int) -> pa.Table:
        import pyarrow.parquet as pq

        file, group = self._groups[place]
        opened = pq.ParquetFile(self.files[file])
        image = _image_column(opened.schema_arrow)
        names = {name: {image: IMAGE}.get(name, name) for name in (image, LABEL) if name in opened.schema_arrow.names}
        table = opened.read_row_group(group, columns=list(names))
        return table.rename_columns([names[name] for name in table.column_names])


def _parquet_files(root: Path, split: str | None) -> list[Path]:
    if root.is_file():
        return [root] if root.suffix == ".parquet" else []
    found = sorted(root.rglob("*.parquet"))
    return [file for file in found if split is None or file.name.startswith(split) or split in file.parts[-2:-1]]


def _image_column(schema: pa.Schema) -> str | None:
    """`image`, or else the only column that holds encoded files; None if there is neither."""
    import pyarrow as pa

    def holds_files(kind: pa.DataType) -> bool:
        return pa.types.is_struct(kind) and {field.name for field in kind} == {"bytes", "path"}

    found = [field.name for field in schema if holds_files(field.type)]
    if IMAGE in schema.names:
        return IMAGE
    return found[0] if len(found) == 1 else None


def _renumbered(classes: Sequence[str], known: Sequence[str]) -> list[int | None]:
    """For each class its number among the known ones; None if it isn't there."""
    if list(classes) == list(known):  # two may be called the same
        return list(range(len(known)))
    return [known.index(name) if name in known else None for name in classes]


def _names_below(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield os.path.relpath(os.path.join(place, name), folder)


def _class_names(schema: pa.Schema) -> list[str]:
    """What the hub's metadata call the classes; empty if they don't name any."""
    if LABEL not in schema.names:
        return []
    metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    feature = metadata.get("info", {}).get("features", {}).get(LABEL, {})
    return list(feature.get("names") or [])
