"""Files that may be compressed, opened by what they begin with."""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

BROKEN = (OSError, EOFError, zlib.error)
"""What reading a missing, truncated or damaged file raises."""


@contextmanager
def open_compressed(path: Path) -> Iterator[IO[bytes]]:
    """The content of a gzip file (of any number of members), a bzip2 file or a plain one, as a stream.

    Raises:
        OSError, EOFError, zlib.error (`BROKEN`): here if the file can't be opened, while reading if it is damaged.
    """
    with path.open("rb") as raw:
        magic = raw.read(3)
        raw.seek(0)
        if magic[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=raw) as content:
                yield cast(IO[bytes], content)
        elif magic == b"BZh":
            with bz2.BZ2File(raw) as content:
                yield content
        else:
            yield raw


def one_line(error: BaseException) -> str:
    """What a library says of damage, without the line breaks that some put there."""
    return " ".join(str(error).split())
