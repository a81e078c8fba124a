"""Pictures in the colours of other pictures, so that shapes are learnt apart from colours.

Some colour-shape pairs are held out of training. A model that sees red things of five shapes only soon learns that red
means "no ring", and reads a red ring as something else. Here a picture keeps its brightness and takes the colours of
another, which follow other outlines, or none: what colour lies on a thing then tells nothing about its shape, and
nothing is asked or said about colours. By chance a thing may lie in the colour of its held-out pair, as it would with
any colour jitter; no word ever joins the two.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue in the brightness of a picture (ITU-R BT.601)."""
_GREY_SHARE = 0.25
"""How often colours are taken away and none given."""
_SATURATION = (0.5, 1.2)


def exchange_colours(images: Array, others: Array, saturation: Array) -> Array:
    """The brightness of pictures with the colours of others.

    Args:
        images, others: uint8 [b, H, W, 3].
        saturation: factors [b] of the others' chroma, 0 for grey.

    Returns:
        uint8 [b, H, W, 3]; the luma is that of `images` wherever the colour can be shown at that luma.
    """
    lent = others.astype(np.float32)
    chroma = lent - (lent @ LUMA)[..., None]
    mixed = (images.astype(np.float32) @ LUMA)[..., None] + chroma * saturation.astype(np.float32)[:, None, None, None]
    return np.clip(np.round(mixed), 0, 255).astype(np.uint8)


def draw_saturation(count: int, rng: np.random.Generator) -> Array:
    """Factors [count] for `exchange_colours`: some 0, the rest about 1."""
    grey = rng.random(count) < _GREY_SHARE
    return np.where(grey, 0.0, rng.uniform(*_SATURATION, size=count))
