"""Atomic writes: the whole new thing or the whole old one, and nothing else left behind."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from koine.errors import InputError
from koine.files import write_atomically


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_file_appears_only_when_the_block_has_ended(tmp_path):
    target = tmp_path / "report.html"
    with write_atomically(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert temporary.parent == tmp_path and temporary.suffix == ".html"
    assert target.read_text() == "new"
    assert names(tmp_path) == ["report.html"]


def test_missing_parents_are_made(tmp_path):
    with write_atomically(tmp_path / "a" / "b" / "c.txt") as temporary:
        temporary.write_text("deep")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "deep"


def test_a_failing_block_leaves_the_old_file_and_no_other(tmp_path):
    target = tmp_path / "weights.bin"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), write_atomically(target) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "old"
    assert names(tmp_path) == ["weights.bin"]


def test_a_failing_block_takes_the_parents_made_for_it_away_again(tmp_path):
    with pytest.raises(KeyboardInterrupt), write_atomically(tmp_path / "a" / "b" / "c.txt"):
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_folders_replace_folders_as_a_whole(tmp_path):
    target = tmp_path / "model"
    for number, name in enumerate(["old.bin", "new.bin"]):
        with write_atomically(target) as temporary:
            temporary.mkdir()
            (temporary / name).write_text(str(number))
    assert names(target) == ["new.bin"]
    assert names(tmp_path) == ["model"]


def test_a_failing_block_keeps_the_old_folder(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old.bin").write_text("old")
    with pytest.raises(ZeroDivisionError), write_atomically(target) as temporary:
        temporary.mkdir()
        (temporary / "new.bin").write_text("half")
        raise ZeroDivisionError
    assert names(target) == ["old.bin"]
    assert names(tmp_path) == ["model"]


def test_a_full_disk_becomes_one_line_with_path_and_reason(tmp_path):
    target = tmp_path / "report.html"
    with pytest.raises(InputError, match="No space left on device") as caught, write_atomically(target) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert str(target) in str(caught.value) and "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_the_kernel_s_full_disk_leaves_the_old_file_and_no_other(tmp_path, full_disk):
    target = tmp_path / "report.html"
    target.write_text("old")
    full_disk(target)
    with pytest.raises(InputError, match="No space left on device: free some"), write_atomically(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "old" and names(tmp_path) == ["report.html"]


def test_a_disk_that_turns_out_to_be_full_when_the_bytes_reach_it_is_noticed_before_the_rename(tmp_path, monkeypatch):
    target = tmp_path / "report.html"
    target.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"), write_atomically(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "old" and names(tmp_path) == ["report.html"]


def test_a_writer_that_wraps_the_full_disk_in_its_own_error_is_understood(tmp_path):
    with pytest.raises(InputError, match="No space left"), write_atomically(tmp_path / "x.safetensors"):
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")


def test_a_writer_that_runs_into_a_true_limit_leaves_nothing(tmp_path):
    # A limit on file size stands in for a full disk: the kernel refuses the bytes, as it does there.
    script = (
        "import resource, signal, sys\n"
        "from koine.files import write_atomically\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "with write_atomically(sys.argv[1]) as temporary: temporary.write_bytes(bytes(100_000))\n"
    )
    target = tmp_path / "big.bin"
    done = subprocess.run([sys.executable, "-c", script, str(target)], capture_output=True, text=True)
    assert f"InputError: cannot write {target}: File too large" in done.stderr
    assert names(tmp_path) == []


def test_a_parent_that_is_a_file_is_bad_input(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"), write_atomically(tmp_path / "file" / "x.txt"):
        pass
    assert names(tmp_path) == ["file"]


def test_a_broken_input_inside_the_block_is_not_taken_for_a_failed_write(tmp_path):
    with pytest.raises(OSError, match="truncated"), write_atomically(tmp_path / "copy.png"):
        raise OSError("image file is truncated")


def test_a_failed_read_inside_the_block_stays_what_it_is(tmp_path):
    with pytest.raises(FileNotFoundError), write_atomically(tmp_path / "copy.txt") as temporary:
        temporary.write_text((tmp_path / "missing" / "source.txt").read_text())
    assert names(tmp_path) == []
