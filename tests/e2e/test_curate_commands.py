"""`koine curate ...`: the commands, what they print, and their one-line errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from koine.cli.curate import app
from koine.errors import InputError

CC3M = Path(__file__).parents[3] / "shared" / "data" / "cc3m_validation.parquet"
WORDNET = Path("/usr/share/wordnet")


def curate(*arguments: object) -> str:
    """What a command prints; raises what it raises."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    words = np.array([f"word{number}" for number in range(50)])
    ranks = np.minimum(generator.zipf(1.4, (3000, 4)), 50) - 1
    texts = [" ".join(words[row]) if place % 5 else "junk.jpg" for place, row in enumerate(ranks)]
    numbers = [str(number) for number in range(3000)]
    pq.write_table(pa.table({"uid": numbers, "url": numbers, "text": texts}), tmp_path / "pairs.parquet")
    (tmp_path / "entries.txt").write_text("".join(f"{word}\n" for word in [*words, "U.S.", "junk.jpg"]))
    return tmp_path


def kept(folder: Path) -> list[str]:
    return sorted(uid for part in folder.glob("*.parquet") for uid in pq.read_table(part)["uid"].to_pylist())


def test_the_single_steps_keep_what_the_whole_run_keeps(corpus: Path) -> None:
    entries = ("--entries", corpus / "entries.txt")
    out = curate("run", corpus / "pairs.parquet", *entries, "--threshold", 40, "--out", corpus / "run", "--workers", 1)
    assert "read 3,000, matched 2,400, equal 0" in out
    assert "(2 dead)" in out
    assert out.rstrip().endswith(str(corpus / "run"))
    found = curate("match", corpus / "pairs.parquet", *entries, "--out", corpus / "matched")
    assert found.startswith("2,400 of 3,000 rows match")
    counted = curate("count", corpus / "matched", *entries, "--out", corpus / "counts.parquet")
    assert "word0" in counted.splitlines()[1]
    balanced = curate(
        *("balance", corpus / "matched", *entries, "--counts", corpus / "counts.parquet"),
        *("--threshold", 40, "--out", corpus / "subset"),
    )
    assert "t = 40" in balanced
    assert 100 < len(kept(corpus / "subset")) < 2400
    assert kept(corpus / "subset") == kept(corpus / "run" / "data")


def test_a_tail_share_chooses_the_threshold(corpus: Path) -> None:
    entries = ("--entries", corpus / "entries.txt")
    curate("match", corpus / "pairs.parquet", *entries, "--out", corpus / "matched")
    curate("count", corpus / "matched", *entries, "--out", corpus / "counts.parquet")
    balanced = curate(
        *("balance", corpus / "matched", *entries, "--counts", corpus / "counts.parquet"),
        *("--tail-share", 0.3, "--out", corpus / "subset"),
    )
    counts = np.sort(pq.read_table(corpus / "counts.parquet")["count"].to_numpy())
    share = np.cumsum(counts) / counts.sum()
    assert f"t = {counts[np.abs(share - 0.3).argmin()]:,}" in balanced


def test_entries_that_can_not_match_are_reported(corpus: Path) -> None:
    command = ["match", corpus / "pairs.parquet", "--entries", corpus / "entries.txt", "--out"]
    said = CliRunner().invoke(app, [*map(str, command), str(corpus / "matched")]).stderr
    assert "2 entries can never match" in said and "'U.S.'" in said and "--repair" in said
    assert CliRunner().invoke(app, [*map(str, command), str(corpus / "other"), "--repair"]).stderr == ""


def test_repaired_entries_match(corpus: Path) -> None:
    entries = ("--entries", corpus / "entries.txt")
    found = curate("match", corpus / "pairs.parquet", *entries, "--repair", "--out", corpus / "matched")
    assert found.startswith("3,000 of 3,000 rows match")


def test_a_card_is_shown_again(corpus: Path) -> None:
    curate(
        "run", corpus / "pairs.parquet", "--entries", corpus / "entries.txt", "--threshold", 40, "--out", corpus / "run"
    )
    shown = curate("card", corpus / "run", "--html", corpus / "card.html")
    assert "read 3,000" in shown
    assert (corpus / "card.html").read_bytes() == (corpus / "run" / "card.html").read_bytes()
    assert json.loads(curate("card", corpus / "run", "--json"))["matched"] == 2400


