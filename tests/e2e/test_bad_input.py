"""What users get wrong, on the real system: one line with thing, value and remedy, status 2, nothing written."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pil

from koine.cli import main
from koine.registry import shipped_weights


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    pil.fromarray(noise).save("photo.png")
    pil.fromarray(noise).save("half.png")
    Path("half.png").write_bytes(Path("photo.png").read_bytes()[:4000])
    Path("text.png").write_text("not a picture")
    pil.new("L", (64, 48)).save("empty.png")
    pil.new("L", (48, 64), 255).save("turned.png")
    return tmp_path


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    before = sorted(Path().rglob("*"))
    assert main(["run", "ferret", *arguments, "--ask", "What is it?", "--out", "out/annotated.png"]) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.startswith("error: ") and output.err.count("\n") == 1
    assert sorted(Path().rglob("*")) == before
    return output.err


@pytest.mark.parametrize(
    ("arguments", "thing", "value", "remedy"),
    [
        (["--point", "64,5"], "point", "(64, 5)", "0 <= x < 64"),
        (["--box", "70,50,90,60"], "box", "(70, 50, 90, 60)", "64x48"),
        (["--box", "40,4,8,6"], "box", "x1 <= x0", "left, top, right, bottom"),
        (["--mask", "empty.png"], "mask", "64x48", "mark at least one pixel"),
        (["--mask", "turned.png"], "mask", "48x64", "[48, 64]"),
        (["--image", "half.png"], "half.png", "truncated", "save it again"),
        (["--image", "text.png"], "text.png", "not an image", "PNG or JPEG"),
        (["--image", "gone.png"], "image file", "gone.png", "give the path"),
    ],
)
def test_a_bad_picture_or_region(place, capsys, arguments, thing, value, remedy):
    picture = [] if arguments[0] == "--image" else ["--image", "photo.png"]
    message = complaint(capsys, *picture, *arguments)
    assert thing in message and value in message and remedy in message


def test_weights_that_are_not_there(place, capsys):
    assert "./nowhere" in complaint(capsys, "--image", "photo.png", "--weights", "./nowhere")


def test_a_checkpoint_of_another_model(place, capsys):
    assert "clip" in complaint(capsys, "--image", "photo.png", "--weights", str(shipped_weights("clip"))).lower()


def test_a_damaged_checkpoint(place, capsys):
    shutil.copytree(shipped_weights("ferret"), "mine")
    weights = Path("mine/model.safetensors")
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    assert "model.safetensors" in complaint(capsys, "--image", "photo.png", "--weights", "mine")


class TestUnusualPictures:
    """Pictures of every kind are answered about, as long as they have a pixel."""

    @pytest.mark.parametrize("mode", ["L", "1", "LA", "P", "RGBA", "CMYK", "I;16"])
    def test_every_colour_mode(self, place, capsys, mode):
        picture = pil.open("photo.png")
        deep = pil.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
        (deep if mode == "I;16" else picture.convert(mode)).save("odd.tiff")
        self.answered(capsys, "odd.tiff", (64, 48))

    def test_a_turned_photograph_is_upright_for_regions_too(self, place, capsys):
        exif = pil.Exif()
        exif[0x0112] = 6
        pil.open("photo.png").save("turned.jpg", exif=exif)
        self.answered(capsys, "turned.jpg", (48, 64))

    def test_a_single_pixel(self, place, capsys):
        pil.new("RGB", (1, 1), "red").save("one.png")
        self.answered(capsys, "one.png", (1, 1))

    @staticmethod
    def answered(capsys: pytest.CaptureFixture[str], name: str, size: tuple[int, int]) -> None:
        box = f"0,0,{size[0]},{size[1]}"
        words = ["--image", name, "--box", box, "--ask", "What is {region}?", "--json", "--out", "out.png"]
        assert main(["run", "ferret", *words]) == 0
        assert json.loads(capsys.readouterr().out)["text"].strip()
        width, height = pil.open("out.png").size
        assert width * size[1] == height * size[0]
