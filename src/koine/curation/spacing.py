"""The published spelling rules of texts and entries, in plain Python: what the compiled matcher must agree with.

A text is matched by an entry if the entry's *key* is a sub-string of the *spaced* text (MetaCLIP, section 3.1). Both
releases space texts alike; they differ in the key: v1 puts a space on either side of the entry, v2 leaves the space
out where the entry begins or ends with a character of a script that is written without spaces, or with punctuation.
"""

from __future__ import annotations

import re
from enum import StrEnum

PUNCTUATION = ",.;:?!`"
"""The characters that spacing surrounds by spaces. Backtick included; quotes, hyphens and brackets are not."""

WHITESPACE = " \t\n\r"
"""The characters that are a space after spacing. No-break and ideographic space, VT and FF are ordinary characters."""

BLOCKS_WITHOUT_SPACES = (
    (0x4E00, 0x9FFF),  # CJK unified ideographs and their extensions A-F
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0x2CEB0, 0x2EBEF),
    (0xF900, 0xFAFF),  # compatibility ideographs
    (0x2E80, 0x2EFF),  # radicals
    (0x2F00, 0x2FDF),
    (0x2FF0, 0x2FFF),  # ideographic description
    (0x0E00, 0x0E7F),  # Thai
    (0x0E80, 0x0EFF),  # Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x0F00, 0x0FFF),  # Tibetan
)
ASCII_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
WIDE_PUNCTUATION = "，。、；：？！“”‘’（）【】《》〈〉「」『』～—"

_ADJACENT_PUNCTUATION = re.compile(rf"[{PUNCTUATION}] [{PUNCTUATION}]")
_UNSPACED_PUNCTUATION = re.compile(rf"(?<=[^ ])[{PUNCTUATION}]|[{PUNCTUATION}](?=[^ ])")


class Rule(StrEnum):
    """How an entry becomes a key."""

    V1 = "v1"
    """A space on either side: an entry matches whole tokens."""
    V2 = "v2"
    """No space on a side where the entry has a character of an unspaced script or punctuation (MetaCLIP 2)."""


def spaced(text: str) -> str:
    """The text as both releases match it: a space at either end and around each of `PUNCTUATION`, others to spaces.

    Runs of spaces stay, so that "a, b" becomes " a ,  b " with an empty token after the comma.
    """
    text = f" {text} "
    for character in PUNCTUATION:
        text = text.replace(character, f" {character} ")
    return text.replace("\t", " ").replace("\n", " ").replace("\r", " ")


def is_written_without_spaces(character: str) -> bool:
    """Whether v2 leaves out the space beside this character: CJK ideographs, Thai, Lao, Burmese, Khmer, Tibetan,
    ASCII punctuation and 25 wide punctuation characters. Kana and Hangul are not among them."""
    if character in ASCII_PUNCTUATION or character in WIDE_PUNCTUATION:
        return True
    code = ord(character)
    return any(first <= code <= last for first, last in BLOCKS_WITHOUT_SPACES)


def key(entry: str, rule: Rule) -> str:
    """The string that must occur in the spaced text.

    An empty entry is the key "  " under v1, which matches wherever two spaces meet; v2 has no key for it and the
    original fails, so here it is "", which never matches.
    """
    if rule is Rule.V1:
        return f" {entry} "
    if not entry:
        return ""
    before = "" if is_written_without_spaces(entry[0]) else " "
    after = "" if is_written_without_spaces(entry[-1]) else " "
    return f"{before}{entry}{after}"


def is_dead(key: str) -> bool:
    """Whether no text whatever can contain this key, because texts are spaced and entries are not.

    Dead are keys with TAB, LF or CR, with a character of `PUNCTUATION` that touches something other than a space, and
    with two of them a single space apart (spacing leaves two). "U.S." and "Paris, Texas" are dead, "T-shirt" lives.
    """
    if not key or any(character in key for character in "\t\n\r"):
        return True
    return bool(_UNSPACED_PUNCTUATION.search(key) or _ADJACENT_PUNCTUATION.search(key))


def repaired(entry: str) -> str:
    """The entry spelled as spacing would spell it inside a text, so that it can match: "U.S." becomes "U . S .".

    This departs from the published matching and is therefore an option, never done silently.
    """
    return spaced(entry)[1:-1].strip(" ")
