"""What tests of every room need."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from koine import files


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Fills the disk for one path: what `write_atomically` writes for it goes to the kernel's full disk."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    monkeypatch.setattr(files.secrets, "token_hex", lambda size: "0" * 2 * size)

    def fill(target: Path) -> None:
        target.with_name(f".{'0' * 8}.partial.{target.name}").symlink_to("/dev/full")

    return fill
