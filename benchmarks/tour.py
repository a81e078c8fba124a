"""How long the tour takes, as a user takes it: `python benchmarks/tour.py`.

In a process of its own, start and imports included, on all cores. What else runs then counts.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time

BAR = 60.0


def main() -> int:
    """Prints the seconds by the clock; status 1 if they are above the bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="which scenes are shown")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "koine", "tour", "--out", f"{folder}/tour", "--seed", str(options.seed)]
        begin = time.perf_counter()
        environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        subprocess.run(command, check=True, capture_output=True, env=environment)
        seconds = time.perf_counter() - begin
    print(f"the tour took {seconds:.1f} s (bar: {BAR:g})")
    return 0 if seconds < BAR else 1


if __name__ == "__main__":
    sys.exit(main())
