"""The compiled matcher against the rule itself: is the entry's key a sub-string of the spaced text?"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from koine.curation.matching import Matcher, Matches
from koine.curation.spacing import Rule, key, spaced
from koine.errors import InputError


def by_the_rule(entries: list[str], texts: list[str], rule: Rule) -> list[list[int]]:
    """Every id, of repeated entries too."""
    keys = [key(entry, rule) for entry in entries]
    return [[place for place, spelled in enumerate(keys) if spelled and spelled in spaced(text)] for text in texts]


def found(matches: Matches) -> list[list[int]]:
    return [matches.of(text).tolist() for text in range(len(matches))]


def nasty(generator: random.Random, longest: int) -> str:
    """A text in which words, separators and scripts collide often."""
    words = ["a", "b", "ab", "ba", "T-shirt", "C++", "été", "猫", "犬が", "ไทย", "nana", "nanana", "x" * 17, "x" * 20]
    separators = [" ", " ", " ", "  ", ", ", ",", ".", "\t", "\n", "`", "?!", "", "\u3000", "\x00"]
    parts = (generator.choice(words) + generator.choice(separators) for _ in range(generator.randrange(longest)))
    return "".join(parts)


@pytest.mark.parametrize("rule", list(Rule))
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_the_rule_on_nasty_texts(rule: Rule, seed: int) -> None:
    generator = random.Random(seed)
    entries = list({nasty(generator, 4) for _ in range(400)} - ({""} if rule is Rule.V2 else set()))
    texts = [nasty(generator, 15) for _ in range(1500)]
    assert found(Matcher.build(entries, rule=rule).match(texts)) == by_the_rule(entries, texts, rule)


@pytest.mark.parametrize("rule", list(Rule))
def test_texts_longer_than_a_round_of_the_kernel(rule: Rule) -> None:
    generator = random.Random(0)
    entries = [*{nasty(generator, 6) for _ in range(300)} - {""}, " ".join("ab" * 20), "a " * 300 + "b"]
    texts = [
        nasty(generator, 2000),
        "a " * 5000 + "b",
        "",
        "猫" * 3000,
        "," * 3000,
        nasty(generator, 10),
        "a " * 299 + "b",
    ]
    assert found(Matcher.build(entries, rule=rule).match(texts)) == by_the_rule(entries, texts, rule)


@pytest.mark.parametrize("words", [126, 127, 128, 190, 191, 192, 254, 255, 256, 380, 381, 382, 383, 384, 385, 512])
def test_an_entry_across_the_end_of_a_round(words: int) -> None:
    entries = ["one two three", "three four five six seven", "six"]
    text = " ".join(["w"] * words + ["one", "two", "three", "four", "five", "six", "seven"])
    assert found(Matcher.build(entries).match([text, "six"])) == [[0, 1, 2], [2]]


def test_of_repeated_entries_the_last_or_all() -> None:
    entries = ["red", "cube", "red", "red cube", "red", "red cube"]
    assert found(Matcher.build(entries).match(["a red cube", "red"])) == [[1, 4, 5], [4]]
    assert found(Matcher.build(entries, repeated="all").match(["a red cube", "red"])) == [[0, 1, 2, 3, 4, 5], [0, 2, 4]]


def test_dead_entries_are_reported_and_matched_only_when_repaired() -> None:
    entries = ["U.S.", "Paris, Texas", "T-shirt", "a\tb", "\t"]
    texts = ["the U.S. army", "in Paris, Texas.", "T-shirt", "a b"]
    plain = Matcher.build(entries)
    assert plain.dead.tolist() == [0, 1, 3, 4]
    assert found(plain.match(texts)) == [[], [], [2], []]
    mended = Matcher.build(entries, repair=True)
    assert mended.dead.tolist() == [0, 1, 3, 4]
    assert found(mended.match(texts)) == [[0], [1], [2], [3]]
    assert mended.fingerprint != plain.fingerprint


def test_the_empty_entry_matches_where_two_spaces_meet() -> None:
    texts = ["", "a", "a, b", "a b", "a ", ".", "a.b"]
    assert found(Matcher.build(["", "b"]).match(texts)) == by_the_rule(["", "b"], texts, Rule.V1)


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.dictionary(pa.int32(), pa.string())]
)
def test_arrow_arrays_of_every_kind_sliced_and_with_nulls(kind: pa.DataType) -> None:
    texts = ["cube", None, "a red cube", "", None, "red"]
    array = pa.array(texts, pa.string()).cast(pa.string())
    array = array.dictionary_encode() if pa.types.is_dictionary(kind) else array.cast(kind)
    matcher = Matcher.build(["red", "cube", "red cube", ""])
    expected = [[1], [], [0, 1, 2], [3], [], [0]]
    assert found(matcher.match(array)) == expected
    assert found(matcher.match(array.slice(2, 3))) == expected[2:5]
    assert found(matcher.match(pa.chunked_array([array.slice(0, 2), array.slice(2)]))) == expected
    assert found(matcher.match(array.slice(0, 0))) == []


def test_bytes_that_are_no_text() -> None:
    array = pa.array(
        [b"red \xff cube", b"\xe7\x8c", "猫 red".encode()[:-1], b"red\x00", b"\xed\xa0\x80 red"], pa.binary()
    )
    assert found(Matcher.build(["red", "cube"]).match(array)) == [[0, 1], [], [], [], [0]]
    assert found(Matcher.build(["red", "cube", "猫"], rule="v2").match(array)) == [[0, 1], [], [2], [], [0]]


def test_words_that_share_their_ends_or_their_hash_are_told_apart() -> None:
    words = [
        "abcdefgh",
        "abcdefgh\x00",
        "abcdefg",
        "abcdefg\x00",
        "x" * 16,
        "x" * 17,
        "x" * 15 + "y" + "x" * 8,
        "x" * 24,
    ]
    texts = [f"{word} end" for word in words]
    assert found(Matcher.build(words).match(texts)) == [[place] for place in range(len(words))]


@pytest.mark.parametrize("threads", [1, 3])
def test_many_texts_come_back_in_order(threads: int) -> None:
    texts = [f"number {n} of many" for n in range(200_000)]
    matches = Matcher.build([str(n) for n in range(0, 200_000, 1000)]).match(texts, threads=threads)
    assert np.flatnonzero(matches.lengths).tolist() == list(range(0, 200_000, 1000))
    assert matches.ids.tolist() == list(range(200))


def test_a_saved_matcher_is_the_same(tmp_path: Path) -> None:
    entries = ["red", "red cube", "猫", "C++", "x" * 40, "red"]
    texts = ["a red cube", "C++11", "黒猫", "x" * 40, "x" * 39]
    for rule in Rule:
        built = Matcher.build(entries, rule=rule, repeated="all")
        built.save(tmp_path / "index")
        loaded = Matcher.load(tmp_path / "index")
        assert found(loaded.match(texts)) == found(built.match(texts)) == by_the_rule(entries, texts, rule)
        assert loaded.entries.to_pylist() == entries
        assert loaded.fingerprint == built.fingerprint


def test_files_that_are_no_index(tmp_path: Path) -> None:
    Matcher.build(["red", "cube"]).save(tmp_path / "index")
    whole = (tmp_path / "index").read_bytes()
    (tmp_path / "short").write_bytes(whole[:-100])
    (tmp_path / "other").write_bytes(b"not an index at all")
    (tmp_path / "empty").write_bytes(b"")
    for name in ("short", "other", "empty", "missing"):
        with pytest.raises(InputError, match=name):
            Matcher.load(tmp_path / name)


@pytest.mark.parametrize("entries", [["a", None], ["a", "\ud800"], [1, 2]])
def test_entries_that_are_no_texts(entries: list[str]) -> None:
    with pytest.raises(InputError, match="entr"):
        Matcher.build(entries)


def test_texts_that_are_no_texts() -> None:
    matcher = Matcher.build(["a"])
    with pytest.raises(InputError, match="texts"):
        matcher.match(["\ud800"])
    with pytest.raises(InputError, match="int64"):
        matcher.match(pa.array([1, 2]))


def test_no_entries_and_no_texts() -> None:
    assert found(Matcher.build([]).match(["a", ""])) == [[], []]
    assert found(Matcher.build(["a"]).match([])) == []
    assert found(Matcher.build([], rule="v2").match(["a"])) == [[]]


def test_matches_become_arrow_lists_and_back() -> None:
    matches = Matcher.build(["red", "cube"]).match(["a red cube", "ball", "cube"])
    lists = matches.to_arrow()
    assert lists.to_pylist() == [[0, 1], [], [1]]
    assert found(Matches.from_arrow(lists)) == [[0, 1], [], [1]]
    assert found(Matches.from_arrow(lists.slice(1))) == [[], [1]]
