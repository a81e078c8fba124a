"""`koine world`: pictures one can look at, a data set one can load, a figure one can quote."""

import re

import pyarrow.parquet as parquet
import pytest
from PIL import Image as pil

from koine.cli import main


def test_show_draws_a_sheet_and_says_what_is_on_it(tmp_path, capsys):
    out = tmp_path / "sheet.png"
    assert main(["world", "show", "--count", "5", "--size", "48", "--seed", "7", "--out", str(out)]) == 0
    assert pil.open(out).size == (4 * 48, 2 * 48)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("test ")] == [f"test {n}" for n in range(7, 12)]
    assert lines[-1] == str(out)


def test_the_same_seed_shows_the_same_scene(tmp_path):
    for name in ("a.png", "b.png"):
        assert main(["world", "show", "--size", "48", "--out", str(tmp_path / name)]) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--split", "exam"], "exam"),
        (["--kind", "messy"], "messy"),
        (["--size", "4"], "4"),
        (["--seed", "-1"], "-1"),
        (["--count", "0"], "--count"),
    ],
)
def test_bad_input_writes_nothing(tmp_path, capsys, arguments, reason):
    assert main(["world", "show", *arguments, "--out", str(tmp_path / "x.png")]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and reason in message and message.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_export_makes_a_data_set_with_a_card(tmp_path, capsys):
    out = tmp_path / "tabletop"
    words = ["--split", "test", "--count", "5", "--shard", "3", "--size", "32"]
    assert main(["world", "export", "--out", str(out), *words]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    assert sum(parquet.read_table(file).num_rows for file in (out / "data").glob("*.parquet")) == 5
    assert (out / "README.md").read_text()


def test_export_refuses_what_there_is_not(tmp_path, capsys):
    assert main(["world", "export", "--out", str(tmp_path / "x"), "--format", "parket", "--count", "2"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and "did you mean 'parquet'" in message and message.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_bench_measures(capsys):
    assert main(["world", "bench", "--seconds", "0.2", "--size", "32"]) == 0
    found = re.fullmatch(r"(\d+) scenes per second at 32x32 \((\d+) in [\d.]+ s\)\n", capsys.readouterr().out)
    assert found and int(found[1]) > 1 and int(found[2]) >= 1
