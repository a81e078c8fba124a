"""Cuts raw texts into the words or the characters that their spaced form has, without writing that form.

Spacing a text (`spacing.spaced`) and splitting it at every space gives, in order: the run of bytes between two
neighbouring separators (often empty), and each punctuation character as a word of its own. So one pass over the raw
bytes finds the same words. Characters likewise: a separator stands for one space, punctuation for itself between two.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from koine.curation.compiled import compiled, signed
from koine.curation.intrinsics import WORD, load_word, lowest_bit, separator_masks

TEXT, BEGIN, AT = 0, 1, 2
"""What a cursor holds: the text, where its current word begins, and the byte to look at next."""
INVALID = -1
"""The symbol of a byte that is not UTF-8."""

_ONE = np.uint64(1)
_BYTE = np.uint64(0xFF)
_SPACE = 32


@compiled
def scan_words(
    address: int,
    offsets: npt.NDArray[np.int64],
    valid: npt.NDArray[np.bool_],
    cursor: npt.NDArray[np.int64],
    count: int,
    starts: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
) -> tuple[int, int]:
    """Reads on from the cursor until the texts or the room end; it may stop inside a text, at a word's beginning.

    Appends the words' addresses to `starts[:count]` and their bytes to `lengths[:count]`, and writes to `ends` how many
    words there were when each text ended. `starts` needs room for 2 * WORD words more than it has.

    Returns:
        How many words there are now, and how many texts ended.
    """
    text, start, at = cursor[TEXT], cursor[BEGIN], cursor[AT]
    ended = 0
    while text < len(valid) and count < len(starts) - 2 * WORD and ended < len(ends):
        stop = offsets[text + 1]
        left = stop - at
        separators, punctuation = separator_masks(address + at)
        if not valid[text]:
            separators, left = np.uint64(0), 0
        elif left < WORD:
            separators &= (_ONE << np.uint64(left)) - _ONE
        while separators != np.uint64(0):
            lowest = separators & (~separators + _ONE)
            end = at + lowest_bit(separators)
            starts[count], lengths[count] = address + start, end - start
            count += 1
            if punctuation & lowest:
                starts[count], lengths[count] = address + end, 1
                count += 1
            start = end + 1
            separators ^= lowest
        if left > WORD:
            at += WORD
            continue
        if valid[text]:
            starts[count], lengths[count] = address + start, stop - start
            count += 1
        ends[ended] = count
        ended += 1
        text += 1
        start = at = stop
    cursor[TEXT], cursor[BEGIN], cursor[AT] = text, start, at
    return count, ended


@compiled
def scan_characters(
    address: int,
    offsets: npt.NDArray[np.int64],
    valid: npt.NDArray[np.bool_],
    cursor: npt.NDArray[np.int64],
    count: int,
    symbols: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
) -> tuple[int, int]:
    """The same for characters: appends code points to `symbols[:count]`, INVALID for a byte that is not UTF-8."""
    text, at = cursor[TEXT], cursor[AT]
    ended = 0
    while text < len(valid) and count < len(symbols) - 8 and ended < len(ends):
        stop = offsets[text + 1]
        if valid[text]:
            if at == offsets[text]:
                symbols[count] = _SPACE
                count += 1
            while at < stop and count < len(symbols) - 4:
                symbol, size = decode(address + at, stop - at)
                if symbol in (44, 46, 59, 58, 63, 33, 96):  # the punctuation , . ; : ? ! `
                    symbols[count] = symbols[count + 2] = _SPACE
                    symbols[count + 1] = symbol
                    count += 3
                else:
                    symbols[count] = _SPACE if symbol in (9, 10, 13) else symbol
                    count += 1
                at += size
            if at < stop:
                break
            symbols[count] = _SPACE
            count += 1
        ends[ended] = count
        ended += 1
        text += 1
        at = stop
    cursor[TEXT], cursor[BEGIN], cursor[AT] = text, at, at
    return count, ended


@compiled
def decode(address: int, left: int) -> tuple[int, int]:
    """The character at `address` and its bytes, of which `left` are there; (INVALID, 1) if these are not UTF-8."""
    word = load_word(address)
    first = signed(word & _BYTE)
    if first < 0x80:
        return first, signed(1)
    if first < 0xC2 or first > 0xF4:
        return INVALID, 1
    size = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    if size > left:
        return INVALID, 1
    symbol = first & (0x7F >> size)
    for position in range(1, size):
        following = signed((word >> np.uint64(8 * position)) & _BYTE)
        if following & 0xC0 != 0x80:
            return INVALID, 1
        symbol = (symbol << 6) | (following & 0x3F)
    shortest = 0x80 if size == 2 else 0x800 if size == 3 else 0x10000
    if symbol < shortest or symbol > 0x10FFFF or 0xD800 <= symbol <= 0xDFFF:
        return INVALID, 1
    return symbol, size
