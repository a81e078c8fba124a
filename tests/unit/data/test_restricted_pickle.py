"""Pickles are read as data, never run."""

from __future__ import annotations

import collections
import os
import pickle
from pathlib import Path

import pytest

from koine.data.restricted_pickle import load_plain_pickle
from koine.errors import InputError


class Attack:
    """Runs a command when it is unpickled the ordinary way."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_of_every_protocol(tmp_path: Path, protocol: int) -> None:
    content = [{"ref_id": 1, "sent_ids": [0, 1], "split": "val", "box": (1.5, 2.0), "seen": {1, 2}, "last": None}]
    (tmp_path / "refs(unc).p").write_bytes(pickle.dumps(content, protocol))
    assert load_plain_pickle(tmp_path / "refs(unc).p") == content


def test_strings_of_python_2(tmp_path: Path) -> None:
    # What Python 2's pickle.dump([{'sent': 'caf\xe9'}], file) wrote.
    (tmp_path / "old.p").write_bytes(b"(lp0\n(dp1\nS'sent'\np2\nS'caf\\xe9'\np3\nsa.")
    assert load_plain_pickle(tmp_path / "old.p") == [{"sent": "café"}]


def test_code_is_refused_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    (tmp_path / "bad.p").write_bytes(pickle.dumps([Attack(marker)]))
    with pytest.raises(InputError, match=r"cannot unpickle .*bad\.p: it names posix\.system, which is not plain data"):
        load_plain_pickle(tmp_path / "bad.p")
    assert not marker.exists()


@pytest.mark.parametrize("content", [eval, collections.OrderedDict(a=1), Path("x")], ids=repr)
def test_classes_and_functions_are_refused(tmp_path: Path, content: object) -> None:
    (tmp_path / "bad.p").write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match="which is not plain data"):
        load_plain_pickle(tmp_path / "bad.p")


def test_damaged_and_missing_files(tmp_path: Path) -> None:
    whole = pickle.dumps(list(range(100)))
    (tmp_path / "cut.p").write_bytes(whole[:-20])
    with pytest.raises(InputError, match=r"cannot unpickle .*cut\.p"):
        load_plain_pickle(tmp_path / "cut.p")
    with pytest.raises(InputError, match=r"cannot read .*none\.p: No such file"):
        load_plain_pickle(tmp_path / "none.p")
