"""A small system that answers at once, so that the commands can be tried without weights."""

import sys
from dataclasses import replace
from types import ModuleType
from typing import ClassVar

import pytest

from koine import registry
from koine.sentence import Image, Region, Reply, Sentence


class Echo:
    """Repeats the text and boxes the upper left quarter of the first picture; remembers what it was asked."""

    asked: ClassVar[list[tuple[Sentence, dict[str, object]]]] = []
    loaded: ClassVar[list[tuple[str, object, object]]] = []

    @classmethod
    def load(cls, weights: str = "nano", device: object = None, dtype: object = None) -> "Echo":
        cls.loaded.append((weights, device, dtype))
        return cls()

    def respond(self, *parts: object, **options: object) -> Reply:
        prompt = Sentence(*parts)
        self.asked.append((prompt, options))
        if prompt.text == "break":
            raise RuntimeError("a bug\nwith two lines")
        if prompt.text == "paint":
            return Reply("here you are", Image(prompt.images[0].pixels[::-1].copy()))
        boxes = [Region.box(image, 0, 0, image.width / 2, image.height / 2) for image in prompt.images[:1]]
        return Reply("you said ", prompt.text, *boxes, details={"words": len(prompt.text.split())})


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> type[Echo]:
    """The registry holds "echo" and nothing else."""
    module = ModuleType("koine.systems.echo.system")
    module.Echo = Echo  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "koine.systems.echo.system", module)
    info = registry.SystemInfo(
        "echo", "Echo", "0000.00000", "repeats", ("text",), ("text",), "verified", "koine.systems.echo.system:Echo"
    )
    planned = replace(registry.SYSTEMS["spae"], status="planned", entry=None)
    monkeypatch.setattr(registry, "SYSTEMS", {"echo": info, "spae": planned})
    Echo.asked, Echo.loaded = [], []
    return Echo
