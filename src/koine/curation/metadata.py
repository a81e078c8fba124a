"""The list of entries that texts are matched against: reading, writing, checking, and putting it together from sources.

Table 1 of MetaCLIP has the first release's thresholds. The second builds one list per language, with caps in place of
thresholds; there a source's entries are taken best first until so many new ones are found.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from koine.curation.spacing import ASCII_PUNCTUATION, WIDE_PUNCTUATION, Rule, is_dead, key
from koine.errors import InputError
from koine.files import write_atomically

SOURCES = {"": "number", "w": "WordNet", "u": "uni-gram", "b": "bi-gram", "t": "title"}
"""The letters by which MetaCLIP 2's files name an entry's source."""

PUNCTUATION = ASCII_PUNCTUATION + WIDE_PUNCTUATION + "¿"
"""What the second release's builder takes for punctuation: one character more than its matcher knows."""

SPACELESS = frozenset(["bo", "dz", "ja", "km", "lo", "my", "ryu", "th", "zh", "zh_classical", "zh_yue"])
"""Wikipedia's codes of the languages whose bi-grams are written without a space."""

_LONGEST = 256


@dataclass(frozen=True)
class FirstRelease:
    """What of each source enters MetaCLIP's English list (table 1)."""

    unigram_count: int = 100
    pmi: float = 30.0
    """Bi-grams with at least this pointwise mutual information."""
    views: int = 70
    limit: int = 500_000
    """Entries altogether; the last source fills the list."""


@dataclass(frozen=True)
class SecondRelease:
    """What of each source enters MetaCLIP 2's list of a language."""

    unigrams: int = 251_465
    unigram_share: float = 0.1
    """At most this share of the uni-grams."""
    pmi: float = 30.0
    """Bi-grams with more than this pointwise mutual information."""
    bigrams: int = 100_646
    titles: int = 61_235
    title_share: float = 0.76


PUBLISHED_FIRST = FirstRelease()
PUBLISHED_SECOND = SecondRelease()


@dataclass(frozen=True)
class Metadata:
    """A list of entries; an entry's id is its place."""

    entries: tuple[str, ...]
    sources: tuple[str, ...] = ()
    """The source of each (letters of `SOURCES`), or nothing."""

    def __len__(self) -> int:
        return len(self.entries)

    def report(self, rule: Rule = Rule.V1) -> dict[str, object]:
        """How many entries there are by source, which occur twice, and which can never match under a rule."""
        dead = [entry for entry in self.entries if is_dead(key(entry, rule))]
        twice = [entry for entry, count in Counter(self.entries).items() if count > 1]
        by_source = Counter(SOURCES.get(letter, letter) for letter in self.sources)
        return {
            "entries": len(self.entries),
            "sources": dict(by_source),
            "repeated": {"count": len(twice), "examples": twice[:20]},
            "dead": {"count": len(dead), "examples": dead[:20]},
        }

    def save(self, path: Path) -> None:
        """Writes a list (.txt, .parquet) or, as .json, what the releases write: a list, or an object with the sources.

        Raises:
            InputError: another kind of file; or a .txt for entries that hold a line break.
        """
        kind = _kind(path)
        if kind == ".txt" and (
            broken := next((entry for entry in self.entries if entry.splitlines() != [entry]), None)
        ):
            raise InputError(f"the entry {broken!r} has a line break, which a .txt can't hold: write .json or .parquet")
        with write_atomically(path) as temporary:
            if kind == ".txt":
                temporary.write_text("".join(f"{entry}\n" for entry in self.entries), "utf-8")
            elif kind == ".json":
                content = dict(zip(self.entries, self.sources, strict=True)) if self.sources else list(self.entries)
                temporary.write_text(json.dumps(content, ensure_ascii=False), "utf-8")
            else:
                columns = {"entry": pa.array(self.entries, pa.large_string())}
                if self.sources:
                    columns["source"] = pa.array(self.sources, pa.string())
                pq.write_table(pa.table(columns), temporary)

    @classmethod
    def load(cls, path: Path) -> Metadata:
        """Reads .txt (one entry per line), .json (list, or object from entry to source) or .parquet (column "entry").

        Raises:
            InputError: the file is missing, unreadable, of another kind, or holds something other than strings.
        """
        kind = _kind(path)
        try:
            if kind == ".txt":
                lines = path.read_text("utf-8").split("\n")
                return cls(tuple(lines[:-1] if lines[-1] == "" else lines))
            if kind == ".json":
                content = json.loads(path.read_text("utf-8"))
                if isinstance(content, dict):
                    return cls(tuple(content), tuple(str(letter) for letter in content.values()))
                entries = content
                sources: tuple[str, ...] = ()
            else:
                table = pq.read_table(path)
                if "entry" not in table.column_names:
                    raise InputError(
                        f"{path} has columns {', '.join(table.column_names)}: name the entries' one 'entry'"
                    )
                entries = table["entry"].to_pylist()
                sources = tuple(table["source"].to_pylist()) if "source" in table.column_names else ()
        except (OSError, ValueError, pa.ArrowException) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"the list of entries {path} can't be read: {error}") from error
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            raise InputError(f"{path} holds something other than a list of strings: give one entry per item")
        return cls(tuple(entries), sources)


