"""Lists of entries: the releases' recipes, their files, and what a report says of them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from koine.curation.metadata import FirstRelease, Metadata, build_first, build_second
from koine.curation.spacing import Rule
from koine.errors import InputError


def test_the_first_release_takes_what_reaches_its_thresholds() -> None:
    built = build_first(
        wordnet=["dog", "cat", "dog"],
        unigrams=[("the", 5000), ("cat", 900), ("rare", 99), ("edge", 100), (",", 10**6), ("--", 200), ("", 300)],
        bigrams=[("New York", 30.0), ("of the", 29.9), ("a b", 41.0)],
        titles=[("Kunta Kinte", 70), ("Nobody", 69), ("Tokyo", 900)],
    )
    assert built.entries[:100] == tuple(map(str, range(100)))
    assert built.entries[100:] == ("cat", "dog", "the", "--", "edge", "a b", "New York", "Tokyo", "Kunta Kinte")
    assert "".join(built.sources) == "wwuuubbtt"


def test_the_first_release_stops_when_the_list_is_full() -> None:
    built = build_first(unigrams=[(f"word{n}", 1000 - n) for n in range(50)], thresholds=FirstRelease(limit=103))
    assert built.entries[100:] == ("word0", "word1", "word2")


def test_the_second_release_joins_the_pairs_of_languages_without_spaces() -> None:
    pairs = [("红 色", 40.0), ("方 块", 30.0)]
    assert build_second("zh", bigrams=pairs).entries[100:] == ("红色",)
    assert build_second("ko", bigrams=pairs).entries[100:] == ("红 色",)


@pytest.mark.parametrize("name", ["list.txt", "list.json", "list.parquet"])
def test_a_list_is_read_as_it_was_written(name: str, tmp_path: Path) -> None:
    listed = Metadata(("red", " spaced ", "été", "a, b", "red"))
    listed.save(tmp_path / name)
    assert Metadata.load(tmp_path / name) == listed


@pytest.mark.parametrize("name", ["list.json", "list.parquet"])
def test_sources_are_kept(name: str, tmp_path: Path) -> None:
    listed = Metadata(("0", "red", "of the"), ("", "w", "b"))
    listed.save(tmp_path / name)
    assert Metadata.load(tmp_path / name) == listed


def test_a_line_break_does_not_fit_into_lines(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line break"):
        Metadata(("a\nb",)).save(tmp_path / "list.txt")


def test_files_that_hold_no_list(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("[1, 2")
    (tmp_path / "numbers.json").write_text(json.dumps([1, 2]))
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    pq.write_table(pa.table({"word": ["red"]}), tmp_path / "other.parquet")
    (tmp_path / "latin.txt").write_bytes("été".encode("latin-1"))
    (tmp_path / "list.csv").write_text("red")
    for name in ("broken.json", "numbers.json", "broken.parquet", "other.parquet", "latin.txt", "list.csv", "no.txt"):
        with pytest.raises(InputError, match=name):
            Metadata.load(tmp_path / name)


def test_a_report_names_what_can_never_match_and_what_is_there_twice() -> None:
    report = Metadata(("red", "U.S.", "red", "C++"), ("w", "u", "t", "t")).report()
    assert report["dead"] == {"count": 1, "examples": ["U.S."]}
    assert report["repeated"] == {"count": 1, "examples": ["red"]}
    assert report["sources"] == {"WordNet": 1, "uni-gram": 1, "title": 2}
    assert Metadata((".net",)).report(Rule.V2)["dead"] == {"count": 1, "examples": [".net"]}
