"""SPAE from the command line: a picture in words, the words as a picture, a name by examples, errors of one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pil

from koine.cli import main
from koine.registry import SYSTEMS, weights_folder

pytestmark = pytest.mark.skipif(
    SYSTEMS["spae"].entry is None or not weights_folder("spae").is_dir(), reason="the nano SPAE isn't in this build"
)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Something irregular, at a size that is no multiple of anything."""
    coarse = pil.fromarray(np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8))
    path = tmp_path / "photo.jpg"
    coarse.resize((97, 61), pil.Resampling.BICUBIC).save(path)
    return path


def test_a_picture_is_spelt_and_its_words_paint_it_again(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    painted, again = tmp_path / "painted.png", tmp_path / "again.png"
    assert main(["run", "spae", "--image", str(photo), "--out", str(painted), "--json"]) == 0
    layers = json.loads(capsys.readouterr().out)["details"]["layers"]
    assert [len(words) for words in layers] == [1, 4, 16, 64, 64, 64]
    assert pil.open(painted).size == (97, 61)
    words = " ".join(word for layer in layers for word in layer)
    assert main(["run", "spae", "--ask", words, "--out", str(again)]) == 0
    square = pil.open(again)
    assert np.array_equal(np.asarray(square.resize((97, 61), pil.Resampling.BICUBIC)), np.asarray(pil.open(painted)))


def test_a_picture_is_named_by_examples(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = [word for _ in range(3) for word in ("--image", str(photo))]
    assert main(["run", "spae", "--ask", "{image} cube {image} ball {image}", *pictures]) == 0
    assert capsys.readouterr().out.strip() in ("cube", "ball")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ask", "red red"], "2 codes don't end with a layer of the pyramid: give one of 1, 5, 21"),
        (["--ask", "rde"], "there is no word of the codebook 'rde': did you mean 'red'"),
        (["--image", "{photo}", "--set", "layers=9"], "layers = 9 of a pyramid of 6: give 1 to 6"),
        (["--image", "{photo}", "--ask", "a cube"], "give the picture alone to spell it"),
        (["--image", "{photo}", "--box", "1,1,9,9"], "not a part of kind Region"),
        (["--image", "{nan}"], "nan or infinite values"),
        (["--image", "{photo}", "--seed", str(2**64)], "--seed"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], words: str, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nan, out = tmp_path / "nan.tiff", tmp_path / "out.png"
    pil.fromarray(np.full((30, 30), np.nan, np.float32)).save(nan)
    given = [argument.format(photo=photo, nan=nan) for argument in arguments]
    assert main(["run", "spae", *given, "--out", str(out)]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and words in error and "\n" not in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nan.tiff", "photo.jpg"]
