"""The light that reaches the camera: lamp with a soft shadow, ambient light with contact shade, materials, and tone.

Written as a shader: small functions of one point each, compiled into one pass over all rays.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from koine.world.bodies import Bodies
from koine.world.compiled import kernel, shader
from koine.world.lamps import Light, ShadowMap
from koine.world.physics import FIRST_THING_BODY, TABLE_BODY
from koine.world.rays import Hits
from koine.world.things import MATERIALS

Array = np.ndarray
Vector = tuple[float, float, float]
Colour = tuple[float, float, float]
"""Linear RGB."""

single: Any = np.float32
"""Rounds to single precision. (mypy does not take a float32 for a float.)"""

_METAL, _RUBBER = MATERIALS.index("metal"), MATERIALS.index("rubber")
_OFFSET = single(0.006)
"""Metres that a point is moved off its surface before the shadow is looked up, so that no surface shades itself: more
than half a texel."""
_BIAS = single(0.010)
"""Metres by which a thing must be nearer to the lamp than a point to shade it."""


@kernel
def radiance(light: Light, shadow: ShadowMap, bodies: Bodies, hits: Hits, albedo: Array) -> Array:
    """Linear light that comes back along each of n rays, float32 [n, 3]; albedo float32 [n, 3] is of what they hit."""
    colours = np.empty((len(albedo), 3), np.float32)
    for ray in range(len(colours)):
        body, paint = hits.body[ray], (albedo[ray, 0], albedo[ray, 1], albedo[ray, 2])
        if body < TABLE_BODY:
            colours[ray, 0], colours[ray, 1], colours[ray, 2] = paint  # the sky is as bright as it looks
            continue
        view = (hits.direction[ray, 0], hits.direction[ray, 1], hits.direction[ray, 2])
        point = _ahead(hits.origin[0], hits.origin[1], hits.origin[2], view, hits.distance[ray])
        normal = _towards_viewer(hits.normal[ray, 0], hits.normal[ray, 1], hits.normal[ray, 2], view)
        lit = _lit(shadow, point, normal)
        if body == TABLE_BODY:
            colour = _ground(light, paint, point, normal, lit, _contact_shade(bodies.contact, point))
        elif body < FIRST_THING_BODY:
            colour = _ground(light, paint, point, normal, lit, 1.0)
        else:
            colour = _thing(light, bodies.material[body - FIRST_THING_BODY], paint, point, normal, view, lit)
        colours[ray, 0], colours[ray, 1], colours[ray, 2] = colour
    return colours


@kernel
def develop(coarse: Array, fine: Array, fine_at: Array) -> Array:
    """The picture, uint8 [n, 3], of linear light float32.

    Args:
        coarse: [n, 3], one ray per pixel.
        fine: [4 * k, 3], four rays for each of the k pixels `fine_at` (ascending), which become the mean of their four.
    """
    image = np.empty(coarse.shape, np.uint8)
    next_fine = 0
    for pixel in range(len(image)):
        is_fine = next_fine < len(fine_at) and fine_at[next_fine] == pixel
        for channel in range(3):
            light = coarse[pixel, channel]
            if is_fine:
                light = 0.0
                for ray in range(4 * next_fine, 4 * next_fine + 4):
                    light += fine[ray, channel] / 4
            image[pixel, channel] = _tone(light)
        next_fine += is_fine
    return image


@shader
def _ahead(x: float, y: float, z: float, direction: Vector, distance: float) -> Vector:
    """The point this far along a ray, in single precision."""
    x, y, z = x + distance * direction[0], y + distance * direction[1], z + distance * direction[2]
    return single(x), single(y), single(z)


@shader
def _towards_viewer(x: float, y: float, z: float, view: Vector) -> Vector:
    """The unit vector or its opposite, whichever points against the direction of view."""
    return (-x, -y, -z) if x * view[0] + y * view[1] + z * view[2] > 0 else (x, y, z)


@shader
def _ground(light: Light, paint: Colour, point: Vector, normal: Vector, lit: float, open_sky: float) -> Colour:
    """The table and the floor."""
    lamp = lit * max(_dot(normal, _to_lamp(light, point)), 0.0)
    return _diffuse(light, paint, (0.75 + 0.25 * normal[2]) * open_sky, lamp)


@shader
def _thing(
    light: Light, material: int, paint: Colour, point: Vector, normal: Vector, view: Vector, lit: float
) -> Colour:
    """A thing of metal, rubber or wood: less ambient light comes from below, where the table is near."""
    to_lamp = _to_lamp(light, point)
    ambient = (0.75 + 0.25 * normal[2]) * (0.62 + 0.38 * _clip(point[2] / 0.035, 0.0, 1.0))
    colour = _diffuse(light, paint, ambient, lit * max(_dot(normal, to_lamp), 0.0))
    if material == _METAL:
        return _metal(light, colour, paint, normal, view, lit * _glint(normal, to_lamp, view) ** 60)
    if material == _RUBBER:
        return _plus(colour, light.colour, 0.06 * lit * _glint(normal, to_lamp, view) ** 12)
    return colour


@shader
def _lit(shadow: ShadowMap, point: Vector, normal: Vector) -> float:
    """Share of the lamp that reaches a point, in [0, 1]: a box of 3x3 texels, moved continuously."""
    # Single precision, rounded as a matrix product rounds: points at the rim of a shadow fall on the side on which they
    # fell in the pictures that models were trained on.
    x = point[0] + _OFFSET * normal[0] - shadow.origin[0]
    y = point[1] + _OFFSET * normal[1] - shadow.origin[1]
    z = point[2] + _OFFSET * normal[2] - shadow.origin[2]
    axes = shadow.axes
    right = _fused(z, axes[2, 0], _fused(y, axes[1, 0], x * axes[0, 0]))
    up = _fused(z, axes[2, 1], _fused(y, axes[1, 1], x * axes[0, 1]))
    towards = _fused(z, axes[2, 2], _fused(y, axes[1, 2], x * axes[0, 2]))
    texels = len(shadow.distance)
    spread, middle = shadow.scale / towards, single(texels / 2 - 0.5)
    last = single(texels - 3.001)
    column = min(max(right * spread + middle, single(1)), last)
    row = min(max(up * spread + middle, single(1)), last)
    left, top = int(column), int(row)
    limit = math.sqrt(right * right + up * up + towards * towards) - _BIAS
    if shadow.nearest[top, left] > limit:
        return 1.0
    across, down = column - left, row - top
    total = 0.0
    for line in range(top - 1, top + 3):
        reached = (1 - across) * (shadow.distance[line, left - 1] > limit)
        reached += shadow.distance[line, left] > limit
        reached += shadow.distance[line, left + 1] > limit
        reached += across * (shadow.distance[line, left + 2] > limit)
        total += reached * (1 - down if line < top else (down if line == top + 2 else 1.0))
    return total / 9


@shader
def _fused(a: float, b: float, c: float) -> float:
    """a * b + c, rounded to single precision once."""
    return single(np.float64(a) * np.float64(b) + np.float64(c))


@shader
def _contact_shade(contact: Array, point: Vector) -> float:
    """Ambient light that is left on the table near things, in [0, 1]."""
    shade = 1.0
    for thing in range(len(contact)):
        dx, dy = point[0] - contact[thing, 0], point[1] - contact[thing, 1]
        apart = dx * dx + dy * dy
        if apart < contact[thing, 5]:
            rim = math.sqrt(apart) - contact[thing, 2]
            depth = max(rim, -rim * contact[thing, 4]) / contact[thing, 3]
            shade *= 1 - 0.45 * math.exp(-depth * depth)
    return shade


@shader
def _metal(light: Light, diffuse: Colour, paint: Colour, normal: Vector, view: Vector, highlight: float) -> Colour:
    """A mirror of a room that is dark below, bright above the horizon and dimmer overhead, tinted by the paint."""
    facing = _dot(normal, view)
    height = view[2] - 2 * facing * normal[2]
    room = 0.10 + 1.05 * _smoothstep(height, -0.15, 0.25) - 0.45 * _smoothstep(height, 0.45, 0.95)
    mirror = 0.72 * room * (0.75 + 0.25 * (1 - abs(facing)) ** 3)
    return (
        0.24 * diffuse[0] + mirror * (paint[0] * 0.62 + 0.38) + light.colour[0] * highlight * 1.1,
        0.24 * diffuse[1] + mirror * (paint[1] * 0.62 + 0.38) + light.colour[1] * highlight * 1.1,
        0.24 * diffuse[2] + mirror * (paint[2] * 0.62 + 0.38) + light.colour[2] * highlight * 1.1,
    )


@shader
def _diffuse(light: Light, paint: Colour, ambient: float, lamp: float) -> Colour:
    """Paint under this much ambient and lamp light."""
    return (
        paint[0] * (light.ambient[0] * ambient + light.colour[0] * lamp),
        paint[1] * (light.ambient[1] * ambient + light.colour[1] * lamp),
        paint[2] * (light.ambient[2] * ambient + light.colour[2] * lamp),
    )


@shader
def _glint(normal: Vector, to_lamp: Vector, view: Vector) -> float:
    """Cosine between the normal and the direction halfway between lamp and eye, in [0, 1]."""
    halfway = _unit(to_lamp[0] - view[0], to_lamp[1] - view[1], to_lamp[2] - view[2])
    return max(_dot(normal, halfway), 0.0)


@shader
def _plus(colour: Colour, other: Colour, share: float) -> Colour:
    return colour[0] + other[0] * share, colour[1] + other[1] * share, colour[2] + other[2] * share


@shader
def _dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@shader
def _to_lamp(light: Light, point: Vector) -> Vector:
    return _unit(light.position[0] - point[0], light.position[1] - point[1], light.position[2] - point[2])


@shader
def _unit(x: float, y: float, z: float) -> Vector:
    scale = 1 / math.sqrt(x * x + y * y + z * z)
    return x * scale, y * scale, z * scale


@shader
def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


@shader
def _smoothstep(value: float, low: float, high: float) -> float:
    t = _clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


@shader
def _tone(light: float) -> np.uint8:
    """Linear light to a display value: soft shoulder, then gamma."""
    light = max(light, 0.0)
    shoulder = min(light * (1 + light * 0.12) / (1 + light * 0.28), 1.0)
    return np.uint8(single(shoulder) ** single(1 / 1.9) * 255 + 0.5)
