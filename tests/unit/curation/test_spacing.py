"""The published spelling rules, on cases that can be checked by eye."""

from __future__ import annotations

import itertools

import pytest

from koine.curation.spacing import Rule, is_dead, key, repaired, spaced


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "  "),
        ("a red cube", " a red cube "),
        ("a, b", " a ,  b "),
        ("U.S.", " U . S .  "),
        ("tab\tline\nreturn\r", " tab line return  "),
        ("`tick`", "  ` tick `  "),
        ('"(T-shirt)"', ' "(T-shirt)" '),
        ("no-break\u00a0and\u3000wide", " no-break\u00a0and\u3000wide "),
    ],
)
def test_spacing(text: str, expected: str) -> None:
    assert spaced(text) == expected


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("red cube", " red cube "),
        ("C++", " C++"),
        (".net", ".net "),
        ("猫", "猫"),
        ("日本の", "日本の "),  # kana is not a script without spaces here
        ("ไทย", "ไทย"),
        ("한국", " 한국 "),
        ("¿qué", " ¿qué "),
        ("", ""),
    ],
)
def test_keys_of_the_second_release(entry: str, expected: str) -> None:
    assert key(entry, Rule.V2) == expected


def test_keys_of_the_first_release() -> None:
    assert key("猫", Rule.V1) == " 猫 "
    assert key("", Rule.V1) == "  "


def test_dead_is_exactly_what_no_text_contains() -> None:
    """All keys up to five characters over a small alphabet, against all texts that could contain them."""
    alphabet = "a ,.\t"
    contained: set[str] = set()
    for length in range(6):
        for text in itertools.product(alphabet, repeat=length):
            written = spaced("".join(text))
            contained |= {written[i:j] for i in range(len(written)) for j in range(i + 1, min(i + 5, len(written)) + 1)}
    for length in range(1, 6):
        for characters in itertools.product(alphabet, repeat=length):
            candidate = "".join(characters)
            assert is_dead(candidate) == (candidate not in contained), repr(candidate)


@pytest.mark.parametrize("entry", ["U.S.", "Paris, Texas", "No. 1", "3,000", "hello!", "?!", "a\tb", "...", "`"])
def test_a_repaired_entry_matches_the_text_that_spells_it(entry: str) -> None:
    for text in (entry, f"in the {entry} we trust", f"({entry}"):
        if text != f"({entry}" or not entry[0].isalnum():
            assert f" {repaired(entry)} " in spaced(text)
    assert not is_dead(key(repaired(entry), Rule.V1))
