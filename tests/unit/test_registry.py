"""The registry: eleven names, honest about what is built, and cheap to ask."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import koine
from koine import SYSTEMS, InputError
from koine.registry import SystemInfo, built_systems, find, find_built, room, shipped_weights, weights_folder


def test_the_eleven_are_there():
    assert set(SYSTEMS) == {
        "ferret",
        "vqvae",
        "spae",
        "mgie",
        "salmonn",
        "dreamdiffusion",
        "palme",
        "visprog",
        "beit3",
        "metaclip",
        "kosmosg",
    }


@pytest.mark.parametrize("info", SYSTEMS.values(), ids=list(SYSTEMS))
def test_every_entry_is_complete(info: SystemInfo):
    assert re.fullmatch(r"\d{4}\.\d{5}", info.paper)
    assert info.job and "\n" not in info.job and info.reads and info.writes
    assert (info.status == "planned") == (info.entry is None)
    assert (info.status == "verified") == weights_folder(info.name).is_dir()


@pytest.mark.parametrize("info", built_systems(), ids=lambda info: info.name)
def test_a_built_system_has_its_rooms(info: SystemInfo):
    folder = Path(koine.__file__).parent / "systems" / info.name
    rooms = {path.name for path in folder.iterdir()}
    wanted = {"config.py", "model.py", "processor.py", "system.py", "weights.py", "recipe.py", "claims.py", "README.md"}
    assert wanted <= rooms
    assert (Path(koine.__file__).parent / "report" / "pages" / f"{info.name}.py").exists()


@pytest.mark.parametrize(("written", "name"), [("BEiT-3", "beit3"), (" Ferret ", "ferret"), ("kosmos_g", "kosmosg")])
def test_names_are_found_however_they_are_written(written, name):
    assert find(written).name == name


def test_an_unknown_system_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="no system 'feret': did you mean 'ferret'"):
        koine.load("feret")


def test_a_planned_system_says_so(monkeypatch):
    monkeypatch.setitem(SYSTEMS, "spae", replace(SYSTEMS["spae"], status="planned", entry=None))
    with pytest.raises(InputError, match=r"'spae' is planned .* \(ferret"):
        koine.load("spae")
    with pytest.raises(InputError, match="planned"):
        find_built("spae")
    with pytest.raises(InputError, match="planned"):
        room("spae", "recipe")


def test_missing_nano_weights_say_how_to_make_them():
    with pytest.raises(InputError, match=r"nano weights of 'nothing' are missing at .*: make them with"):
        shipped_weights("nothing")


@pytest.mark.parametrize("device", ["gpu", "cuda:99", 7.5])
def test_a_device_that_is_not_there_is_bad_input(device):
    with pytest.raises(InputError, match=f"device '{device}' can't be used"):
        koine.load("ferret", device=device)


@pytest.mark.parametrize("dtype", ["int8", "load", "float7", 3])
def test_a_number_type_that_parameters_cannot_have_is_bad_input(dtype):
    with pytest.raises(InputError, match=f"number type '{dtype}'"):
        koine.load("ferret", dtype=dtype)


def python(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, check=True)


HEAVY = {"torch", "transformers", "numpy", "PIL", "mujoco", "pyarrow", "rich", "typer"}


def test_importing_koine_imports_nothing_heavy():
    loaded = python("import sys, koine; print(*{name.partition('.')[0] for name in sys.modules})").stdout.split()
    assert not HEAVY & set(loaded)


def test_importing_koine_takes_less_than_150_milliseconds():
    # The best of three: other programs on the machine can only make it slower.
    def seconds() -> float:
        lines = python("import koine", "-X", "importtime").stderr.splitlines()
        [koine_line] = [line for line in lines if line.split("|")[-1].strip() == "koine"]
        return int(koine_line.split("|")[1]) / 1e6

    assert min(seconds() for _ in range(3)) < 0.15


def test_every_public_name_can_be_imported_and_is_listed():
    for name in koine.__all__:
        assert getattr(koine, name) is not None
        assert name in dir(koine)


def test_an_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        koine.lode  # noqa: B018
