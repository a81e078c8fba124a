"""MetaCLIP's page: drawn from the model's own words, judged by the scene, and a pool whose fates add up."""

from __future__ import annotations

import pytest

from koine.foundations.clip import NANO_WEIGHTS
from koine.report.contents import Section
from koine.report.pages.metaclip import NAMED, SEARCHED, page
from koine.systems.metaclip.system import MetaClip

pytestmark = pytest.mark.skipif(not NANO_WEIGHTS.is_dir(), reason="the nano CLIP is not in this build")


@pytest.fixture(scope="module")
def section() -> Section:
    return page(MetaClip.load(NANO_WEIGHTS), seed=3)


def test_things_are_named_and_searched(section: Section) -> None:
    named, searched = (list(answers) for answers in section.answers_by_task.values())
    assert (len(named), len(searched)) == (NAMED, SEARCHED)
    for answer in named:
        assert answer.correct == answer.answer.text.startswith(f"{answer.truth.text}, ")
        assert answer.question.images and not answer.answer.images
    for answer in searched:
        number = answer.answer.text.removeprefix("picture ").partition(",")[0]
        assert answer.correct == (number in answer.truth.text.removeprefix("picture ").split(" or "))
        assert answer.answer.images


def test_every_text_of_the_pool_has_one_fate(section: Section) -> None:
    (table,) = section.tables
    fates = {row[-1] for row in table.rows}
    assert fates == {"kept", "thinned out", "no match"}
    for text, entries, chance, fate in table.rows:
        assert (entries == "none") == (chance == "0%") == (fate == "no match")
        assert all(entry.rpartition(" (")[0] in text for entry in entries.split(", ") if entries != "none")


def test_another_seed_shows_other_scenes(section: Section) -> None:
    other = page(MetaClip.load(NANO_WEIGHTS), seed=4)
    assert [answer.truth for answer in other.answers] != [answer.truth for answer in section.answers]
