"""Koine: one interface in which eleven multimodal systems read and write sentences of text, pictures, regions and more.

Importing the package costs milliseconds: every name below is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from koine.errors import InputError
    from koine.registry import SYSTEMS, System, SystemInfo, load
    from koine.sentence import EEG, Audio, Entity, Example, Image, Part, Region, Reply, Sentence, State

__all__ = [
    "EEG",
    "SYSTEMS",
    "Audio",
    "Entity",
    "Example",
    "Image",
    "InputError",
    "Part",
    "Region",
    "Reply",
    "Sentence",
    "State",
    "System",
    "SystemInfo",
    "load",
]

_ROOMS = {
    "koine.errors": ("InputError",),
    "koine.registry": ("SYSTEMS", "System", "SystemInfo", "load"),
    "koine.sentence": (
        "EEG",
        "Audio",
        "Entity",
        "Example",
        "Image",
        "Part",
        "Region",
        "Reply",
        "Sentence",
        "State",
    ),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    """Imports the room that `name` lives in (PEP 562)."""
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'koine' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_ROOM_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
