"""Sounds on the command line: read before anything is loaded, written as what the reply is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image as pil

from koine import Audio, Image, registry
from koine.cli import main
from koine.sentence import Reply, Sentence

TONE = (0.5 * np.sin(np.arange(4000) / 5)).astype(np.float32)


@pytest.fixture
def tone(tmp_path: Path) -> Path:
    path = tmp_path / "tone.wav"
    soundfile.write(path, TONE, 8000)
    return path


@pytest.fixture
def hearing(echo, monkeypatch: pytest.MonkeyPatch):
    """The small system, which turns sounds round now, or paints if there are none."""

    def respond(self, *parts: object, **options: object) -> Reply:
        prompt = Sentence(*parts)
        self.asked.append((prompt, options))
        turned = [Audio(sound.samples[::-1], sound.rate) for sound in prompt.audio]
        return Reply("turned round: ", *(turned or [Image(np.zeros((4, 5, 3), np.uint8))]), details={"of": turned})

    monkeypatch.setattr(echo, "respond", respond)
    hears = replace(registry.SYSTEMS["echo"], reads=("text", "audio"), writes=("text", "image", "audio"))
    monkeypatch.setitem(registry.SYSTEMS, "echo", hears)
    return echo


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line on stderr that `koine run` ends with, and nothing on stdout."""

    def run(*arguments: object) -> str:
        assert main(["run", *map(str, arguments)]) == 2
        output = capsys.readouterr()
        assert output.out == "" and output.err.startswith("error: ") and output.err.count("\n") == 1
        return output.err

    return run


def test_sounds_are_parts_and_find_their_place_in_the_text(hearing, tone, capsys) -> None:
    assert main(["run", "echo", "--audio", str(tone), "--audio", str(tone), "--ask", "Before {audio} after"]) == 0
    [(prompt, _)] = hearing.asked
    sound = Audio.open(tone)
    assert list(prompt) == [sound, "Before ", sound, " after"]  # one without a mark comes first
    capsys.readouterr()
    assert main(["run", "echo", "--audio", str(tone), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert written["written"] == "turned round: <Audio(0.50 s at 8000 Hz)>"
    assert written["details"] == {"of": ["Audio(0.50 s at 8000 Hz)"]}, "no list of numbers"


@pytest.mark.parametrize("name", ["out/turned.wav", "turned.FLAC"])
def test_out_is_the_sound_of_the_reply(hearing, tone, tmp_path, name) -> None:
    out = tmp_path / name
    assert main(["run", "echo", "--audio", str(tone), "--out", str(out)]) == 0
    samples, rate = soundfile.read(out)
    assert rate == 8000
    np.testing.assert_allclose(samples, TONE[::-1], atol=2**-14)


def test_several_sounds_are_written_one_after_another(hearing, tone, tmp_path) -> None:
    slow, out = tmp_path / "slow.wav", tmp_path / "both.wav"
    soundfile.write(slow, TONE[:2000], 4000)
    assert main(["run", "echo", "--audio", str(tone), "--audio", str(slow), "--out", str(out)]) == 0
    samples, rate = soundfile.read(out)
    assert rate == 8000 and len(samples) == 4000 + 4000 + 4000, "half a second each, and half a second between"
    assert np.abs(samples[4000:8000]).max() == 0 and np.abs(samples[8000:]).max() > 0.3


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "FLOAT"])
def test_every_depth_and_stereo_are_read(hearing, tmp_path, subtype) -> None:
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.stack([TONE, TONE], axis=1), 48_000, subtype=subtype)
    assert main(["run", "echo", "--audio", str(path)]) == 0
    [sound] = hearing.asked[0][0].audio
    assert sound.rate == 48_000 and np.abs(sound.samples - TONE).max() < 0.01


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("gone.wav", None, "there is no sound file"),
        ("empty.wav", lambda whole: b"", "Format not recognised"),
        ("text.wav", lambda whole: b"not a sound", "Format not recognised"),
        ("half.wav", lambda whole: whole[: len(whole) // 2], "shorter than its header says"),
        ("head.wav", lambda whole: whole[:44], "shorter than its header says"),
        ("none.wav", lambda whole: whole[:4] + b"\x24\0\0\0" + whole[8:40] + b"\0\0\0\0", "it holds no samples"),
        (".", None, "is a folder"),
    ],
)
def test_a_bad_sound_is_one_line_before_anything_is_loaded(
    hearing, tone, tmp_path, complaint, name, content, reason
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content(tone.read_bytes()))
    before = sorted(tmp_path.rglob("*"))
    message = complaint("echo", "--audio", tmp_path / name, "--out", tmp_path / "new" / "out.wav")
    assert reason in message and str(tmp_path / name) in message
    assert sorted(tmp_path.rglob("*")) == before and hearing.loaded == []


def test_samples_that_are_no_numbers_are_named(hearing, tmp_path, complaint) -> None:
    path = tmp_path / "odd.wav"
    soundfile.write(path, np.array([0, np.nan], np.float32), 8000, subtype="FLOAT")
    assert f"cannot use {path}: audio samples contain NaN" in complaint("echo", "--audio", path)


def test_a_system_that_takes_no_sounds_says_so_before_it_is_loaded(echo, tone, complaint) -> None:
    message = complaint("echo", "--audio", tone)
    assert "echo takes no sounds: leave --audio away, or take a system that" in message and echo.loaded == []
    assert "no picture's suffix: take one of .png" in complaint("echo", "--ask", "hi", "--out", "reply.wav")


def test_a_suffix_of_nothing_that_a_system_makes_is_refused_at_once(hearing, tone, complaint) -> None:
    message = complaint("echo", "--audio", tone, "--out", "reply.mp3")
    assert "reply.mp3 has no picture's or sound's suffix: take one of .png" in message and ".wav, .flac" in message
    assert hearing.loaded == []


@pytest.mark.parametrize(
    ("asked", "name", "words"),
    [
        (["--audio", "{tone}"], "turned.png", "the reply is a sound and {out} isn't written: end --out in one of .wav"),
        (["--ask", "paint"], "painted.wav", "the reply is no sound and {out} isn't written: end --out in one of .png"),
    ],
)
def test_a_reply_of_another_kind_than_the_file_is_shown_all_the_same(
    hearing, tone, tmp_path, capsys, asked, name, words
) -> None:
    out = tmp_path / name
    out.write_bytes(b"older")
    assert main(["run", "echo", *(word.format(tone=tone) for word in asked), "--out", str(out)]) == 2
    shown = capsys.readouterr()
    assert shown.out.startswith("turned round: <") and out.read_bytes() == b"older"
    assert words.format(out=out) in shown.err and shown.err.count("\n") == 1


def test_a_reply_with_a_sound_and_a_picture_is_written_as_either(hearing, tmp_path, monkeypatch) -> None:
    both = Reply(Audio(TONE, 8000), Image(np.zeros((4, 5, 3), np.uint8)))
    monkeypatch.setattr(hearing, "respond", lambda self, *parts, **options: both)
    for name in ("a.wav", "a.png"):
        assert main(["run", "echo", "--ask", "hi", "--out", str(tmp_path / name)]) == 0
    assert pil.open(tmp_path / "a.png").size == (5, 4) and len(soundfile.read(tmp_path / "a.wav")[0]) == 4000
