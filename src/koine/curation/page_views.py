"""Titles of Wikipedia with their page views, from Wikimedia's hourly dumps.

A dump's line is "code title views bytes"; the code is a language, with ".m" for the mobile site and others for other
projects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from koine.curation.compressed import BROKEN, open_compressed
from koine.curation.spilled_counts import SpilledCounts
from koine.errors import InputError

_LINES_AT_ONCE = 1_000_000


def english_views(paths: Iterable[Path], views: SpilledCounts, *, hourly: int = 50) -> None:
    """Adds up the views of English titles as the first release does.

    Of the desktop site alone, without titles that have a colon, and only of hours with at least `hourly` views.

    Args:
        paths: dumps, plain or .gz. The release reads 26 days between 2018-04-19 and 2022-08-29, each hour.
        views: what to add to.
    """

    def counted() -> Iterator[tuple[str, int]]:
        for fields in _lines(paths):
            if fields[0] == "en" and len(fields) > 2 and fields[2].isdigit() and ":" not in fields[1]:
                count = int(fields[2])
                if count >= hourly:
                    yield fields[1].replace("_", " "), count

    _add(counted(), views)


def views_of(language: str, paths: Iterable[Path], views: SpilledCounts) -> None:
    """Adds up the views of a language's titles as the second release does: all sites, all hours with any view."""

    def counted() -> Iterator[tuple[str, int]]:
        for fields in _lines(paths):
            if (
                len(fields) == 4
                and fields[0].split(".")[0] == language
                and ":" not in fields[1]
                and fields[2].isdigit()
            ):
                count = int(fields[2])
                if count:
                    yield fields[1].replace("_", " "), count

    _add(counted(), views)


def _add(counted: Iterable[tuple[str, int]], views: SpilledCounts) -> None:
    held: Counter[str] = Counter()
    for title, count in counted:
        held[title] += count
        if len(held) >= _LINES_AT_ONCE:
            views.add(held)
            held.clear()
    views.add(held)


def _lines(paths: Iterable[Path]) -> Iterator[list[str]]:
    """The fields of each line; a line that is not UTF-8 is passed over."""
    for path in paths:
        try:
            with open_compressed(path) as lines:
                for line in lines:
                    try:
                        yield line.decode().split()
                    except UnicodeDecodeError:
                        continue
        except BROKEN as error:
            raise InputError(
                f"the page views {path} can't be read to their end: {error}: fetch the file again"
            ) from error
