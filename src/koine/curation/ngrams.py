"""Words of running text, how often each and each pair occurs, and how much the words of a pair belong together."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise

import numpy as np

from koine.curation.metadata import PUNCTUATION
from koine.curation.spacing import BLOCKS_WITHOUT_SPACES
from koine.curation.spilled_counts import SpilledCounts

_MARKUP = re.compile(r"&lt;.*?&gt;|<.*?>")
_SINGLE = "".join(f"{chr(first)}-{chr(last)}" for first, last in BLOCKS_WITHOUT_SPACES) + re.escape(PUNCTUATION)
_TOKEN = re.compile(rf"[{_SINGLE}]|[^\s{_SINGLE}]+")
_PUNCTUATION = frozenset(PUNCTUATION)
_WORDS_AT_ONCE = 1_000_000


def tokens(text: str) -> list[str]:
    """Splits at white space, and makes each punctuation character and each one of an unspaced script a token.

    Tags, written plainly or as character references, are removed first, without leaving a space.
    """
    return _TOKEN.findall(_MARKUP.sub("", text))


def count_ngrams(
    texts: Iterable[str],
    unigrams: SpilledCounts,
    bigrams: SpilledCounts,
    segment: Callable[[str], list[str]] = tokens,
) -> None:
    """Adds the words of texts, and the pairs of neighbours (joined by a space), to two counts.

    Punctuation is no word, and words on either side of it are no pair; nor are those of two texts.

    Args:
        segment: cuts a text into words; languages written without spaces need one of their own.
    """
    words: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    seen = 0
    for text in texts:
        cut = segment(text)
        words.update(cut)
        pairs.update(pairwise(cut))
        seen += len(cut)
        if seen >= _WORDS_AT_ONCE:
            _hand_over(words, pairs, unigrams, bigrams)
            seen = 0
    _hand_over(words, pairs, unigrams, bigrams)


def _hand_over(
    words: Counter[str], pairs: Counter[tuple[str, str]], unigrams: SpilledCounts, bigrams: SpilledCounts
) -> None:
    unigrams.add({word: count for word, count in words.items() if not _PUNCTUATION.issuperset(word)})
    bigrams.add(
        {
            f"{first} {second}": count
            for (first, second), count in pairs.items()
            if not (_PUNCTUATION.issuperset(first) or _PUNCTUATION.issuperset(second))
        }
    )
    words.clear()
    pairs.clear()


def pointwise_mutual_information(
    unigrams: Mapping[str, int], bigrams: Iterable[tuple[str, str, int]], at_once: int = _WORDS_AT_ONCE
) -> Iterator[tuple[str, float]]:
    """How much more often a pair occurs than its words would meet by chance, in bits.

    log2(pair * all) - log2(first * second), where `all` is the sum of all words' counts; NLTK's measure.

    Args:
        unigrams: each word's count.
        bigrams: first word, second word, count; left out if a word is not among `unigrams`.

    Yields:
        The pair, joined by a space, and its measure; in the order of `bigrams`.
    """
    total = sum(unigrams.values())
    names: list[str] = []
    numbers: list[tuple[float, float]] = []

    def measured() -> Iterator[tuple[str, float]]:
        table = np.array(numbers).reshape(-1, 2)
        yield from zip(names, (np.log2(table[:, 0]) - np.log2(table[:, 1])).tolist(), strict=True)
        names.clear()
        numbers.clear()

    for first, second, count in bigrams:
        if first in unigrams and second in unigrams:
            names.append(f"{first} {second}")
            numbers.append((float(count * total), float(unigrams[first] * unigrams[second])))
            if len(names) >= at_once:
                yield from measured()
    yield from measured()
