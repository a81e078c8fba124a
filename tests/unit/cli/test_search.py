"""`koine run --search`: pictures of a folder, best first; and several texts for one picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pil

from koine.cli import main
from koine.sentence import Reply


@pytest.fixture
def seeker(echo, monkeypatch: pytest.MonkeyPatch):
    """The echo, which finds every picture and can't read one."""

    def search(self: object, text: str, folder: Path, *, count: int) -> Reply:
        found = [[f"{folder}/{number}.png", 1 - number / 10] for number in range(count)]
        details = {"found": found, "pictures": count, "encoded": 0, "skipped": [["broken.png", "it is damaged"]]}
        return Reply("\n".join(path for path, _ in found), details=details)

    monkeypatch.setattr(echo, "search", search, raising=False)
    return echo


def test_the_best_come_first_and_broken_ones_are_counted(seeker, tmp_path, capsys):
    assert main(["run", "echo", "--search", "a cube", "--folder", str(tmp_path), "--count", "2"]) == 0
    output = capsys.readouterr()
    assert output.out == f"1.000  {tmp_path}/0.png\n0.900  {tmp_path}/1.png\n"
    assert "skipped broken.png: it is damaged" in output.err and "1 of 3 pictures could not be read" in output.err


def test_json_is_for_scripts(seeker, tmp_path, capsys):
    assert main(["run", "echo", "--search", "a cube", "--folder", str(tmp_path), "--count", "1", "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert written["details"]["found"] == [[f"{tmp_path}/0.png", 1.0]]


@pytest.mark.parametrize("arguments", [["--search", "a cube"], ["--folder", "."]])
def test_a_search_needs_text_and_folder(seeker, capsys, arguments):
    assert main(["run", "echo", *arguments]) == 2
    assert "give --search TEXT and --folder DIR" in capsys.readouterr().err


@pytest.mark.parametrize("others", [["--image", "a.png"], ["--ask", "?"], ["--set", "beams=2"], ["--out", "a.png"]])
def test_a_search_refuses_what_it_makes_no_use_of(seeker, tmp_path, capsys, others):
    assert main(["run", "echo", "--search", "a cube", "--folder", str(tmp_path), *others]) == 2
    assert f"a search makes no use of {others[0]}: leave it away" in capsys.readouterr().err


def test_a_system_that_cannot_search_says_so(echo, tmp_path, capsys):
    assert main(["run", "echo", "--search", "a cube", "--folder", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "error: echo can't search a folder: take a system that can, such as beit3\n"


def test_several_texts_are_parts_of_their_own(echo, tmp_path):
    path = tmp_path / "photo.png"
    pil.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)
    assert main(["run", "echo", "--image", str(path), "--text", "a cube", "--text", "a ball"]) == 0
    [(prompt, _)] = echo.asked
    assert list(prompt)[1:] == ["a cube", "a ball"]
