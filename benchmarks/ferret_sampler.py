"""How much faster Ferret's region sampler is with its two linear maps multiplied out.

Published size (CLIP ViT-L/14 at 336 pixels, 512 points, 128 and 32 anchors with 24 neighbours), one thread, without
gradients, geometry included. The two formulations take turns, so that whatever else the machine does hits both alike;
the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import torch

from koine.systems.ferret.config import FerretConfig
from koine.systems.ferret.sampler import Formulation, GeoRegionSampler

BAR = 4.0
TOLERANCE = 2e-5
FORMULATIONS: tuple[Formulation, ...] = ("direct", "factored")


def main() -> int:
    """Prints both times, their ratio and the largest difference; status 1 if these miss the bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--regions", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)

    config = FerretConfig.published("7b")
    width = config.vision_config.hidden_size
    sampler = GeoRegionSampler(
        width,
        config.text_config.hidden_size,
        anchors=config.sampler_anchors,
        neighbours=config.sampler_neighbours,
        pooling=config.sampler_pooling,
    ).eval()
    features = torch.randn(1, config.grid**2, width)
    points = torch.rand(options.regions, config.sampler_points, 2)
    images = torch.zeros(options.regions, dtype=torch.long)

    seconds: dict[Formulation, list[float]] = {name: [] for name in FORMULATIONS}
    outputs: dict[Formulation, torch.Tensor] = {}
    with torch.no_grad():
        for repeat in range(options.repeats + 1):
            for name in FORMULATIONS:
                sampler.formulation = name
                begin = time.perf_counter()
                outputs[name] = sampler(features, points, images)
                if repeat:  # the first round warms up, and multiplies the maps
                    seconds[name].append(time.perf_counter() - begin)

    medians = {name: statistics.median(seconds[name]) for name in FORMULATIONS}
    ratio = medians["direct"] / medians["factored"]
    difference = float((outputs["direct"] - outputs["factored"]).abs().max())
    print(f"{options.regions} regions, {config.sampler_points} points, width {width}, one thread")
    for name in FORMULATIONS:
        print(f"{name:9s} {1000 * medians[name]:7.0f} ms (from {1000 * min(seconds[name]):.0f} ms)")
    print(f"ratio     {ratio:7.1f} x (bar: {BAR:g})")
    print(f"largest difference {difference:.1e} of values up to {float(outputs['direct'].abs().max()):.2f}")
    return 0 if ratio >= BAR and difference < TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
