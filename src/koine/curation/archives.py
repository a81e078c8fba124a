"""Samples of a webdataset: the members of a tar file that share a name up to its first dot."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from koine.curation.compressed import open_compressed

_TEXT_MEMBERS = ("txt", "text", "caption")


@dataclass(frozen=True)
class Sample:
    """One sample, with the content of those members that hold text."""

    key: str
    members: dict[str, bytes]
    """Content by extension, of `.json` and text members only."""

    def fields(self, text: str) -> dict[str, Any]:
        """The fields of its `.json`; the text is that of its text member unless the JSON has one by the name `text`."""
        record: dict[str, Any] = {}
        if "json" in self.members:
            found = json.loads(self.members["json"])
            record = found if isinstance(found, dict) else {}
        if text not in record:
            if "texts" in record:
                record[text] = record["texts"]
            elif member := next((name for name in _TEXT_MEMBERS if name in self.members), None):
                record[text] = self.members[member].decode("utf-8", "surrogateescape")
        return record


def read_samples(path: Path) -> Iterator[Sample]:
    """The samples of a tar file (also compressed), in order, without the content of pictures.

    Raises:
        OSError: the file is cut short or is no tar file.
        ValueError: a sample's JSON is broken.
    """
    key = ""
    members: dict[str, bytes] = {}
    for member, archive in _members(path):
        name, extension = split_name(member.name)
        if name != key:
            if members:
                yield Sample(key, members)
            key, members = name, {}
        kind = extension.lower()
        content = archive.extractfile(member) if kind == "json" or kind in _TEXT_MEMBERS else None
        members[kind] = content.read() if content else b""
    if members:
        yield Sample(key, members)


def split_name(name: str) -> tuple[str, str]:
    """A member's key (its name up to the first dot after the last slash) and its extension."""
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return f"{folder}{slash}{stem}", extension


def _members(path: Path) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    size = path.stat().st_size
    try:
        with open_compressed(path) as content, tarfile.open(fileobj=content, mode="r|") as archive:
            plain = isinstance(content, io.BufferedReader)
            for member in archive:
                if plain and member.offset_data + member.size > size:
                    raise OSError(f"the file is cut short within {member.name}")
                if member.isfile():
                    yield member, archive
            # tarfile takes the end of a plain file for the end of the archive; that has a block of zeros.
            if plain and archive.offset + tarfile.BLOCKSIZE > size:
                raise OSError("the file is cut short")
    except tarfile.TarError as error:
        raise OSError(str(error)) from error
