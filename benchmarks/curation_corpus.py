"""A made-up web: entries with the shape of MetaCLIP's metadata and alt-texts with the shape of the web's.

Words are strings of syllables whose frequency follows Zipf's law and whose length grows with their rank. The list has
the published composition (table 1 of the paper): WordNet lemmas, uni-grams, bi-grams, titles. Texts are of about ten
words and 75 bytes with punctuation and words that no list has. Run as a script, it writes a parquet data set.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

WORDS = 420_000
_SYLLABLES = (
    *(
        "a",
        "e",
        "i",
        "o",
        "u",
        "ba",
        "be",
        "co",
        "da",
        "di",
        "en",
        "fa",
        "go",
        "hi",
        "in",
        "ka",
        "lo",
        "mi",
        "no",
        "on",
    ),
    *("pe", "ra", "ri", "sa", "shon", "st", "ta", "ti", "tion", "tra", "un", "ve", "vi", "wo", "za", "er", "ing", "al"),
)
_ENDINGS = ("", ",", ".", ":", "!")
_ENDING_SHARES = (0.88, 0.06, 0.04, 0.01, 0.01)


def words(generator: np.random.Generator) -> list[str]:
    """WORDS distinct words, the most frequent first; a fifth is capitalised."""
    found: dict[str, None] = {}
    while len(found) < WORDS:
        lengths = generator.choice([1, 2, 3, 4, 5], p=[0.02, 0.2, 0.4, 0.28, 0.1], size=WORDS)
        syllables = generator.integers(0, len(_SYLLABLES), int(lengths.sum()))
        ends = np.cumsum(lengths)
        capital = generator.random(WORDS) < 0.2
        for begin, end, upper in zip(ends - lengths, ends, capital, strict=True):
            word = "".join(_SYLLABLES[syllable] for syllable in syllables[begin:end])
            found[word.capitalize() if upper else word] = None
    chosen = list(found)[:WORDS]
    noise = generator.normal(0, 3, WORDS)
    return [chosen[place] for place in np.argsort([len(word) for word in chosen] + noise)]


def zipf(generator: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
    """Ranks of words as texts use them."""
    weights = 1 / (np.arange(WORDS) + 3.7) ** 1.05
    return np.searchsorted(np.cumsum(weights / weights.sum()), generator.random(count)).clip(0, WORDS - 1)


def entries(vocabulary: list[str], generator: np.random.Generator, count: int = 500_000) -> list[str]:
    """A list with the published composition, scaled to `count`."""
    found = dict.fromkeys(str(number) for number in range(100))
    shares = {(1, 2): 86_654, (1,): 251_465, (2,): 100_646, (1, 2, 3, 4): 61_235}
    wanted = len(found)
    for lengths, published in shares.items():
        wanted += round(published * count / 500_000)
        while len(found) < wanted:
            missing = wanted - len(found)
            sizes = generator.choice(lengths, missing)
            # Half of the words are frequent ones, as in names and terms.
            drawn = np.where(
                generator.random(int(sizes.sum())) < 0.5,
                zipf(generator, int(sizes.sum())),
                generator.integers(0, WORDS, int(sizes.sum())),
            )
            for part in np.split(drawn, np.cumsum(sizes)[:-1]):
                found[" ".join(vocabulary[word] for word in part)] = None
    return list(found)[:count]


def texts(vocabulary: list[str], generator: np.random.Generator, count: int) -> pa.Array:
    """[count] alt-texts."""
    forms = pa.array([word + ending for word in vocabulary for ending in _ENDINGS])
    lengths = np.maximum(1, generator.poisson(9.9, count))
    total = int(lengths.sum())
    ranks = zipf(generator, total)
    drawn = forms.take(pa.array(ranks * len(_ENDINGS) + generator.choice(len(_ENDINGS), total, p=_ENDING_SHARES)))
    # One word in twenty is nobody's: a file name, a misspelling, a number.
    odd = pa.array(generator.random(total) < 0.05)
    numbers = pa.array(generator.integers(0, 10**7, total)).cast(pa.string())
    drawn = pc.if_else(odd, pc.binary_join_element_wise(drawn, numbers, "x"), drawn)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    return pc.binary_join(pa.ListArray.from_arrays(offsets, drawn), " ")


def tables(rows: int, *, seed: int, per_table: int = 250_000) -> Iterator[pa.Table]:
    """A data set of uid, url and text; one row in fifty repeats the address and the text of an earlier one."""
    generator = np.random.default_rng(seed)
    vocabulary = words(generator)
    for begin in range(0, rows, per_table):
        count = min(per_table, rows - begin)
        numbers = np.arange(begin, begin + count)
        source = np.where(generator.random(count) < 0.02, generator.integers(0, count, count), np.arange(count))
        url = pc.binary_join_element_wise("https://example.org/images/", pa.array(begin + source).cast(pa.string()), "")
        uid = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 24, "0")
        text = texts(vocabulary, generator, count).take(pa.array(source))
        yield pa.table({"uid": uid, "url": url, "text": text})


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes generated entries and image-text pairs as parquet files.")
    parser.add_argument("folder", type=Path, nargs="?", help="where to write; without it, some rows are shown")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.folder is None:
        for row in next(iter(tables(5, seed=options.seed))).to_pylist():
            print(row)
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(options.seed)
    listed = entries(words(generator), generator)
    pq.write_table(pa.table({"entry": listed}), options.folder / "entries.parquet")
    per_file = -(-options.rows // options.files)
    for number, table in enumerate(tables(options.rows, seed=options.seed, per_table=per_file)):
        pq.write_table(table, options.folder / f"pairs-{number:04}.parquet")


if __name__ == "__main__":
    main()
