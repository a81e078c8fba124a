"""Where the tensors lie that the original systems computed.

`KOINE_GOLDEN` names the folder (default: `tests/golden`), in which each system has one of its own. Files that another
folder lacks, such as the key lists of full-size checkpoints, are read from `tests/golden`.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

SHIPPED = Path(__file__).parent.parent / "golden"


@dataclass(frozen=True)
class Golden:
    """The golden data of one system."""

    system: str

    def path(self, name: str) -> Path:
        """The file of that name, from the chosen folder if it has it."""
        chosen = Path(os.environ.get("KOINE_GOLDEN") or SHIPPED) / self.system / name
        return chosen if chosen.exists() else SHIPPED / self.system / name

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of a safetensors file."""
        return load_file(self.path(name))

    def json(self, name: str) -> Any:
        """The content of a JSON file, unpacked if its name ends in .gz."""
        content = self.path(name).read_bytes()
        return json.loads(gzip.decompress(content) if name.endswith(".gz") else content)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The meaning of everything: sizes, tolerances, keys."""
        return self.json("manifest.json")

    def tolerance(self, name: str, word: str) -> float:
        """The first number after `word` in the manifest's tolerance of that name ("" for the very first)."""
        text = self.manifest["tolerance"][name]
        found = re.search(re.escape(word) + r"\s*(\d+(?:\.\d+)?(?:e-?\d+)?)", text)
        if found is None:
            pytest.fail(f"the tolerance {name!r} of {self.system} names no {word!r}: {text}")
        return float(found.group(1))


@pytest.fixture(scope="session")
def golden() -> type[Golden]:
    """`golden("ferret")` is that system's golden data."""
    return Golden
