"""Times the drawing of grids from a gated PixelCNN: with everything kept that was computed, and naively.

The bar: 32x32 grids of 512 codes, 15 layers, batch 8, one thread: the naive way takes at least 100 times as long. It
runs the whole network for every code, so its time is that of a few places times their number. The grids of the two ways
are compared in full at 8x8 and 16x16.

    python benchmarks/vqvae_sampling.py [--side 32] [--batch 8]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import torch

from koine.systems.vqvae.cached_sampling import sample
from koine.systems.vqvae.pixelcnn import GatedPixelCNN
from koine.systems.vqvae.sampling import SamplingOptions, draw, draw_uniforms, sample_naively

BAR = 100
CODES, LAYERS = 512, 15
TIMED_PLACES = 4


def main() -> int:
    """Prints the comparison; returns 1 if the bar is missed or grids differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=32, help="rows and columns of a grid")
    parser.add_argument("--batch", type=int, default=8, help="grids drawn together")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    prior = GatedPixelCNN(CODES, layers=LAYERS).eval()

    differing = sum(differences(prior, side) for side in (8, 16))
    uniforms = draw_uniforms(arguments.batch, (arguments.side, arguments.side))
    cached = seconds(lambda: sample(prior, uniforms))
    naive = seconds(lambda: some_places(prior, uniforms)) / TIMED_PLACES * arguments.side**2
    print(f"{arguments.side}x{arguments.side} codes of {CODES}, {LAYERS} layers, batch {arguments.batch}:")
    print(f"cached {cached:.2f} s, naive {naive:.1f} s ({TIMED_PLACES} places timed): {naive / cached:.0f} times")
    print(f"codes that differ at 8x8 and 16x16: {differing}")
    return 0 if naive / cached >= BAR and not differing else 1


def differences(prior: GatedPixelCNN, side: int) -> int:
    """How many codes the two ways draw differently with the same numbers."""
    uniforms = draw_uniforms(2, (side, side), generator=torch.Generator().manual_seed(side))
    return int((sample(prior, uniforms) != sample_naively(prior, uniforms)).sum())


@torch.inference_mode()
def some_places(prior: GatedPixelCNN, uniforms: torch.Tensor) -> None:
    """What the naive way does for each code, for a few of them."""
    grids = torch.zeros(uniforms.shape, dtype=torch.long)
    for column in range(TIMED_PLACES):
        grids[:, 0, column] = draw(prior(grids)[:, :, 0, column], uniforms[:, 0, column], SamplingOptions())


def seconds(work: Callable[[], object]) -> float:
    """The best of three, so that other programs on the machine disturb least."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    sys.exit(main())
