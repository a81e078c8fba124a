"""The main job: one command, a page on which nothing is claimed that isn't so. Its time: `benchmarks/tour.py`."""

import re
import subprocess
import sys

import pytest

from koine.registry import verified_systems

pytestmark = pytest.mark.xdist_group("tour")  # one worker, so that the tour is taken once


@pytest.fixture(scope="module")
def tour(tmp_path_factory):
    """A tour in a process of its own, as a user takes it: (folder, what it printed)."""
    folder = tmp_path_factory.mktemp("tour")
    command = [sys.executable, "-m", "koine", "tour", "--out", str(folder / "tour"), "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_it_writes_one_page_and_nothing_else(tour):
    folder, printed = tour
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*")] == ["tour", "tour/index.html"]
    assert (folder / "tour" / "index.html").as_uri() in printed


def test_every_verified_system_answers_and_is_judged(tour):
    folder, printed = tour
    page = (folder / "tour" / "index.html").read_text(encoding="utf-8")
    verdicts = page.count("✓ right") + page.count("✗ wrong")
    counted = [tuple(map(int, pair)) for pair in re.findall(r"(\d+) of (\d+)", printed)]
    assert verdicts == sum(total for _, total in counted) >= 8 * len(verified_systems())
    assert page.count("✓ right") == sum(right for right, _ in counted)
    for info in verified_systems():
        assert info.title in page and info.paper in page


def test_the_page_needs_nothing_from_elsewhere(tour):
    page = (tour[0] / "tour" / "index.html").read_text(encoding="utf-8")
    assert "<script" not in page and "url(" not in page
    assert set(re.findall(r'src="([a-z]+:)', page)) == {"data:"}


def test_most_answers_are_right(tour):
    right, total = map(sum, zip(*[map(int, pair) for pair in re.findall(r"(\d+) of (\d+)", tour[1])], strict=True))
    assert right / total > 0.5
