"""The keys of a whole list of entries at once: `spacing.key`, `is_dead` and `repaired` over Arrow columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from koine.curation.spacing import PUNCTUATION, Rule, is_dead, is_written_without_spaces, key, repaired

_DEAD = rf"[\t\n\r]|[^ ][{PUNCTUATION}]|[{PUNCTUATION}][^ ]|[{PUNCTUATION}] [{PUNCTUATION}]"
_SPACE, _NOTHING = pa.scalar(" ", pa.large_string()), pa.scalar("", pa.large_string())


@dataclass(frozen=True)
class Keys:
    """What a list of entries is matched by; the arrays side by side have one row per key."""

    words: pa.Array
    """Keys with a space on both sides, given without these: matched word by word."""
    word_ids: npt.NDArray[np.int64]
    """[words], the entry of each."""
    characters: pa.Array
    """Keys that may begin or end inside a word: matched character by character."""
    character_ids: npt.NDArray[np.int64]
    dead: npt.NDArray[np.int64]
    """The entries that can't match as published, ascending, whether they were repaired or not."""


def keys_of(entries: pa.Array, rule: Rule, *, repair: bool) -> Keys:
    """Spells the keys of `entries` (large_string without nulls); dead ones only if `repair` can mend them."""
    spelled = _keys(entries, rule)
    dead = pc.or_(pc.equal(spelled, ""), pc.match_substring_regex(spelled, _DEAD)).to_numpy(zero_copy_only=False)
    ids = np.flatnonzero(~dead)
    spelled = spelled.filter(pa.array(~dead))
    if repair and dead.any():
        # Few entries are dead, so these go one by one.
        mended = {int(place): key(repaired(entries[place].as_py()), rule) for place in np.flatnonzero(dead)}
        mended = {place: text for place, text in mended.items() if text.strip() and not is_dead(text)}
        ids = np.concatenate([ids, np.fromiter(mended, np.int64)])
        spelled = pa.concat_arrays([spelled, pa.array(list(mended.values()), pa.large_string())])
        # In the order of the list, because of equal keys the last one counts.
        order = np.argsort(ids)
        ids, spelled = ids[order], spelled.take(pa.array(order))
    whole = pc.and_(pc.starts_with(spelled, " "), pc.ends_with(spelled, " "))
    whole = pc.and_(whole, pc.greater(pc.binary_length(spelled), 1)).to_numpy(zero_copy_only=False)
    words = pc.utf8_slice_codeunits(spelled.filter(pa.array(whole)), 1, -1)
    return Keys(words, ids[whole], spelled.filter(pa.array(~whole)), ids[~whole], np.flatnonzero(dead))


def _keys(entries: pa.Array, rule: Rule) -> pa.Array:
    if rule is Rule.V1:
        return pc.binary_join_element_wise(_SPACE, entries, _SPACE, _NOTHING)
    before = pc.if_else(_unspaced(pc.utf8_slice_codeunits(entries, 0, 1)), _NOTHING, _SPACE)
    after = pc.if_else(_unspaced(pc.utf8_slice_codeunits(entries, -1)), _NOTHING, _SPACE)
    return pc.if_else(
        pc.equal(entries, _NOTHING), _NOTHING, pc.binary_join_element_wise(before, entries, after, _NOTHING)
    )


def _unspaced(characters: pa.Array) -> pa.Array:
    """`is_written_without_spaces` of single characters (or none), asked once per distinct one."""
    encoded = characters.dictionary_encode()
    answers = [bool(text) and is_written_without_spaces(text) for text in encoded.dictionary.to_pylist()]
    return pa.array(answers, pa.bool_()).take(encoded.indices)
