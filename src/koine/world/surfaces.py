"""Procedural textures: the grain of table tops and of wooden things."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

Array = np.ndarray

_NOISE_SIZE = 64


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


def _sample_noise(x: Array, y: Array) -> Array:
    """Bilinear look-up of the periodic noise; x, y in periods."""
    column, row = (x % 1.0) * _NOISE_SIZE, (y % 1.0) * _NOISE_SIZE
    left, top = column.astype(np.int32), row.astype(np.int32)
    fx, fy = column - left, row - top
    left, top = left % _NOISE_SIZE, top % _NOISE_SIZE
    right, bottom = (left + 1) % _NOISE_SIZE, (top + 1) % _NOISE_SIZE
    noise = _noise()
    upper = noise[top, left] * (1 - fx) + noise[top, right] * fx
    lower = noise[bottom, left] * (1 - fx) + noise[bottom, right] * fx
    return upper * (1 - fy) + lower * fy


def table_albedo(surface: str, points: Array, seed: int) -> Array:
    """Linear RGB float32 [n, 3] of the table top at points [n, 2] (x, y in metres)."""
    if not len(points):
        return np.zeros((0, 3), np.float32)
    shift = (seed * 0.618034) % 1.0
    x, y = points[:, 0] + shift, points[:, 1] + shift * 0.7
    if surface == "wood":
        plank = np.floor(points[:, 1] / 0.085 + shift)
        wave = _sample_noise(x * 1.3 + plank * 0.37, y * 9.0)
        grain = 0.5 + 0.5 * np.sin((y * 38.0 + wave * 2.4) * 6.0)
        seam = np.abs((points[:, 1] / 0.085 + shift) % 1.0 - 0.5) > 0.485
        tone = (0.80 + 0.16 * wave + 0.07 * grain + 0.04 * np.sin(plank * 2.7)) * (1 - 0.35 * seam)
        return np.float32([0.50, 0.36, 0.235]) * tone.astype(np.float32)[:, None]
    if surface == "marble":
        swirl = _sample_noise(x * 2.2, y * 2.2)
        vein = np.abs(np.sin((x * 9 + y * 6 + swirl * 3.2) * 3.1))
        tone = 0.74 + 0.14 * swirl + 0.12 * np.minimum(vein * 4, 1)
        return np.float32([0.66, 0.65, 0.66]) * tone.astype(np.float32)[:, None]
    if surface == "cloth":
        weave = 0.5 + 0.25 * (np.sin(x * 820) + np.sin(y * 820))
        tone = 0.86 + 0.06 * weave + 0.10 * _sample_noise(x * 3, y * 3)
        return np.float32([0.34, 0.40, 0.36]) * tone.astype(np.float32)[:, None]
    tone = 0.80 + 0.28 * _sample_noise(x * 5, y * 5)
    return np.float32([0.25, 0.27, 0.30]) * tone.astype(np.float32)[:, None]


def wood_grain(points: Array, seed: int) -> Array:
    """Brightness factor float32 [n] of a wooden thing at body-frame points [n, 3] in units of its radius."""
    shift = (seed * 0.381966) % 1.0
    rings = np.hypot(points[:, 0] + 0.7, points[:, 2] * 0.9 + 0.55) * 1.15 + 0.10 * points[:, 1]
    wave = _sample_noise(points[:, 1] * 0.21 + shift, points[:, 2] * 0.4)
    stripe = np.sin((rings + 0.35 * wave) * 2 * np.pi * 1.6)
    return (0.80 + 0.30 * _soft_sign(stripe)).astype(np.float32)


def _soft_sign(value: Array) -> Array:
    return value / (0.35 + np.abs(value))
