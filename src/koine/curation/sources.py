"""Puts a list of entries together from the files that its sources come in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from koine.curation.metadata import (
    PUBLISHED_FIRST,
    PUBLISHED_SECOND,
    FirstRelease,
    Metadata,
    SecondRelease,
    build_first,
    build_second,
)
from koine.curation.ngrams import count_ngrams, pointwise_mutual_information
from koine.curation.page_views import english_views, views_of
from koine.curation.spacing import Rule
from koine.curation.spilled_counts import SpilledCounts
from koine.curation.wikipedia import articles
from koine.curation.wordnet import lemmas, synset_names


@dataclass(frozen=True)
class Sources:
    """Files to build from; each source may be missing."""

    wordnet: Path | None = None
    """WordNet's dictionary folder, or for the second release an Open Multilingual WordNet file."""
    wikipedia: tuple[Path, ...] = ()
    """Dumps of articles."""
    page_views: tuple[Path, ...] = ()
    """Hourly dumps of page views."""


def build(
    sources: Sources,
    *,
    rule: Rule = Rule.V1,
    language: str = "en",
    scratch: Path | None = None,
    thresholds: FirstRelease = PUBLISHED_FIRST,
    caps: SecondRelease = PUBLISHED_SECOND,
) -> Metadata:
    """Builds the list of the first release, or of one language of the second.

    Counts that exceed memory are kept in `scratch`. The bi-grams of languages without spaces are cut character by
    character here; the releases cut them with a segmenter for each (`ngrams.count_ngrams` takes one).

    Raises:
        InputError: a file can't be read, or the disk is full.
    """
    with SpilledCounts(scratch) as unigrams, SpilledCounts(scratch) as bigrams, SpilledCounts(scratch) as views:
        for path in sources.wikipedia:
            count_ngrams(articles(path), unigrams, bigrams)
        words = dict(unigrams.items())
        if rule is Rule.V1:
            english_views(sources.page_views, views)
            return build_first(
                wordnet=synset_names(sources.wordnet) if sources.wordnet else (),
                unigrams=words.items(),
                bigrams=pointwise_mutual_information(words, _pairs(bigrams)),
                titles=views.items(least=thresholds.views),
                thresholds=thresholds,
            )
        views_of(language, sources.page_views, views)
        return build_second(
            language,
            lemmas=lemmas(sources.wordnet) if sources.wordnet else (),
            unigrams=words,
            bigrams=pointwise_mutual_information(words, _pairs(bigrams)),
            titles=dict(views.items()),
            caps=caps,
        )


def _pairs(bigrams: SpilledCounts) -> Iterator[tuple[str, str, int]]:
    for pair, count in bigrams.items():
        first, second = pair.split(" ")
        yield first, second, count
