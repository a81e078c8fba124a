"""VQ-VAE from the command line: photographs of any size, words, sounds, and errors of one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image as pil

from koine.cli import main
from koine.registry import SYSTEMS, weights_folder

pytestmark = pytest.mark.skipif(
    SYSTEMS["vqvae"].entry is None or not weights_folder("vqvae").is_dir(), reason="the nano VQ-VAE isn't in this build"
)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Something as irregular as a photograph, at a size that is no multiple of anything."""
    rng = np.random.default_rng(0)
    coarse = pil.fromarray(rng.integers(0, 256, (9, 13, 3), dtype=np.uint8))
    path = tmp_path / "photo.jpg"
    coarse.resize((337, 211), pil.Resampling.BICUBIC).save(path)
    return path


def test_a_photograph_is_rebuilt_at_its_size(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "rebuilt.png"
    assert main(["run", "vqvae", "--image", str(photo), "--out", str(out), "--json"]) == 0
    details = json.loads(capsys.readouterr().out)["details"]
    original, rebuilt = (np.asarray(pil.open(path).convert("RGB"), np.float64) for path in (photo, out))
    assert rebuilt.shape == original.shape
    measured = 10 * np.log10(255**2 / np.square(original - rebuilt).mean())
    assert details["psnr"] == pytest.approx(measured, abs=1e-6) and measured > 12
    assert details["prior_bits"] > 0


def test_words_are_drawn(tmp_path: Path) -> None:
    pictures = []
    for seed in ("1", "1", "2"):
        out = tmp_path / f"{len(pictures)}.png"
        assert main(["run", "vqvae", "--ask", "a large red cube", "--seed", seed, "--out", str(out)]) == 0
        pictures.append(np.asarray(pil.open(out)))
    assert pictures[0].shape == (64, 64, 3)
    assert np.array_equal(pictures[0], pictures[1]) and not np.array_equal(pictures[0], pictures[2])


def test_options_of_drawing_are_set_by_name(tmp_path: Path) -> None:
    def drawn(*settings: str) -> np.ndarray:
        out = tmp_path / "drawn.png"
        options = [word for setting in settings for word in ("--set", setting)]
        assert main(["run", "vqvae", "--ask", "red", "--out", str(out), *options]) == 0
        return np.asarray(pil.open(out))

    certain = drawn("top_k=1", "samples=2")
    assert certain.shape == (64, 64 + 2 + 64, 3), "several pictures lie side by side"
    assert np.array_equal(certain[:, :64], certain[:, 66:]), "with one code to choose from nothing is drawn by chance"
    assert not np.array_equal(drawn("temperature=2.0"), drawn("temperature=0.5"))


def test_a_vqvae_of_ones_own_sounds_rebuilds_and_draws_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for period, speaker in ((20, "ann"), (31, "bob")):
        (tmp_path / "speech" / speaker).mkdir(parents=True)
        soundfile.write(tmp_path / "speech" / speaker / "a.flac", np.sin(np.arange(9000) / period) / 2, 16_000)
    sizes = {"width": 8, "first_width": 4, "block_width": 4, "code_width": 4, "prior_width": 8, "prior_layers": 2}
    changed = {**{f"options.{name}": size for name, size in sizes.items()}, "options.sample_rate": 8000}
    changed |= {"crop": 512, "steps": 2, "batch_size": 2}
    settings = [word for name, value in changed.items() for word in ("--set", f"{name}={value}")]
    run, data = tmp_path / "run", str(tmp_path / "speech")
    train = ["train", "vqvae", "--recipe", "speech", "--data", data, "--out", str(run), "--quiet", *settings]
    assert main(train) == 0
    weights = ["--weights", capsys.readouterr().out.strip()]

    given, out = tmp_path / "given.wav", tmp_path / "rebuilt.wav"
    tone = np.sin(np.arange(16_001) / 30) / 2
    soundfile.write(given, np.stack([tone, tone], axis=1), 16_000, subtype="PCM_24")
    assert main(["run", "vqvae", *weights, "--audio", str(given), "--out", str(out), "--json"]) == 0
    details = json.loads(capsys.readouterr().out)["details"]
    samples, rate = soundfile.read(out)
    assert rate == 8000 and samples.shape == (8001,) and len(details["codes"][0]) == 126
    assert main(["run", "vqvae", *weights, "--ask", "bob", "--out", str(out)]) == 0
    assert soundfile.read(out)[0].shape == (512,)
    capsys.readouterr()
    for arguments, words in (
        (["--ask", "eve"], "no word for this prior 'eve'"),
        (["--audio", str(given), "--ask", "bob"], "give one or the other"),
        (["--audio", str(given), "--audio", str(given)], "VQ-VAE rebuilds one at a time"),
    ):
        assert main(["run", "vqvae", *weights, *arguments]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ask", "red", "--set", "heat=2"], "there is no option of vqvae 'heat'"),
        (["--ask", "red", "--set", "top_k=few"], "setting top_k = 'few' is of the wrong kind: give a whole number"),
        (["--ask", "red", "--set", "seed=1"], "there is no option of vqvae 'seed'"),
        (["--ask", "a pink cube"], "no word for this prior 'pink'"),
        (["--image", "{tiny}"], "smaller than the 8x8 pixels of one code"),
        (["--image", "{photo}", "--ask", "red"], "give one or the other"),
        (["--image", "{photo}", "--box", "1,1,9,9"], "not a part of kind Region"),
        (["--audio", "{sound}"], "takes 3 channels in 2 dimensions, no sounds: take one of signals"),
        (["--audio", "{photo}"], "photo.jpg: Format not recognised"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], words: str, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = tmp_path / "tiny.png"
    pil.new("RGB", (5, 30)).save(tiny)
    sound = tmp_path / "sound.wav"
    soundfile.write(sound, np.zeros(100), 8000)
    given = [argument.format(photo=photo, tiny=tiny, sound=sound) for argument in arguments]
    assert main(["run", "vqvae", *given]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and words in error and "\n" not in error
