"""What the released scripts of BEiT-3's fine-tuning say: sizes of pictures, rates, epochs and batches of each task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from koine.systems.beit3.processor import TEXT_LENGTH

Task = Literal["vqa", "nlvr2", "captioning", "retrieval"]
Size = Literal["base", "large"]


@dataclass(frozen=True)
class Setting:
    """What the released scripts say of a task and size.

    Attributes:
        image_size: pixels.
        rate, layer_decay, drop_path: by size, base and large.
        epochs, warmup: of training, and of these with a rising rate.
        batch: examples per step, over all devices.
        weight_decay, betas: AdamW's.
        examples: how many there are, which gives the number of steps: as the data sets' authors count them, from
            memory and not checked against the files.
        head_scale: the head's rate is so many times that of the rest.
        augmented: whether pictures go through RandAugment.
        text_length: tokens of the longest text, special ones included.
    """

    image_size: int
    rate: dict[Size, float]
    layer_decay: dict[Size, float]
    drop_path: dict[Size, float]
    epochs: int
    warmup: int
    batch: int
    weight_decay: float
    examples: int
    betas: tuple[float, float] = (0.9, 0.999)
    head_scale: float = 1.0
    augmented: bool = False
    text_length: int = TEXT_LENGTH

    @property
    def steps(self) -> int:
        """Of the whole training; what doesn't fill a batch is left out of each epoch."""
        return self.epochs * (self.examples // self.batch)


def _of_sizes(base: float, large: float) -> dict[Size, float]:
    return {"base": base, "large": large}


LEAST_RATE = 1e-6
"""What the rate of all tasks falls towards."""

SETTINGS: dict[Task, Setting] = {
    "vqa": Setting(
        480,
        rate=_of_sizes(3e-5, 2e-5),
        layer_decay=_of_sizes(1, 1),
        drop_path=_of_sizes(0.1, 0.15),
        epochs=10,
        warmup=1,
        batch=128,
        weight_decay=0.01,
        examples=443_757 + 214_354 * 39_504 // 40_504,
        betas=(0.9, 0.98),
        head_scale=20,
        augmented=True,
    ),
    "nlvr2": Setting(
        224,
        rate=_of_sizes(7e-4, 3e-4),
        layer_decay=_of_sizes(0.65, 0.85),
        drop_path=_of_sizes(0.2, 0.2),
        epochs=20,
        warmup=5,
        batch=256,
        weight_decay=0.2,
        examples=86_373,
    ),
    "captioning": Setting(
        480,
        rate=_of_sizes(4e-5, 8e-6),
        layer_decay=_of_sizes(1, 1),
        drop_path=_of_sizes(0.1, 0.1),
        epochs=10,
        warmup=1,
        batch=256,
        weight_decay=0.05,
        examples=566_747,
        augmented=True,
        text_length=32,
    ),
    "retrieval": Setting(
        384,
        rate=_of_sizes(2e-4, 5e-5),
        layer_decay=_of_sizes(0.65, 0.85),
        drop_path=_of_sizes(0.2, 0.2),
        epochs=15,
        warmup=3,
        batch=3072,
        weight_decay=0.05,
        examples=566_747,
    ),
}
