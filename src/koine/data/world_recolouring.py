"""Pictures whose colours are taken away or turned, so that shapes are learnt apart from colours.

Some colour-shape pairs are held out of training. A model that sees red things of five shapes only soon learns that red
means "no ring", and reads a red ring as something else. In recoloured pictures, about which no colour is asked, a hue
tells nothing about a shape. Turning never shows a held-out pair: hues near the held-out colour of a shape are left out.
"""

from __future__ import annotations

import numpy as np

from koine.world.facts import ATTRIBUTES, VALUES
from koine.world.things import COLOURS, HELD_OUT

Array = np.ndarray

_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)
_MARGIN = np.radians(30.0)
"""How far, in hue, a turned thing stays away from the held-out colour of its shape."""
_COLOUR, _SHAPE = ATTRIBUTES.index("colour"), ATTRIBUTES.index("shape")


def _hue(colour: str) -> float:
    _, i, q = _TO_YIQ @ np.array(COLOURS[colour]) ** (1 / 1.9)  # as the renderer shows it
    return float(np.arctan2(q, i))


_HUES = np.array([_hue(colour) for colour in COLOURS])
_GREYISH = np.array([colour == "white" for colour in COLOURS])
_FORBIDDEN = np.array([next(_hue(colour) for colour, held in HELD_OUT if held == shape) for shape in VALUES["shape"]])


def recolour(images: Array, turn: Array, saturation: Array) -> Array:
    """Turn the hues of pictures and scale their saturation, keeping their luma (ITU-R BT.601).

    Args:
        images: uint8 [b, H, W, 3].
        turn: radians [b], in the plane of the YIQ colour space's I and Q.
        saturation: factors [b], 0 for grey.
    """
    cosine, sine, one = np.cos(turn) * saturation, np.sin(turn) * saturation, np.ones_like(turn)
    zero = np.zeros_like(turn)
    chroma = np.stack([one, zero, zero, zero, cosine, -sine, zero, sine, cosine], axis=-1).reshape(-1, 3, 3)
    matrix = (_FROM_YIQ @ chroma @ _TO_YIQ).astype(np.float32)
    turned = np.einsum("bhwc,bdc->bhwd", images.astype(np.float32), matrix, optimize=True)
    return np.clip(np.round(turned), 0, 255).astype(np.uint8)


def safe_turns(codes: Array, rng: np.random.Generator, *, tries: int = 16) -> tuple[Array, Array]:
    """For each scene a random turn that shows no held-out pair.

    Args:
        codes: [b, things, 4] attribute codes as of `koine.data.world_phrases.attribute_codes`, -1 for no thing.

    Returns:
        Radians [b], and whether one was found [b].
    """
    turns = rng.uniform(-np.pi, np.pi, size=(len(codes), tries))
    hues = _HUES[codes[..., _COLOUR]][:, None] + turns[..., None]  # [b, tries, things]
    forbidden = _FORBIDDEN[codes[..., _SHAPE]][:, None]
    away = np.abs((hues - forbidden + np.pi) % (2 * np.pi) - np.pi)
    free = (codes[..., 0] < 0) | _GREYISH[codes[..., _COLOUR]]
    safe = (free[:, None] | (away > _MARGIN)).all(axis=-1)
    rows = np.arange(len(codes))
    first = safe.argmax(axis=1)
    return turns[rows, first], safe[rows, first]
