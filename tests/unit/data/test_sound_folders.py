"""Sounds alone: folders with and without classes, and tables of encoded files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from koine import InputError
from koine.data.sound_folders import examples, open_sounds, open_together
from koine.sounds import encode_sound


def encoded(level: int, suffix: str = ".wav", rate: int = 8000) -> bytes:
    """A sound whose length tells which one it is."""
    return encode_sound(np.zeros(100 + level, np.float32), rate, suffix)


def write_sound(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(level, path.suffix))


def levels(path: Path, **options: str) -> list[int]:
    sounds = open_sounds(path, **options)
    return [len(sounds.open(index).samples) - 100 for index in range(len(sounds))]


def test_folders_of_the_first_level_are_classes(tmp_path: Path) -> None:
    """As speakers are in VCTK (one level) and LibriSpeech (two)."""
    for level, name in enumerate(("p226/b.wav", "p225/121/a.flac", "p225/122/c.WAV", ".trash/d.wav")):
        write_sound(tmp_path / name, level)
    (tmp_path / "p225" / "words.txt").write_text("no sound")
    sounds = open_sounds(tmp_path)
    assert sounds.classes == ["p225", "p226"] and levels(tmp_path) == [1, 2, 0]
    assert [example.target.text for example in examples(tmp_path)] == ["p225", "p225", "p226"]
    assert [sounds.where(index).name for index in range(3)] == ["p225/121/a.flac", "p225/122/c.WAV", "p226/b.wav"]


def write_digits(path: Path) -> Path:
    """A table like that of the Free Spoken Digit Dataset."""
    rows = [
        {"file": f"{digit}_{speaker}.wav", "digit": digit, "speaker": speaker, "wav": encoded(digit)}
        for digit in (7, 10, 3)
        for speaker in ("theo", "jackson")
    ]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=4)
    return path


def test_any_column_of_a_table_gives_the_classes(tmp_path: Path) -> None:
    path = write_digits(tmp_path / "digits.parquet")
    assert levels(path) == [7, 7, 10, 10, 3, 3] and open_sounds(path).classes == []
    by_digit, by_speaker = open_sounds(path, label="digit"), open_sounds(path, label="speaker")
    assert by_digit.classes == ["3", "7", "10"] and by_speaker.classes == ["jackson", "theo"]
    assert [by_digit.where(index).label for index in range(6)] == [1, 1, 2, 2, 0, 0]
    assert [by_speaker.where(index).label for index in range(6)] == [1, 0, 1, 0, 1, 0]
    with pytest.raises(InputError, match=r"no column of classes in .*digits.parquet 'speakr': did you mean 'speaker'"):
        open_sounds(path, label="speakr")


def test_collections_are_opened_one_after_another(tmp_path: Path) -> None:
    write_sound(tmp_path / "more" / "theo" / "a.wav", 1)
    sounds = open_together([write_digits(tmp_path / "digits.parquet"), tmp_path / "more"], label="speaker")
    assert len(sounds) == 7 and sounds.where(6).label == 1 and len(sounds.open(6).samples) == 101


def test_what_holds_no_sounds_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no folder .*: give one with sounds"):
        open_sounds(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"holds no sounds \(.wav, .flac, .ogg, .mp3\)"):
        open_sounds(tmp_path)
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "texts.parquet")
    with pytest.raises(InputError, match="has no column 'audio'"):
        open_sounds(tmp_path)


def test_a_damaged_sound_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(encoded(3)[:90])
    with pytest.raises(InputError, match=r"cannot read .*a.wav: it is shorter than its header says"):
        open_sounds(tmp_path).open(0)
    table = pa.table({"wav": pa.array([encoded(3), b"", b"words"], pa.binary())})
    pq.write_table(table, tmp_path / "all.parquet")
    sounds = open_sounds(tmp_path / "all.parquet")
    assert len(sounds.open(0).samples) == 103
    for index in (1, 2):
        with pytest.raises(InputError, match=f"sound {index} of .*: cannot read the sound: Format not recognised"):
            sounds.open(index)
