"""The log: rows in order, each step at most once after any crash."""

from __future__ import annotations

import json
from pathlib import Path

from koine.training.log import Meter, TrainingLog


def test_cutting_forgets_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "log.jsonl")
    assert log.length() == 0
    log.append({"step": 1, "stage": "a"})
    length = log.length()
    log.append({"step": 2, "stage": "a"})
    log.cut(length)
    log.append({"step": 2, "stage": "a", "loss": 0.5})
    assert [json.loads(line) for line in log.path.read_text().splitlines()] == [
        {"step": 1, "stage": "a"},
        {"step": 2, "stage": "a", "loss": 0.5},
    ]


def test_a_stage_can_be_forgotten_with_a_half_written_line(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "log.jsonl")
    log.forget({"b"})
    log.append({"step": 1, "stage": "a"})
    log.append({"step": 1, "stage": "b"})
    with log.path.open("a") as file:
        file.write('{"step": 2, "sta')
    log.forget({"b"})
    assert log.path.read_text() == '{"step": 1, "stage": "a"}\n'


def test_numbers_that_json_cant_hold_become_null(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "log.jsonl")
    log.append({"step": 1, "psnr": float("inf")})
    assert json.loads(log.path.read_text()) == {"step": 1, "psnr": None}


def test_the_meter_gives_means() -> None:
    meter = Meter()
    meter.add({"loss": 1.0}, 0.5)
    meter.add({"loss": 2.0}, 0.5)
    assert meter.means() == {"loss": 1.5} and meter.seconds == 1.0
