"""Checkpoints: whole or absent, and of the right model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from koine.errors import InputError
from koine.training.checkpoint import Progress, copy_into, list_checkpoints, read_checkpoint, write_checkpoint


def touch_model(folder: Path) -> None:
    (folder / "config.json").touch()


def test_what_was_written_is_read_exactly(tmp_path: Path) -> None:
    shared = torch.randn(4, 3)
    tensors = {"a": shared, "b": shared.t(), "c": shared[0], "count": torch.tensor(3)}
    progress = Progress(step=5, seconds=0.1, log_bytes=7, meter={"sums": {"loss": 1 / 3}})
    path = write_checkpoint(tmp_path, progress, tensors, touch_model)
    read, saved = read_checkpoint(path)
    assert read == progress
    assert all(torch.equal(saved[name], tensor) for name, tensor in tensors.items())
    assert (path / "model" / "config.json").exists()


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_checkpoint(tmp_path, Progress(step=1), {}, fail)
    assert list(tmp_path.iterdir()) == []


def test_the_newest_two_are_kept_in_the_order_of_their_steps(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        write_checkpoint(tmp_path, Progress(step=step), {}, touch_model)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000100", "step-00000010"]


@pytest.mark.parametrize("damage", ["progress.json", "training.safetensors"])
def test_a_damaged_file_is_named(damage: str, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, Progress(step=1), {"a": torch.zeros(3)}, touch_model)
    (path / damage).write_bytes(b"{")
    with pytest.raises(InputError, match="step-00000001 can't be read"):
        read_checkpoint(path)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"another model: w has shape \(3,\), the recipe's model wants \(4,\)"):
        copy_into({"w": torch.zeros(4)}, {"w": torch.zeros(3)}, checkpoint=tmp_path)
    with pytest.raises(InputError, match="v has no such tensor"):
        copy_into({"v": torch.zeros(4)}, {"w": torch.zeros(3)}, checkpoint=tmp_path)
