"""Runs that are killed at random, again and again: the result is the same as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

KILLS = 20
PROGRAM = """
import sys
from koine.curation import Execution, Options, curate
if __name__ == "__main__":
    options = Options(inputs=(sys.argv[1],), entries=sys.argv[2], threshold=300, rows_per_shard=4000)
    curate(options, sys.argv[3], Execution(workers=int(sys.argv[4]), memory=1_000_000))
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    words = np.array([f"word{number}" for number in range(500)])
    ranks = np.minimum(generator.zipf(1.2, (60_000, 6)), len(words)) - 1
    texts = [" ".join(words[row]) for row in ranks]
    uids = [f"{number:08}" for number in range(len(texts))]
    urls = [f"http://a.com/{number % 50_000}" for number in range(len(texts))]
    table = pa.table({"uid": uids, "url": urls, "text": texts})
    (tmp_path / "in").mkdir()
    for part in range(3):
        pq.write_table(table.slice(part * 20_000, 20_000), tmp_path / "in" / f"{part}.parquet", row_group_size=2000)
    (tmp_path / "entries.json").write_text(json.dumps(words.tolist()))
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path


def start(corpus: Path, name: str, workers: int) -> subprocess.Popen[bytes]:
    arguments = [corpus / "in", corpus / "entries.json", corpus / name, workers]
    command = [sys.executable, str(corpus / "program.py"), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def finish(corpus: Path, name: str, workers: int) -> None:
    process = start(corpus, name, workers)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()


def written(folder: Path) -> int:
    """How many files of a run are there."""
    return sum(len(files) for _, _, files in os.walk(folder))


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def alive(session: int) -> list[str]:
    """The processes of a session that are still there (and no zombies)."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[3] == str(session) and fields[0] != "Z":
                found.append(entry.name)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="watches processes by /proc")
def test_twenty_kills_leave_no_trace(corpus: Path) -> None:
    finish(corpus, "undisturbed", 1)
    expected = content(corpus / "undisturbed")
    generator = random.Random(0)
    killed = rounds = 0
    stages = set()
    while killed < KILLS:
        rounds += 1
        assert rounds < 10 * KILLS, f"only {killed} of {rounds} processes could be killed before they ended"
        folder = corpus / "disturbed"
        workers = 1 + rounds % 2
        enough = written(folder) + generator.randrange(40)
        process = start(corpus, "disturbed", workers)
        while process.poll() is None and written(folder) <= enough:
            time.sleep(0.002)
        time.sleep(generator.uniform(0, 0.05))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.communicate()
        for _ in range(200):  # the workers notice by themselves
            if not (left := alive(process.pid)):
                break
            time.sleep(0.05)
        assert not left, f"processes outlive a killed run: {left}"
        stages |= {path.name for path in (folder / "work").glob("*")}
        if (folder / "manifest.json").exists():
            finish(corpus, "disturbed", 1)
            assert content(folder) == expected
            folder.rename(corpus / f"ended-{rounds}")
    finish(corpus, "disturbed", 2)
    assert content(corpus / "disturbed") == expected
    assert {"match", "count", "draw", "write"} <= stages, f"the kills hit only {sorted(stages)}"
