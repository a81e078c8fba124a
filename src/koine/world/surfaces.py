"""What colour things are before light falls on them: grain of table tops and wooden things, paint, floor and sky.

Written as a shader: small functions of one point each, compiled into one pass over all rays.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from koine.world.bodies import Bodies
from koine.world.compiled import kernel, shader
from koine.world.physics import FIRST_THING_BODY, FLOOR_BODY, TABLE_BODY
from koine.world.rays import Hits
from koine.world.scene import Scene
from koine.world.things import MATERIALS, SURFACES

Array = np.ndarray
Colour = tuple[float, float, float]
"""Linear RGB."""

single: Any = np.float32
"""Rounds to single precision. (mypy does not take a float32 for a float.)"""

_WOOD, _MARBLE, _CLOTH = (SURFACES.index(name) for name in ("wood", "marble", "cloth"))
_WOODEN = MATERIALS.index("wood")
_NOISE_SIZE = 64
_PLANK = 0.085
"""Width of a plank in metres."""
_SKY_TOP: Colour = (0.42, 0.50, 0.58)
_SKY_HORIZON: Colour = (0.80, 0.82, 0.82)
_FLOOR: Colour = (0.33, 0.31, 0.30)


def albedo(scene: Scene, bodies: Bodies, hits: Hits) -> Array:
    """Linear RGB float32 [n, 3] of what each ray hits; where it leaves the room, the light of the sky itself."""
    shift = (scene.seed * 0.618034) % 1.0
    grains = np.array([thing.grain for thing in scene.things], np.float64)
    return _paint(hits, bodies, SURFACES.index(scene.surface), shift, grains, _noise())


@lru_cache(maxsize=1)
def _noise() -> Array:
    """A fixed smooth random field, float32 [64, 64] in [0, 1], periodic."""
    rng = np.random.default_rng(20231)
    field = np.zeros((_NOISE_SIZE, _NOISE_SIZE))
    for octave, weight in ((8, 0.55), (16, 0.3), (32, 0.15)):
        coarse = rng.random((octave, octave))
        spectrum = np.fft.fft2(np.kron(coarse, np.ones((_NOISE_SIZE // octave, _NOISE_SIZE // octave))))
        frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(_NOISE_SIZE), np.fft.fftfreq(_NOISE_SIZE)))
        field += weight * np.fft.ifft2(spectrum * np.exp(-((frequency * _NOISE_SIZE / octave) ** 2) * 2)).real
    field = (field - field.min()) / (field.max() - field.min())
    return field.astype(np.float32)


@kernel
def _paint(hits: Hits, bodies: Bodies, surface: int, shift: float, grains: Array, noise: Array) -> Array:
    colours = np.empty((len(hits.body), 3), np.float32)
    for ray in range(len(colours)):
        body = hits.body[ray]
        away = hits.distance[ray]
        px = single(hits.origin[0] + away * hits.direction[ray, 0])
        py = single(hits.origin[1] + away * hits.direction[ray, 1])
        pz = single(hits.origin[2] + away * hits.direction[ray, 2])
        if body == TABLE_BODY:
            colour = _table_albedo(surface, px, py, single(shift), noise)
        elif body == FLOOR_BODY:
            colour = _floor_albedo(away)
        elif body < 0:
            colour = _sky(hits.direction[ray, 2])
        else:
            thing = body - FIRST_THING_BODY
            brightness = 1.0
            if bodies.material[thing] == _WOODEN:
                x, y, z = _in_body_frame(bodies, thing, px, py, pz)
                brightness = _wood_grain(x, y, z, grains[thing], noise)
            paint = bodies.colour
            colour = (paint[thing, 0] * brightness, paint[thing, 1] * brightness, paint[thing, 2] * brightness)
        colours[ray, 0], colours[ray, 1], colours[ray, 2] = colour
    return colours


@shader
def _table_albedo(surface: int, px: float, py: float, shift: float, noise: Array) -> Colour:
    """The table top at (px, py) in metres; `shift` in [0, 1) tells tables of one surface apart."""
    x, y = px + shift, py + shift * single(0.7)
    if surface == _WOOD:
        # Single precision: where a plank ends must not depend on what else is compiled into this loop.
        across = py / single(_PLANK) + shift
        plank = math.floor(across)
        wave = _smooth_noise(x * 1.3 + plank * 0.37, y * 9.0, noise)
        grain = 0.5 + 0.5 * _sine((y * 38.0 + wave * 2.4) * 6.0)
        seam = abs(across % single(1) - single(0.5)) > single(0.485)
        tone = (0.80 + 0.16 * wave + 0.07 * grain + 0.04 * _sine(plank * 2.7)) * (0.65 if seam else 1.0)
        return 0.50 * tone, 0.36 * tone, 0.235 * tone
    if surface == _MARBLE:
        swirl = _smooth_noise(x * 2.2, y * 2.2, noise)
        vein = abs(_sine((x * 9 + y * 6 + swirl * 3.2) * 3.1))
        tone = 0.74 + 0.14 * swirl + 0.12 * min(vein * 4, 1.0)
        return 0.66 * tone, 0.65 * tone, 0.66 * tone
    if surface == _CLOTH:
        weave = 0.5 + 0.25 * (_sine(x * 820) + _sine(y * 820))
        tone = 0.86 + 0.06 * weave + 0.10 * _smooth_noise(x * 3.0, y * 3.0, noise)
        return 0.34 * tone, 0.40 * tone, 0.36 * tone
    tone = 0.80 + 0.28 * _smooth_noise(x * 5.0, y * 5.0, noise)
    return 0.25 * tone, 0.27 * tone, 0.30 * tone


@shader
def _wood_grain(x: float, y: float, z: float, shift: float, noise: Array) -> float:
    """Brightness of a wooden thing at a point of its body frame in units of its radius."""
    rings = math.sqrt((x + 0.7) ** 2 + (z * 0.9 + 0.55) ** 2) * 1.15 + 0.10 * y
    wave = _smooth_noise(y * 0.21 + shift, z * 0.4, noise)
    stripe = _sine((rings + 0.35 * wave) * 2 * math.pi * 1.6)
    return 0.80 + 0.30 * stripe / (0.35 + abs(stripe))


@shader
def _floor_albedo(distance: float) -> Colour:
    """The floor fades into the horizon's haze with the distance from the camera in metres."""
    fade = math.exp(-0.25 * max(distance - 0.8, 0.0))
    return _mix(_SKY_HORIZON, _FLOOR, fade, 0.55)


