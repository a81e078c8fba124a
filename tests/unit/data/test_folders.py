"""Finding files and pictures, however the data set was unpacked."""

from __future__ import annotations

from pathlib import Path

import pytest

from koine.data.folders import ImageFolder, find_file, find_files
from koine.errors import InputError

from .conftest import Write


def test_the_first_pattern_that_fits_wins(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("deep/b.json", "deep/er/a.json", "c.txt"):
        (tmp_path / name).write_text("")
    assert find_file(tmp_path, "a.json", "b.json", what="x") == tmp_path / "deep" / "er" / "a.json"
    assert find_file(tmp_path, "none", "*.txt", what="x") == tmp_path / "c.txt"
    assert [file.name for file in find_files(tmp_path, "*.json", what="x")] == ["b.json", "a.json"]
    assert find_file(tmp_path / "c.txt", "a.json", what="x") == tmp_path / "c.txt"


def test_missing_files_are_named_with_their_patterns(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no a\.json and no b\.json: put the list there"):
        find_file(tmp_path, "a.json", "b.json", what="the list")
    with pytest.raises(InputError, match=r"there is no file or folder .*nowhere: give the folder that holds the list"):
        find_file(tmp_path / "nowhere", "a.json", what="the list")


@pytest.mark.parametrize("name", ["train2014/one.png", "one.png", "/data/coco/one.png", "..\\one.png"])
def test_pictures_are_found_by_path_or_by_name(tmp_path: Path, picture: Write, name: str) -> None:
    path = picture("images/train2014/one.png")
    assert ImageFolder(tmp_path).find(name) == path


def test_neighbours_share_one_picture(tmp_path: Path, picture: Write) -> None:
    picture("one.png", level=10)
    picture("two.png", level=20)
    images = ImageFolder(tmp_path)
    first = images.open("one.png")
    assert images.open("one.png") is first
    assert images.open("two.png").pixels[0, 0, 0] == 20


def test_a_missing_picture_says_where_it_was_looked_for(tmp_path: Path, picture: Write) -> None:
    picture("a/one.png")
    with pytest.raises(InputError, match=r"there is no picture 'x/two.png' in .* or the 1 folders below it: unpack"):
        ImageFolder(tmp_path).open("x/two.png")
    with pytest.raises(InputError, match="there is no image folder"):
        ImageFolder(tmp_path / "none")


def test_names_cannot_leave_the_folder(tmp_path: Path, picture: Write) -> None:
    picture("secret.png")
    (tmp_path / "images").mkdir()
    with pytest.raises(InputError, match="there is no picture"):
        ImageFolder(tmp_path / "images").find("../secret.png")
