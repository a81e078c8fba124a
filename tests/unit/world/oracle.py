"""A second, slow opinion on what is true of a scene: sets and loops over the scene itself, no shared code."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from koine.world.render import Observation
from koine.world.scene import Scene

COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "white")
HELD_OUT = {"red ring", "green cone", "blue cube", "yellow arch", "purple ball", "cyan cylinder"}
SHAPES = ("cube", "ball", "cylinder", "cone", "ring", "arch")
NUMBERS = ("zero", "one", "two", "three", "four", "five")


class Oracle:
    def __init__(self, scene: Scene, view: Observation, least: int = 1) -> None:
        """Counts the things of which at least `least` pixels are visible."""
        self.scene, self.view = scene, view
        self.there = {index for index, pixels in enumerate(view.visible) if pixels >= least}

    def having(self, words: list[str]) -> set[int]:
        return {i for i in self.there if all(word in self._looks(i) for word in words)}

    def related(self, i: int, relation: str, j: int) -> bool:
        one, other = self.scene.things[i], self.scene.things[j]
        if i == j or not {i, j} <= self.there:
            return False
        width = self.view.image.shape[1]
        middle = [(box[0] + box[2]) / 2 / width for box in self.view.amodal_boxes]
        away = self._depth(i) - self._depth(j)
        return {
            "left of": middle[j] - middle[i] >= 0.08,
            "right of": middle[i] - middle[j] >= 0.08,
            "in front of": away <= -0.03,
            "behind": away >= 0.03,
            "inside": one.inside == j and other.shape == "ring",
            "around": other.inside == i and one.shape == "ring",
            "under": (one.inside == j and other.shape == "arch") or other.on == i,
            "over": other.inside == i and one.shape == "arch",
            "on": one.on == j,
            "below": other.on == i,
        }[relation]

    def fitting(self, description: dict[str, Any]) -> set[int]:
        """The things that a description's program fits."""
        found = self.having(description["words"])
        if "relation" in description:
            anchors = self.fitting(description["anchor"])
            if len(anchors) != 1:
                return set()
            (anchor,) = anchors
            found = {i for i in found if self.related(i, description["relation"], anchor)}
        best = description.get("superlative")
        if best is None:
            return found
        return {i for i in found if all(self._beats(i, best, j) for j in found - {i})}

    def the(self, description: dict[str, Any]) -> int:
        (found,) = self.fitting(description)
        return found

    def answer(self, program: dict[str, Any]) -> str:
        """The answer of a question's program."""
        ask, things = program["ask"], self.scene.things
        if ask in ("surface", "light"):
            return str(getattr(self.scene, ask))
        if ask == "count":
            return NUMBERS[len(self.having(program["words"]))]
        if ask == "exists":
            return self._yes(self.having(program["words"]))
        if ask == "more":
            return self._yes(len(self.having(program["words"])) > len(self.having(program["than"])))
        to = self.the(program["to"]) if "to" in program else -1
        if ask in ("which", "anything"):
            found = {i for i in self.there if self.related(i, program["relation"], to)}
            if ask == "anything":
                return self._yes(found)
            (only,) = found
            return f"{things[only].colour} {things[only].shape}"
        of = self.the(program["of"])
        if ask == "support":
            base = things[of].on
            return "table" if base is None else f"{things[base].colour} {things[base].shape}"
        if ask == "same":
            return self._yes(getattr(things[of], program["attribute"]) == getattr(things[to], program["attribute"]))
        if ask == "larger":
            return self._yes(things[of].size == "large" and things[to].size == "small")
        if ask == "holds":
            return self._yes(self.related(of, program["relation"], to))
        return str(getattr(things[of], ask))

    def _beats(self, i: int, best: str, j: int) -> bool:
        sizes = self.scene.things[i].size, self.scene.things[j].size
        return {
            "leftmost": self.related(i, "left of", j),
            "rightmost": self.related(i, "right of", j),
            "nearest": self.related(i, "in front of", j),
            "farthest": self.related(i, "behind", j),
            "largest": sizes == ("large", "small"),
            "smallest": sizes == ("small", "large"),
        }[best]

    def _looks(self, i: int) -> tuple[str, str, str, str]:
        thing = self.scene.things[i]
        return thing.size, thing.colour, thing.material, thing.shape

    def _depth(self, i: int) -> float:
        """Metres along the horizontal line of sight."""
        x, y, _ = self.scene.things[i].position
        return x * math.sin(self.scene.camera.azimuth) + y * math.cos(self.scene.camera.azimuth)

    @staticmethod
    def _yes(true: object) -> str:
        return "yes" if true else "no"


def held_out_phrase(text: str) -> str | None:
    """The held-out pair that an English text names in one phrase, if it does."""
    words = [word.strip(".,?!:;'\"()#|-$").lower() for word in text.replace("-", " ").replace("_", " ").split()]
    words = [word for word in words if word and word not in ("rubber", "metal", "wooden", "wood")]
    for colour, noun in pairwise(words):
        for shape in SHAPES:
            if noun in (shape, f"{shape}s", f"{shape}es") and f"{colour} {shape}" in HELD_OUT:
                return f"{colour} {shape}"
    return None
