"""The list of data sets."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from koine import data
from koine.errors import InputError

from .conftest import Write


@pytest.mark.parametrize("name", data.DATA_SETS)
def test_every_data_set_has_a_documented_reader(name: str) -> None:
    listed = data.DATA_SETS[name]
    assert listed.name == name
    module, function = listed.reader.split(":")
    reader = getattr(import_module(module), function)
    assert inspect.getdoc(reader)
    parameters = list(inspect.signature(reader).parameters)
    assert parameters[0] == "path" and ("images" in parameters[1:2]) == (name != "sounds")


@pytest.mark.parametrize("name", data.DATA_SETS)
def test_an_empty_folder_is_refused_by_every_reader(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{tmp_path} holds no .*"):
        list(data.examples(name, tmp_path))


def test_a_data_set_is_read_by_its_name(tmp_path: Path, picture: Write, lines_file: Write) -> None:
    picture("1.png")
    lines_file("coco_pope_random.json", [{"question_id": 1, "image": "1.png", "text": "?", "label": "no"}])
    (example,) = data.examples("pope", tmp_path, category="random")
    assert example.target.text == "no"


def test_unknown_names_and_options() -> None:
    with pytest.raises(InputError, match="there is no data set 'refcocog': did you mean 'refcoco'"):
        data.examples("refcocog", "x")
    with pytest.raises(InputError, match="there is no option of the data set pope 'split'"):
        data.examples("pope", "x", split="val")


def test_the_list_imports_nothing_heavy() -> None:
    code = "import sys, koine.data; print([m for m in ('numpy', 'PIL', 'torch', 'ijson') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
