"""Seeds: every random draw of a training is a function of (seed, step, slice), never of what was drawn before.

So a training that was killed and resumed draws what an undisturbed one draws, and no generator's state has to be kept.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import numpy as np
import torch


class Purpose(IntEnum):
    """What a seed is for; draws for different purposes are independent though they share the stage's seed."""

    WEIGHTS = 0
    ORDER = 1
    DATA = 2
    DROPOUT = 3
    GROUPS = 4


def derive_seed(purpose: Purpose, *counters: int) -> int:
    """A well-mixed seed in [0, 2**32) from a purpose and counters such as (seed, step, slice)."""
    return int(np.random.SeedSequence([int(purpose), *counters]).generate_state(1)[0])


def seed_global_generators(device: torch.device, purpose: Purpose, *counters: int) -> None:
    """Seeds the global generators that initialisation and dropout draw from: python's, numpy's, torch's for the device.

    It is called for every slice of every step. `torch.manual_seed` (or accelerate's `set_seed`) would note a stack
    trace for each kind of device that isn't there, which takes longer than the rest of the loop.
    """
    seed = derive_seed(purpose, *counters)
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


@contextmanager
def global_generators_restored() -> Iterator[None]:
    """Puts the caller's global generators back at the end: a training leaves no trace in them."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
