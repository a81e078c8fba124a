"""The page: one file, nothing from elsewhere, nothing unescaped, and never half of it on the disk."""

import os
import re
from html.parser import HTMLParser
from io import BytesIO, StringIO

import numpy as np
import pytest
from PIL import Image as pil

from koine import Image, InputError, Region, Reply, Sentence
from koine.images import bytes_of_data_url
from koine.report import Answer, Figure, Report, Section, Table, write
from koine.report.drawing import STYLES
from koine.report.page import render
from koine.report.terminal import score_table

PICTURE = Image(np.full((20, 30, 3), 90, np.uint8))
BOX = Region.box(PICTURE, 3, 3, 20, 15)


def answer(task: str = "where", correct: bool = True, **changes: object) -> Answer:
    fields = {
        "question": Sentence(PICTURE, "Where is <it>?"),
        "answer": Reply("there ", BOX),
        "truth": Sentence(Region.box(PICTURE, 4, 4, 19, 14)),
        "note": "overlap 0.7",
    }
    return Answer(task, correct=correct, **{**fields, **changes})


def report(*answers: Answer) -> Report:
    section = Section(
        "Ferret & co",
        "What it <sees>",
        link="https://arxiv.org/abs/2310.07704",
        figures=[Figure(PICTURE, 'a "scene"')],
        answers=answers,
        tables=[Table("Measured", ["what", "share"], [["colour", "98 %"]], "on 1,000 scenes")],
    )
    return Report("A tour", "All of it", [section], [("seed", "0")])


class Reader(HTMLParser):
    """Collects what a page refers to, and checks that its elements are closed in order."""

    VOID = frozenset({"meta", "img", "link", "br", "rect"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def pictures(page: str) -> list[np.ndarray]:
    urls = [address for address in Reader(page).addresses if address.startswith("data:")]
    return [np.asarray(pil.open(bytes_of_data_url(url))) for url in urls]


def shows(pixels: np.ndarray, role: str) -> bool:
    return bool((np.abs(pixels.astype(int) - STYLES[role].colour).max(axis=2) < 8).sum() > 20)


def test_the_page_needs_nothing_else():
    page = render(report(answer()))
    read = Reader(page)
    assert "script" not in read.tags and "link" not in read.tags
    assert all(address.startswith(("data:image/png;base64,", "https://arxiv.org/")) for address in read.addresses)
    assert "url(" not in page and "@import" not in page


def test_text_is_escaped():
    page = render(report(answer(note="<script>alert(1)</script>")))
    assert "Where is &lt;it&gt;?" in page and "What it &lt;sees&gt;" in page and "Ferret &amp; co" in page
    assert "<script>" not in page and 'alt="a &#34;scene&#34;"' in page


def test_every_answer_stands_beside_the_truth_with_its_verdict_in_words():
    page = render(report(answer(), answer(correct=False, answer=Reply("nowhere"))))
    assert page.count("✓ right") == 1 and page.count("✗ wrong") == 1
    assert page.count("overlap 0.7") == 2 and "nowhere" in page
    assert "box 3, 3, 20, 15" in page and "box 4, 4, 19, 14" in page


def test_a_silent_model_is_shown_as_silent():
    assert '<span class="none">nothing</span>' in render(report(answer(answer=Reply())))


def test_model_and_truth_are_drawn_each_in_its_own_line():
    drawn = pictures(render(report(answer())))[-1]
    assert shows(drawn, "answered") and shows(drawn, "true") and not shows(drawn, "asked")


def test_the_truth_is_never_drawn_as_the_models():
    drawn = pictures(render(report(answer(answer=Reply("somewhere")))))[-1]
    assert shows(drawn, "true") and not shows(drawn, "answered")


def test_the_asked_region_is_drawn():
    question = Sentence("What is ", Region.point(PICTURE, 15, 10), "?")
    drawn = pictures(render(report(answer(question=question, answer=Reply("a cube"), truth=Sentence("a cube")))))[-1]
    assert shows(drawn, "asked") and not shows(drawn, "answered") and not shows(drawn, "true")


def test_only_regions_of_the_shown_picture_are_drawn():
    other = Image(np.full((20, 30, 3), 60, np.uint8))
    truth = Sentence(Region.box(other, 4, 4, 19, 14))
    drawn = pictures(render(report(answer(answer=Reply("there"), truth=truth))))[-1]
    assert not shows(drawn, "true")


def test_an_answer_about_no_picture_has_none():
    page = render(report(answer(question=Sentence("Why?"), answer=Reply("so"), truth=Sentence("so"))))
    assert len(pictures(page)) == 1  # the figure


def test_scores_are_counted_per_task_in_order():
    section = report(answer("b"), answer("a", correct=False), answer("b", correct=False)).sections[0]
    assert [(score.task, score.right, score.total, score.share) for score in section.scores] == [
        ("b", 1, 2, 0.5),
        ("a", 0, 1, 0.0),
    ]


def test_long_tables_are_folded_and_stand_behind_the_answers():
    def page(rows):
        table = Table("Measured", ["what", "share"], [[f"task {number}", "98 %"] for number in range(rows)])
        return render(Report("A tour", "", [Section("Ferret", "", answers=[answer("a")], tables=[table])]))

    assert '<details class="wide" open>' in page(8) and '<details class="wide">' in page(9)
    assert page(9).index("<article") < page(9).index("<details")


def test_the_terminal_table_has_a_row_per_task():
    from rich.console import Console

    console = Console(width=100, file=StringIO(), record=True)
    console.print(score_table(report(answer("b"), answer("a", correct=False))))
    lines = [line.split() for line in console.export_text().splitlines()]
    assert ["Ferret", "&", "co", "b", "1", "of", "1", "100", "%"] in lines and ["a", "0", "of", "1", "0", "%"] in lines


def test_it_is_written_with_its_folder(tmp_path):
    path = write(report(answer()), tmp_path / "tour" / "index.html")
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [file.name for file in path.parent.iterdir()] == ["index.html"]


def test_a_full_disk_keeps_the_old_page_and_leaves_nothing_else(tmp_path, full_disk):
    path = tmp_path / "index.html"
    path.write_text("the old page")
    full_disk(path)
    with pytest.raises(InputError, match=r"cannot write .*index\.html: No space left on device: free some space"):
        write(report(answer()), path)
    assert path.read_text() == "the old page" and os.listdir(tmp_path) == ["index.html"]


def test_the_same_report_gives_the_same_page():
    assert render(report(answer())) == render(report(answer()))


def test_pictures_in_the_page_are_whole_png_files():
    for url in re.findall(r'src="(data:[^"]+)"', render(report(answer()))):
        content = bytes_of_data_url(url).getvalue()
        assert content.startswith(b"\x89PNG") and content.endswith(b"IEND\xaeB`\x82")
        pil.open(BytesIO(content)).verify()
