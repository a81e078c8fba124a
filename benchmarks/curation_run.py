"""`koine curate run` from end to end on generated rows: parquet in, parquet out; rows per second and peak memory.

The memory is that of all processes together (their proportional set size, so that what they share counts once). By
default a million rows; `--rows 10000000` is the table in docs/scale.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

PROGRAM = """
import sys
from koine.curation import Execution, Options, curate
from koine.curation.engines import EngineName
if __name__ == "__main__":
    folder, out, threshold, engine, workers = sys.argv[1:]
    inputs, entries = (folder + "/pairs-*.parquet",), folder + "/entries.parquet"
    options = Options(inputs=inputs, entries=entries, threshold=float(threshold))
    curate(options, out, Execution(engine=EngineName(engine), workers=int(workers), keep_work=False))
"""


def memory(process: psutil.Process) -> int:
    """Bytes that a process and its children hold, what they share counted once."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.Error:  # it ended meanwhile
            continue
    return total


def used(folder: Path) -> int:
    """Bytes of the files in a folder, some of which may vanish meanwhile."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(place, name)).st_size
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument(
        "--threshold", type=float, default=None, help="default: rows / 80,000, as 20,000 of 1.6 billion"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--engine", default="local")
    parser.add_argument("--folder", type=Path, default=None, help="keep the generated rows here, and use those there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "rows"
        if not folder.exists():
            corpus = Path(__file__).with_name("curation_corpus.py")
            generate = [str(folder), "--rows", str(options.rows), "--files", str(options.files)]
            subprocess.run([sys.executable, str(corpus), *generate], check=True)
        size = sum(path.stat().st_size for path in folder.glob("pairs-*.parquet"))
        print(f"{options.rows:,} rows in {options.files} files, {size / 1e6:,.0f} MB", flush=True)
        out, program = Path(temporary) / "out", Path(temporary) / "program.py"
        program.write_text(PROGRAM)
        threshold = options.threshold or max(1.0, options.rows / 80_000)
        command = [
            sys.executable,
            str(program),
            str(folder),
            str(out),
            str(threshold),
            options.engine,
            str(options.workers),
        ]
        begin = time.perf_counter()
        process = psutil.Popen(command)
        peak = disk = 0
        while process.poll() is None:
            peak = max(peak, memory(process))
            disk = max(disk, used(out / "work"))
            time.sleep(0.5)
        seconds = time.perf_counter() - begin
        if process.returncode:
            sys.exit(process.returncode)
        card = json.loads((out / "card.json").read_text())
        written = sum(path.stat().st_size for path in (out / "data").iterdir())
        print(f"{options.engine}, {options.workers} workers: {seconds:.1f} s, {options.rows / seconds:,.0f} rows/s")
        print(
            f"peak memory {peak / 1e9:.2f} GB, intermediate files {disk / 1e6:,.0f} MB, output {written / 1e6:,.0f} MB"
        )
        print(f"matched {card['matched']:,}, equal {card['equal']:,}, kept {card['kept']:,}, t = {threshold:g}")
        shutil.rmtree(out)


if __name__ == "__main__":
    main()