def _kind(path: Path) -> str:
    if path.suffix not in (".txt", ".json", ".parquet"):
        raise InputError(f"{path} is no list of entries that can be read or written: use .txt, .json or .parquet")
    return path.suffix


def build_first(
    *,
    wordnet: Iterable[str] = (),
    unigrams: Iterable[tuple[str, int]] = (),
    bigrams: Iterable[tuple[str, float]] = (),
    titles: Iterable[tuple[str, int]] = (),
    thresholds: FirstRelease = PUBLISHED_FIRST,
) -> Metadata:
    """The English list of the first release.

    The published list has no order, since it was a set; here each source's entries come best first, and equals by
    spelling.

    Args:
        wordnet: names of synsets (`wordnet.synset_names`).
        unigrams: words with their counts.
        bigrams: pairs, joined by a space, with their pointwise mutual information.
        titles: Wikipedia's titles with their page views.
        thresholds: what to take of each source.
    """
    found: dict[str, str] = {str(number): "" for number in range(100)}

    def add(letter: str, entries: Iterable[str]) -> None:
        for entry in entries:
            if len(found) >= thresholds.limit:
                return
            if entry and not (len(entry) == 1 and entry in ASCII_PUNCTUATION):
                found.setdefault(entry, letter)

    add("w", sorted(set(wordnet)))
    add(
        "u", (word for word, _ in _best((word, count) for word, count in unigrams if count >= thresholds.unigram_count))
    )
    add("b", (pair for pair, _ in _best((pair, pmi) for pair, pmi in bigrams if pmi >= thresholds.pmi)))
    add("t", (title for title, _ in _best((title, views) for title, views in titles if views >= thresholds.views)))
    return Metadata(tuple(found), tuple(found.values()))


def build_second(
    language: str,
    *,
    lemmas: Iterable[str] = (),
    unigrams: Mapping[str, int] | None = None,
    bigrams: Iterable[tuple[str, float]] = (),
    titles: Mapping[str, int] | None = None,
    caps: SecondRelease = PUBLISHED_SECOND,
) -> Metadata:
    """The list of one language (Wikipedia's code) of the second release, in its order.

    Args:
        language: decides whether the space inside a bi-gram stays.
        lemmas: the language's WordNet lemmas.
        unigrams, bigrams, titles: as for `build_first`; equals keep their order.
        caps: what to take of each source.
    """
    unigrams, titles, bigrams = unigrams or {}, titles or {}, list(bigrams)
    found: dict[str, str] = {str(number): "" for number in range(100)}

    def add(letter: str, entries: Iterable[str], cap: int | None, longest: int | None = _LONGEST) -> None:
        added = 0
        for entry in entries:
            if cap is not None and added >= cap:
                return
            entry = entry.strip()
            if not entry or entry in found or all(character in PUNCTUATION for character in entry):
                continue
            if longest is None or len(entry) <= longest:
                found[entry] = letter
                added += 1

    add("w", (lemma.replace("_", " ").replace("+", "") for lemma in lemmas), None, None)
    words = (word for word, _ in sorted(unigrams.items(), key=lambda item: -item[1]))
    add("u", words, min(caps.unigrams, int(caps.unigram_share * len(unigrams))))
    pairs = (pair for pair, pmi in sorted(bigrams, key=lambda item: -item[1]) if pmi > caps.pmi)
    if language in SPACELESS:
        pairs = (pair.replace(" ", "") for pair in pairs)
    add("b", pairs, min(caps.bigrams, len(bigrams)))
    names = (title for title, _ in sorted(titles.items(), key=lambda item: -item[1]))
    add("t", names, min(caps.titles, int(caps.title_share * len(titles))))
    return Metadata(tuple(found), tuple(found.values()))


def _best(scored: Iterable[tuple[str, float]]) -> Iterator[tuple[str, float]]:
    """The highest first, equals by spelling."""
    yield from sorted(scored, key=lambda item: (-item[1], item[0]))
