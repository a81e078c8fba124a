"""Finds the annotation files and the pictures in a data set's folder, whatever way its owner unpacked it."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from koine.errors import InputError
from koine.sentence import Image

DEPTH = 2
"""How far below a data set's folder files are looked for: `coco/images/train2014` is two folders below `coco`."""


def find_file(path: str | os.PathLike[str], *patterns: str, what: str) -> Path:
    """The annotation file that `path` is, or that lies in the folder `path`: the first that fits the first pattern.

    Args:
        path: a file, taken as it is, or a folder.
        patterns: names with wildcards as published, the preferred one first.
        what: the file in words, for the error.
    Raises:
        InputError: no such path, or nothing in the folder fits.
    """
    files = find_files(path, *patterns, what=what)
    return files[0]


def find_files(path: str | os.PathLike[str], *patterns: str, what: str) -> list[Path]:
    """All files that fit the first pattern that any file fits, by name; see `find_file`."""
    root = Path(path)
    if root.is_file():
        return [root]
    if not root.exists():
        raise InputError(f"there is no file or folder {root}: give the folder that holds {what}")
    folders = folders_below(root)
    for pattern in patterns:
        files = sorted(file for folder in folders for file in folder.glob(pattern) if file.is_file())
        if files:
            return files
    raise InputError(f"{root} holds no {' and no '.join(patterns)}: put {what} there")


def folders_below(root: Path, depth: int = DEPTH) -> list[Path]:
    """`root` and its folders to the given depth, the nearer first, by name."""
    level, found = [root], [root]
    for _ in range(depth):
        level = sorted(
            Path(entry.path)
            for folder in level
            for entry in os.scandir(folder)
            if entry.is_dir() and not entry.name.startswith(".")
        )
        found.extend(level)
    return found


class ImageFolder:
    """Opens pictures by the names that annotation files give them.

    A name like `train2014/COCO_1.jpg` is looked for as it is and by its last part, in the folder and in the folders
    two levels below it. The last picture is kept, since neighbours in annotation files often share theirs.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        """Takes the folder (or a file in it).

        Raises:
            InputError: there is no such folder.
        """
        self.root = Path(root)
        if self.root.is_file():
            self.root = self.root.parent
        if not self.root.is_dir():
            raise InputError(f"there is no image folder {self.root}: give the folder that holds the pictures")
        self._folders: list[Path] | None = None
        self._last: tuple[str, Image] | None = None

    def open(self, name: str) -> Image:
        """The picture of this name.

        Raises:
            InputError: it isn't there (the message says where it was looked for), or it can't be read.
        """
        if self._last is None or self._last[0] != name:
            self._last = (name, Image.open(self.find(name)))
        return self._last[1]

    def find(self, name: str) -> Path:
        """The path of the picture of this name.

        Raises:
            InputError: it isn't there.
        """
        given = PurePosixPath(name.replace("\\", "/"))
        inside = PurePosixPath(*[part for part in given.parts if part not in ("/", "..")])
        if (direct := self.root / inside).is_file():
            return direct
        if self._folders is None:
            self._folders = folders_below(self.root)
        for place, folder in enumerate(self._folders):
            for relative in (inside, PurePosixPath(given.name)):
                if (file := folder / relative).is_file():
                    # The next picture most likely lies beside this one.
                    self._folders.insert(0, self._folders.pop(place))
                    return file
        raise InputError(
            f"there is no picture {name!r} in {self.root} or the {len(self._folders) - 1} folders below it: "
            "unpack the data set's pictures there, or name their folder with images=..."
        )
