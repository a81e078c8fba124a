"""What can lie on the table: shapes, colours, sizes and materials, and which pairs are held out of training.

Lengths are metres, angles radians. The world frame has x to the right, y away from the camera and z up; the
table top is z = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

SHAPES = ("cube", "ball", "cylinder", "cone", "ring", "arch")
SIZES = MappingProxyType({"small": 0.026, "large": 0.044})
"""Nominal radius of a thing in metres."""
MATERIALS = ("rubber", "metal", "wood")
COLOURS = MappingProxyType(
    {
        "red": (0.86, 0.13, 0.12),
        "orange": (0.97, 0.48, 0.05),
        "yellow": (0.96, 0.84, 0.12),
        "green": (0.13, 0.62, 0.20),
        "cyan": (0.10, 0.74, 0.80),
        "blue": (0.12, 0.26, 0.86),
        "purple": (0.54, 0.17, 0.72),
        "white": (0.94, 0.94, 0.92),
    }
)
"""Albedo in linear RGB, each channel in [0, 1]."""
SURFACES = ("wood", "marble", "cloth", "slate")
LIGHTS = ("daylight", "evening", "lamp")

HELD_OUT = frozenset(
    {
        ("red", "ring"),
        ("green", "cone"),
        ("blue", "cube"),
        ("yellow", "arch"),
        ("purple", "ball"),
        ("cyan", "cylinder"),
    }
)
"""(colour, shape) pairs that no training, validation or test scene shows: only the split `heldout` does."""

FLAT_TOPPED = ("cube", "cylinder", "arch")
"""Shapes on which another thing can stand."""
HOLLOW = ("ring", "arch")
"""Shapes that can surround another thing."""

_FULL_HEIGHT = MappingProxyType(
    {"cube": 1.60, "ball": 2.00, "cylinder": 1.80, "cone": 1.90, "ring": 0.44, "arch": 1.90}
)
"""Height over the nominal radius."""
_FOOTPRINT = MappingProxyType({"cube": 1.13, "ball": 1.00, "cylinder": 0.80, "cone": 1.00, "ring": 1.27, "arch": 1.30})
"""Radius of the circle round the footprint over the nominal radius."""


@dataclass(frozen=True)
class Thing:
    """One thing on the table.

    Attributes:
        shape, colour, size, material: words of the vocabularies above.
        position: (x, y, z) of the thing's centre in metres, world frame.
        yaw: rotation about z in radians.
        on: index of the thing that it stands on, None for the table.
        inside: index of the ring or arch that surrounds it, None if it stands free.
        grain: where in the wood it was cut, in [0, 1); shows if it is wooden.
    """

    shape: str
    colour: str
    size: str
    material: str
    position: tuple[float, float, float]
    yaw: float = 0.0
    on: int | None = None
    inside: int | None = None
    grain: float = 0.0

    @property
    def radius(self) -> float:
        """Nominal radius in metres."""
        return SIZES[self.size]

    @property
    def height(self) -> float:
        """Full height in metres."""
        return full_height(self.shape, self.size)

    @property
    def footprint(self) -> float:
        """Radius in metres of the circle round the thing seen from above."""
        return footprint_radius(self.shape, self.size)

    @property
    def held_out(self) -> bool:
        """Whether the colour-shape pair is one that training never shows."""
        return (self.colour, self.shape) in HELD_OUT


def full_height(shape: str, size: str) -> float:
    """Height in metres of a thing that stands upright."""
    return _FULL_HEIGHT[shape] * SIZES[size]


def footprint_radius(shape: str, size: str) -> float:
    """Radius in metres of the circle round the footprint."""
    return _FOOTPRINT[shape] * SIZES[size]
