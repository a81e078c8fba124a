"""A folder of pictures with a folder for each class, as ImageNet is unpacked: `val/n01440764/ILSVRC2012_val_1.JPEG`.

Class numbers are those of the sorted folder names, which is how the published heads count.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from koine.data.annotated import AnnotatedExample
from koine.errors import InputError
from koine.sentence import Image, Sentence

SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".webp")
NAMES = "LOC_synset_mapping.txt"


@dataclass(frozen=True)
class ClassOfPicture:
    """One picture's class.

    Attributes:
        image: the file's name.
        label: number of the class, from 0.
        folder: the class's folder, such as n01440764.
        names: what the class is called, the first name first; none if nobody says.
    """

    image: str
    label: int
    folder: str
    names: tuple[str, ...] = ()


def examples(
    path: str | os.PathLike[str], *, images: str | os.PathLike[str] | None = None, split: str = "val"
) -> Iterator[AnnotatedExample]:
    """The pictures class by class; the target is the class's first name, or its folder's.

    Args:
        path: the folder that holds `<split>/`, or the folder of the classes itself; `LOC_synset_mapping.txt`, which
            comes with ImageNet and names the classes, is read from it.
        images: the folder of the classes, if it lies elsewhere.
    Raises:
        InputError: there are no folders of classes.
    """
    root = Path(images or path)
    classes = root / split if (root / split).is_dir() else root
    if not classes.is_dir():
        raise InputError(f"there is no folder {classes}: give the folder that holds a folder for each class")
    folders = sorted(folder.name for folder in classes.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    if not folders:
        raise InputError(f"{classes} holds no folders of classes: put a folder with pictures for each class there")
    return _examples(classes, folders, _names(Path(path)))


def _examples(classes: Path, folders: list[str], names: dict[str, tuple[str, ...]]) -> Iterator[AnnotatedExample]:
    for label, folder in enumerate(folders):
        for file in sorted((classes / folder).iterdir()):
            if file.suffix.lower() in SUFFIXES:
                annotation = ClassOfPicture(file.name, label, folder, names.get(folder, ()))
                yield AnnotatedExample(
                    prompt=Sentence(Image.open(file)),
                    target=Sentence((annotation.names or (folder,))[0]),
                    id=f"{folder}/{file.name}",
                    task="classify",
                    annotation=annotation,
                )


def _names(root: Path) -> dict[str, tuple[str, ...]]:
    """Folder -> names, from lines like `n01440764 tench, Tinca tinca`."""
    file = root / NAMES
    if not file.is_file():
        return {}
    lines = (line.partition(" ") for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
    return {folder: tuple(name.strip() for name in names.split(",")) for folder, _, names in lines}
