"""Curation of pairs of pictures and texts from the web, as MetaCLIP does it: match, count, balance.

    from koine.curation import Matcher, Options, curate

    Matcher.build(["red", "red cube"]).match(["a red cube"]).of(0)
    curate(Options(inputs=("pairs/",), entries="entries.json", threshold=20_000), "curated")

Importing the package costs milliseconds; the kernels are loaded, and compiled once, when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from koine.curation.balancing import (
        count_entries,
        entry_probabilities,
        keep_texts,
        tail_share,
        text_probabilities,
        threshold_for,
    )
    from koine.curation.matching import Matcher, Matches, Repeated
    from koine.curation.metadata import Metadata, build_first, build_second
    from koine.curation.options import Columns, Deduplicate, Options, Sampling
    from koine.curation.pipeline import Execution, curate
    from koine.curation.spacing import Rule

__all__ = [
    "Columns",
    "Deduplicate",
    "Execution",
    "Matcher",
    "Matches",
    "Metadata",
    "Options",
    "Repeated",
    "Rule",
    "Sampling",
    "build_first",
    "build_second",
    "count_entries",
    "curate",
    "entry_probabilities",
    "keep_texts",
    "tail_share",
    "text_probabilities",
    "threshold_for",
]

_BALANCING = (
    "count_entries",
    "entry_probabilities",
    "keep_texts",
    "tail_share",
    "text_probabilities",
    "threshold_for",
)
_ROOMS = {
    "balancing": _BALANCING,
    "matching": ("Matcher", "Matches", "Repeated"),
    "metadata": ("Metadata", "build_first", "build_second"),
    "options": ("Columns", "Deduplicate", "Options", "Sampling"),
    "pipeline": ("Execution", "curate"),
    "spacing": ("Rule",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    """Imports the file that `name` lives in (PEP 562)."""
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'koine.curation' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"koine.curation.{_ROOM_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
