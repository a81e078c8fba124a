"""How many scenes a second one core samples, compiles and renders: `python benchmarks/world_render.py`.

At 64x64 with 2x2 anti-aliasing, masks, boxes and depth; each scene is drawn from its own seed and compiled to a MuJoCo
model of its own. Seconds are the processor's, not the clock's: what else runs then slows this only through the caches.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

from koine.world.render import render
from koine.world.scene import sample_scene

BAR = 250.0


def main() -> int:
    """Prints the best and the median rate; status 1 if the best is below the bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--size", type=int, default=64, help="side of the pictures in pixels")
    options = parser.parse_args()
    render(sample_scene(0), options.size)  # compiles, or reads the compiled code from the disk

    rates: list[float] = []
    for _ in range(options.repeats):
        begin = time.process_time()
        for seed in range(options.scenes):
            render(sample_scene(seed), options.size)
        rates.append(options.scenes / (time.process_time() - begin))
    print(f"{options.scenes} scenes, {options.size}x{options.size} pixels, one core, {options.repeats} repeats")
    print(f"best   {max(rates):6.0f} scenes/s (bar: {BAR:g} at 64x64)")
    print(f"median {statistics.median(rates):6.0f} scenes/s")
    return 0 if max(rates) >= BAR or options.size != 64 else 1


if __name__ == "__main__":
    sys.exit(main())
