"""Words, pairs and titles from Wikipedia's dumps, and names from WordNet's dictionary."""

from __future__ import annotations

import bz2
import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from koine.curation.ngrams import count_ngrams, pointwise_mutual_information
from koine.curation.page_views import english_views, views_of
from koine.curation.spilled_counts import SpilledCounts
from koine.curation.wikipedia import articles, plain_text
from koine.curation.wordnet import lemmas, synset_names
from koine.errors import InputError

DUMP = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" xml:lang="en">
  <siteinfo><sitename>Wikipedia</sitename></siteinfo>
  <page><title>Cube</title><ns>0</ns><revision><text>A '''cube''' is a [[solid]].</text></revision></page>
  <page><title>Kube</title><ns>0</ns><revision><text>#REDIRECT [[Cube]]</text></revision></page>
  <page><title>Talk:Cube</title><ns>1</ns><revision><text>What about this?</text></revision></page>
  <page><title>Ball</title><ns>0</ns><revision><text>A ball &lt;ref&gt;Smith&lt;/ref&gt; rolls.</text></revision></page>
</mediawiki>"""


@pytest.mark.parametrize("name", ["dump.xml", "dump.xml.bz2"])
def test_articles_of_a_dump(name: str, tmp_path: Path) -> None:
    content = DUMP.encode()
    (tmp_path / name).write_bytes(bz2.compress(content) if name.endswith("bz2") else content)
    assert list(articles(tmp_path / name)) == ["A cube is a solid.", "A ball   rolls."]


def test_articles_that_wikiextractor_wrote(tmp_path: Path) -> None:
    (tmp_path / "wiki_00").write_text(json.dumps({"title": "Cube", "text": "A cube."}) + "\n")
    assert list(articles(tmp_path / "wiki_00")) == ["A cube."]


def test_a_dump_that_was_cut_short_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "dump.xml.bz2").write_bytes(bz2.compress(DUMP.encode() * 1)[:-20])
    (tmp_path / "short.xml").write_text(DUMP[:-100])
    (tmp_path / "wiki_00").write_text('{"title": "Cube"}\n')
    for name in ("dump.xml.bz2", "short.xml", "wiki_00", "missing.xml"):
        with pytest.raises(InputError, match=name):
            list(articles(tmp_path / name))


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        ("A [[cube (solid)|cube]] and [[ball]]s", "A cube and balls"),
        ("{{Infobox|a={{nested|x}}|b=c}}Text{{!}} here", "Text here"),
        ("{| class=x\n|-\n| cell {{t}}\n|}After", "After"),
        ("[[File:a.jpg|thumb|A [[red]] cube]]Seen", "Seen"),
        ("[[Category:Solids]]", ""),
        ("[https://x.org the site] and [https://y.org]", "the site and"),
        ("== Heading ==\n* item\n# other", "Heading\nitem\nother"),
        ("''it''<br/>b<!-- c -->d<ref name=x/>e", "itb d e"),
        ("a&nbsp;b &amp; c", "a\u00a0b & c"),
        ("<math>x^2</math>squared", "squared"),
        ("unclosed {{template", "unclosed {{template"),
    ],
)
def test_plain_text(wikitext: str, expected: str) -> None:
    assert " ".join(plain_text(wikitext).split(" ")).replace("  ", " ") == expected


def test_counts_do_not_depend_on_what_was_spilled(tmp_path: Path) -> None:
    texts = [f"red cube number{n % 300} and ball{n % 7}, {n}" for n in range(2000)]
    with SpilledCounts(tmp_path) as words, SpilledCounts(tmp_path) as pairs:
        count_ngrams(texts, words, pairs)
        whole = dict(words.items()), dict(pairs.items())
        frequent = dict(words.items(least=285))
    with SpilledCounts(tmp_path, in_memory=50) as words, SpilledCounts(tmp_path, in_memory=50) as pairs:
        for begin in range(0, 2000, 100):
            count_ngrams(texts[begin : begin + 100], words, pairs)
        assert (dict(words.items()), dict(pairs.items())) == whole
    assert whole[0]["cube"] == 2000 and whole[0]["ball3"] == 286 and "," not in whole[0]
    assert whole[1]["red cube"] == 2000 and "ball3 3" not in whole[1]
    assert frequent == {word: count for word, count in whole[0].items() if count >= 285}
    assert list(tmp_path.iterdir()) == []


def test_pairs_with_an_unknown_word_are_left_out() -> None:
    unigrams = {"new": 4, "york": 2, "the": 10}
    found = dict(pointwise_mutual_information(unigrams, [("new", "york", 2), ("new", "moon", 3), ("the", "new", 1)]))
    assert found == {"new york": pytest.approx(2.0), "the new": pytest.approx(-1.3219280949)}


def views(pages: str, tmp_path: Path, language: str | None = None) -> Counter[str]:
    (tmp_path / "pageviews.gz").write_bytes(gzip.compress(pages.encode() + b"en \xff\xff 90 0\n"))
    with SpilledCounts(tmp_path) as counted:
        for _ in range(2):  # two hours
            if language:
                views_of(language, [tmp_path / "pageviews.gz"], counted)
            else:
                english_views([tmp_path / "pageviews.gz"], counted)
        return Counter(dict(counted.items()))


PAGES = """en Kunta_Kinte 60 0
en Rare 49 0
en.m Kunta_Kinte 1000 0
en Talk:Cube 99 0
de Würfel 70 0
de.m Würfel 5 0
de Null 0 0
de Kurz 7
de Zu viele Felder 3 0
"""


def test_views_of_the_first_release(tmp_path: Path) -> None:
    assert views(PAGES, tmp_path) == {"Kunta Kinte": 120}


def test_views_of_the_second_release(tmp_path: Path) -> None:
    assert views(PAGES, tmp_path, "de") == {"Würfel": 150}
    assert views(PAGES, tmp_path, "en") == {"Kunta Kinte": 2120, "Rare": 98}


def test_page_views_that_were_cut_short(tmp_path: Path) -> None:
    (tmp_path / "pageviews.gz").write_bytes(gzip.compress(PAGES.encode())[:-12])
    with SpilledCounts(tmp_path) as counted, pytest.raises(InputError, match=r"pageviews\.gz"):
        english_views([tmp_path / "pageviews.gz"], counted)


def dictionary(folder: Path) -> Path:
    """A WordNet of five synsets."""
    licence = "  1 This is a licence.  \n"
    lines = {
        "noun": "00001740 03 n 01 entity 0 000 | that which is\n00002137 03 n 02 New_York 0 Big_Apple 0 000 | a city\n",
        "verb": "00001740 29 v 01 breathe 0 000 01 + 02 00 | draw air\n",
        "adj": "00001740 00 a 01 galore(ip) 0 000 | plenty\n00002098 00 s 01 U.S. 0 000 | of a country\n",
        "adv": "",
    }
    for part, content in lines.items():
        (folder / f"data.{part}").write_text(licence + content)
    return folder


def test_names_of_synsets(tmp_path: Path) -> None:
    assert list(synset_names(dictionary(tmp_path))) == ["entity", "new york", "breathe", "galore", "u"]


def test_a_folder_without_a_dictionary(tmp_path: Path) -> None:
    dictionary(tmp_path)
    (tmp_path / "data.adv").unlink()
    with pytest.raises(InputError, match=r"data\.adv"):
        list(synset_names(tmp_path))


def test_the_real_dictionary() -> None:
    if not (debian := Path("/usr/share/wordnet")).is_dir():
        pytest.skip("Debian's package wordnet-base is not installed")
    names = list(synset_names(debian))
    assert len(names) == 117_659
    assert {"dog", "olive oil", "tokyo"} <= set(names)


def test_lemmas_of_other_languages(tmp_path: Path) -> None:
    (tmp_path / "wn-data-fra.tab").write_text(
        "# Wordnet\tfra\n00001740-n\tlemma\tentité\n00001740-n\tfra:def\t0\tce qui est\n"
        "00002137-n\tfra:lemma\tchat_noir\n"
    )
    assert list(lemmas(tmp_path / "wn-data-fra.tab")) == ["entité", "chat_noir"]
    with pytest.raises(InputError, match=r"missing\.tab"):
        list(lemmas(tmp_path / "missing.tab"))
