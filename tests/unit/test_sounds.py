"""Every depth, format and number of channels is read as one channel of float32; what can't be read is bad input."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from koine import Audio, InputError
from koine.sounds import encode_sound, read_samples

TONE = (0.5 * np.sin(np.arange(4000) / 5)).astype(np.float32)
"""Half of full scale, 255 Hz at 8 kHz."""


def saved(path: Path, samples: np.ndarray = TONE, rate: int = 8000, **options: str) -> Path:
    soundfile.write(path, samples, rate, **options)
    return path


@pytest.mark.parametrize(
    ("name", "subtype", "error"),
    [
        ("a.wav", "PCM_U8", 2**-7),
        ("a.wav", "PCM_16", 2**-15),
        ("a.wav", "PCM_24", 2**-23),
        ("a.wav", "PCM_32", 1e-7),
        ("a.wav", "FLOAT", 0),
        ("a.wav", "DOUBLE", 0),
        ("a.wav", "ULAW", 0.02),
        ("a.flac", "PCM_16", 2**-15),
    ],
)
def test_every_depth_has_the_same_full_scale(tmp_path: Path, name: str, subtype: str, error: float) -> None:
    sound = Audio.open(saved(tmp_path / name, subtype=subtype))
    assert sound.rate == 8000 and sound.samples.dtype == np.float32
    np.testing.assert_allclose(sound.samples, TONE, atol=error, rtol=0)


def test_several_channels_are_averaged(tmp_path: Path) -> None:
    both = np.stack([TONE, np.full_like(TONE, 0.25)], axis=1)
    sound = Audio.open(saved(tmp_path / "stereo.wav", both, subtype="FLOAT"))
    np.testing.assert_allclose(sound.samples, both.mean(axis=1), atol=1e-6)


def test_an_open_file_is_read_too(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.wav")
    assert Audio.open(io.BytesIO(path.read_bytes())) == Audio.open(path) == Audio.open(str(path))


def test_what_a_pipe_wrote_is_whole_though_its_header_is_not(tmp_path: Path) -> None:
    content = bytearray(saved(tmp_path / "a.wav").read_bytes())
    place = content.index(b"data") + 4
    content[4:8] = content[place : place + 4] = b"\xff\xff\xff\xff"
    assert len(read_samples(io.BytesIO(content))[0]) == len(TONE)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda whole: b"", "Format not recognised"),
        (lambda whole: b"words" * 99, "Format not recognised"),
        (lambda whole: whole[:30], "shorter than its header says"),
        (lambda whole: whole[: len(whole) // 2], "shorter than its header says"),
        (lambda whole: whole[:-1], "shorter than its header says"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content, reason: str) -> None:
    path = saved(tmp_path / "bad.wav")
    path.write_bytes(content(path.read_bytes()))
    with pytest.raises(InputError, match=f"cannot read .*bad.wav: .*{reason}"):
        Audio.open(path)


def test_a_flac_that_was_cut_off_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "bad.flac")
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(InputError, match=r"cannot read .*bad.flac: .*damaged"):
        Audio.open(path)


def test_a_sound_without_finite_samples_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.wav: it holds no samples"):
        Audio.open(saved(tmp_path / "none.wav", TONE[:0]))
    for wrong in (np.nan, np.inf):
        samples = np.array([0, wrong, 0], np.float32)
        with pytest.raises(InputError, match=r"cannot use .*odd.wav: audio samples contain NaN or infinity"):
            Audio.open(saved(tmp_path / "odd.wav", samples, subtype="FLOAT"))


def test_what_is_no_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no sound file .*gone.wav"):
        Audio.open(tmp_path / "gone.wav")
    with pytest.raises(InputError, match="is a folder"):
        Audio.open(tmp_path)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 6000])
def test_a_tone_stays_the_tone_that_it_was_at_another_rate(rate: int) -> None:
    sound = Audio(TONE, 8000).resampled(rate)
    assert sound.rate == rate and len(sound.samples) == -(-4000 * rate // 8000)
    same = 0.5 * np.sin(np.arange(len(sound.samples)) / 5 * 8000 / rate)
    middle = slice(len(same) // 10, -len(same) // 10)  # a filter has nothing to go by beyond the ends
    np.testing.assert_allclose(sound.samples[middle], same[middle], atol=5e-3)


def test_what_is_too_high_for_a_rate_is_left_out() -> None:
    high = Audio(np.sin(np.arange(4000)), 8000)  # 1273 Hz
    assert np.abs(high.resampled(2000).samples[50:-50]).max() < 0.01
    with pytest.raises(InputError, match="rate 0 is not positive"):
        Audio(TONE, 8000).resampled(0)


@pytest.mark.parametrize("suffix", [".wav", ".FLAC"])
def test_a_sound_is_written_with_16_bits_and_cut_to_full_scale(suffix: str) -> None:
    loud = np.concatenate([TONE, np.array([1.5, -1.5], np.float32)])
    samples, rate = read_samples(io.BytesIO(encode_sound(loud, 16_000, suffix)))
    assert rate == 16_000
    np.testing.assert_allclose(samples, loud.clip(-1, 1), atol=2**-15)
    with pytest.raises(InputError, match=r"can't be written as '.png': take one of .wav, .flac"):
        encode_sound(loud, 16_000, ".png")