def test_a_list_is_built(tmp_path: Path) -> None:
    for part in ("noun", "verb", "adj", "adv"):
        (tmp_path / f"data.{part}").write_text(
            "  1 licence\n" if part != "noun" else "00001740 03 n 01 red_cube 0 000 | x\n"
        )
    lines = [json.dumps({"text": "the cube is red. " * 120})]
    (tmp_path / "wiki_00").write_text("\n".join(lines) + "\n")
    (tmp_path / "pageviews").write_text("en Kunta_Kinte 99 0\nen U.S. 99 0\n")
    curate(
        *("metadata", "--wordnet", tmp_path, "--wikipedia", tmp_path / "wiki_00"),
        *("--page-views", tmp_path / "pageviews", "--out", tmp_path / "list.json"),
    )
    listed = json.loads((tmp_path / "list.json").read_text())
    assert {name: source for name, source in listed.items() if source} == {
        "red cube": "w",
        "the": "u",
        "cube": "u",
        "is": "u",
        "red": "u",
        "Kunta Kinte": "t",
        "U.S.": "t",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "{pairs}", "--entries", "{entries}", "--out", "{out}"], "either a threshold"),
        (["run", "{pairs}", "--entries", "{entries}", "--out", "{out}", "--threshold", "5", "--rule", "v3"], "'v3'"),
        (
            ["run", "{pairs}", "--entries", "{entries}", "--out", "{out}", "--threshold", "5", "--engine", "ray"],
            "'ray'",
        ),
        (["run", "{pairs}", "--entries", "{out}/no.json", "--out", "{out}", "--threshold", "5"], r"no\.json"),
        (["match", "{pairs}", "--entries", "{entries}", "--out", "{folder}"], "not empty"),
        (["count", "{folder}", "--entries", "{entries}", "--out", "{out}.parquet"], "match it again"),
        (["card", "{folder}"], "no data card"),
        (["metadata", "--out", "{out}.json"], "nothing to build"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], message: str, corpus: Path) -> None:
    places = {
        "pairs": corpus / "pairs.parquet",
        "entries": corpus / "entries.txt",
        "out": corpus / "out",
        "folder": corpus,
    }
    with pytest.raises(InputError, match=message) as raised:
        curate(*(argument.format(**places) for argument in arguments))
    assert "\n" not in str(raised.value)


def test_another_list_is_noticed(corpus: Path) -> None:
    entries = ("--entries", corpus / "entries.txt")
    curate("match", corpus / "pairs.parquet", *entries, "--out", corpus / "matched")
    curate("count", corpus / "matched", *entries, "--out", corpus / "counts.parquet")
    (corpus / "other.txt").write_text("word0\n")
    other = ("--entries", corpus / "other.txt")
    with pytest.raises(InputError, match="match it again"):
        curate("count", corpus / "matched", *other, "--out", corpus / "again.parquet")
    with pytest.raises(InputError, match="count again"):
        curate(
            *("balance", corpus / "matched", *other, "--counts", corpus / "counts.parquet"),
            *("--threshold", 4, "--out", corpus / "subset"),
        )


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys, koine.cli.curate, koine.curation; "
        "print([name for name in ('numba', 'pyarrow', 'numpy', 'torch', 'daft') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


LIMITED = """
import resource, sys
from koine.cli.curate import app
from koine.errors import InputError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
try:
    app(sys.argv[2:], standalone_mode=False)
except InputError as error:
    sys.exit(f"error: {error}")
"""


def test_a_disk_that_is_full_loses_nothing(corpus: Path) -> None:
    """A limit on the size of files stands for the full disk: writing fails in the same way."""
    command = ["run", str(corpus / "pairs.parquet"), "--entries", str(corpus / "entries.txt"), "--threshold", "40"]
    command += ["--workers", "1", "--quiet", "--out"]
    arguments = [sys.executable, "-c", LIMITED, "30000", *command, str(corpus / "limited")]
    failed = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert "cannot write" in failed.stderr and "free some space" in failed.stderr, failed.stderr
    assert "Traceback" not in failed.stderr
    curate(*command, corpus / "limited")
    curate(*command, corpus / "undisturbed")
    for path in (corpus / "undisturbed").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (corpus / "limited" / path.relative_to(corpus / "undisturbed")).read_bytes()


@pytest.mark.skipif(not CC3M.is_file(), reason="the sample of Conceptual Captions is not on this machine")
@pytest.mark.skipif(not WORDNET.is_dir(), reason="Debian's package wordnet-base is not installed")
def test_real_alt_texts_against_wordnet(tmp_path: Path) -> None:
    curate("metadata", "--wordnet", WORDNET, "--out", tmp_path / "wordnet.json")
    curate("run", CC3M, "--entries", tmp_path / "wordnet.json", "--threshold", 20, "--out", tmp_path / "out")
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    (listed,) = card["languages"]
    assert (card["rows"], card["matched"]) == (12_000, 11_992)
    assert [one["entry"] for one in listed["head"][:4]] == ["a", "in", "on", "person"]
    assert all(one["before"] == one["after"] for one in listed["tail"])
