"""How fast texts match 500,000 entries, beside the releases' way: pyahocorasick and the published spacing.

One run, one core, the same texts, the same result (checked). Prints a table; docs/scale.md keeps a copy.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa

from curation_corpus import entries, texts, words
from koine.curation.matching import Matcher
from koine.curation.spacing import spaced

BAR = 12.0
BAR_OF_TWO_WORKERS = 1.7


def best_of(rounds: int, work: Callable[[], object]) -> float:
    """Seconds of the fastest round."""
    seconds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def resident(path: str) -> int:
    """Bytes of a mapped file that this process holds in memory."""
    return sum(mapped.rss for mapped in psutil.Process().memory_maps() if mapped.path == path)


def match_file(index: str, corpus: str, part: int, parts: int) -> int:
    """One worker's share of the texts; how many matches it has."""
    with pa.memory_map(corpus) as source:
        column = pa.ipc.open_file(source).read_all()["text"]
        size = -(-len(column) // parts)
        return len(Matcher.load(index).match(column.slice(part * size, size)).ids)


def main() -> int:
    """Prints the rates; status 1 if a ratio misses its bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=500_000)
    parser.add_argument("--texts", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--two-workers", action="store_true", help="also compare two processes with one (needs two idle cores)"
    )
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    vocabulary = words(generator)
    listed = entries(vocabulary, generator, options.entries)
    corpus = texts(vocabulary, generator, options.texts)
    Matcher.build(listed[:10]).match(corpus[:10])  # compiles, or reads the compiled code from the disk

    build = best_of(options.rounds, lambda: Matcher.build(listed))
    with tempfile.TemporaryDirectory() as folder:
        index = str(Path(folder) / "index")
        Matcher.build(listed).save(index)
        load = best_of(options.rounds, lambda: Matcher.load(index))
        matcher = Matcher.load(index)
        ours = matcher.match(corpus)
        held = resident(index)
        seconds = best_of(options.rounds, lambda: matcher.match(corpus))
        shape = f"{corpus.nbytes / len(corpus):.0f} bytes, {len(ours.ids) / len(ours):.1f} matches each"
        print(f"entries {len(listed):,}; texts {len(corpus):,} of {shape}")
        print(f"koine          {len(corpus) / seconds:12,.0f} texts/s  {corpus.nbytes / seconds / 1e6:6.1f} MB/s")
        print(
            f"               build {build:.2f} s, load {load * 1000:.1f} ms, index {matcher.nbytes / 1e6:.1f} MB, "
            f"of which {held / 1e6:.1f} MB resident"
        )
        reached = not options.two_workers or two_workers(index, corpus, folder, options.rounds) >= BAR_OF_TWO_WORKERS
    return int(not (compare(listed, corpus, ours.ids, len(corpus) / seconds, options.rounds) >= BAR and reached))


def two_workers(index: str, corpus: pa.Array, folder: str, rounds: int) -> float:
    """How many times as fast two workers are."""
    path = os.path.join(folder, "corpus.arrow")
    table = pa.table({"text": pa.concat_arrays([corpus] * 10)})
    with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with ProcessPoolExecutor(2) as pool:

        def run(parts: int) -> list[int]:
            return list(pool.map(match_file, [index] * parts, [path] * parts, range(parts), [parts] * parts))

        run(2)
        one, two = best_of(rounds, lambda: run(1)), best_of(rounds, lambda: run(2))
    print(
        f"two workers    {one / two:.2f} times one worker ({len(table) / two:,.0f} texts/s; bar: {BAR_OF_TWO_WORKERS})"
    )
    return one / two


def compare(listed: list[str], corpus: pa.Array, expected: np.ndarray, rate: float, rounds: int) -> float:
    """How many times as fast as pyahocorasick the rate is."""
    try:
        import ahocorasick
    except ImportError:
        sys.exit("pyahocorasick is not installed, so there is nothing to compare with: pip install 'koine[bench]'")
    begin = time.perf_counter()
    automaton = ahocorasick.Automaton()
    for number, entry in enumerate(listed):
        automaton.add_word(f" {entry} ", (number, f" {entry} "))
    automaton.make_automaton()
    build = time.perf_counter() - begin
    plain = corpus.to_pylist()

    def match() -> list[list[int]]:
        return [list({found[0] for _, found in automaton.iter(spaced(text))}) for text in plain]

    theirs = np.concatenate([np.sort(np.array(found, np.int32)) for found in match()])
    assert np.array_equal(theirs, expected), "the two matchers disagree"
    seconds = best_of(rounds, match)
    print(f"pyahocorasick  {len(plain) / seconds:12,.0f} texts/s; build {build:.2f} s; same {len(theirs):,} matches")
    ratio = rate / (len(plain) / seconds)
    print(f"ratio          {ratio:12.1f} (bar: {BAR:g})")
    return float(ratio)


if __name__ == "__main__":
    sys.exit(main())