@shader
def _sky(upward: float) -> Colour:
    """The sky in a direction whose vertical component is `upward`."""
    return _mix(_SKY_HORIZON, _SKY_TOP, 0.5 + 0.5 * min(max(upward * 2.2, -1.0), 1.0), 1.0)


@shader
def _mix(first: Colour, second: Colour, share: float, weight: float) -> Colour:
    """`second` by its share and `first`, weighted, by the rest."""
    rest = (1 - share) * weight
    return (
        first[0] * rest + second[0] * share,
        first[1] * rest + second[1] * share,
        first[2] * rest + second[2] * share,
    )


@shader
def _in_body_frame(bodies: Bodies, thing: int, px: float, py: float, pz: float) -> tuple[float, float, float]:
    """A world point in a thing's own frame, in units of its radius."""
    turn, unit = bodies.turn, bodies.radius[thing]
    x, y, z = px - bodies.centre[thing, 0], py - bodies.centre[thing, 1], pz - bodies.centre[thing, 2]
    return (
        (x * turn[thing, 0, 0] + y * turn[thing, 1, 0] + z * turn[thing, 2, 0]) / unit,
        (x * turn[thing, 0, 1] + y * turn[thing, 1, 1] + z * turn[thing, 2, 1]) / unit,
        (x * turn[thing, 0, 2] + y * turn[thing, 1, 2] + z * turn[thing, 2, 2]) / unit,
    )


@shader
def _smooth_noise(x: float, y: float, noise: Array) -> float:
    """Bilinear look-up of the periodic noise; x, y in periods."""
    column, row = (x - math.floor(x)) * _NOISE_SIZE, (y - math.floor(y)) * _NOISE_SIZE
    left, top = int(column), int(row)
    across, down = column - left, row - top
    left, top = left % _NOISE_SIZE, top % _NOISE_SIZE
    right, bottom = (left + 1) % _NOISE_SIZE, (top + 1) % _NOISE_SIZE
    upper = noise[top, left] * (1 - across) + noise[top, right] * across
    lower = noise[bottom, left] * (1 - across) + noise[bottom, right] * across
    return upper * (1 - down) + lower * down


@shader
def _sine(phase: float) -> float:
    """Single precision is enough for a grain, and takes a third of the time."""
    return math.sin(single(phase))
