"""Curation as a whole: the same rows whatever the files, workers and engine; every input; every kind of bad input."""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from koine.curation.engines import EngineName
from koine.curation.matching import Matcher
from koine.curation.options import Columns, Deduplicate, OnBadText, OnDamage, Options, OutputFormat, Sampling
from koine.curation.pipeline import Execution, curate
from koine.curation.spacing import Rule
from koine.errors import InputError

WORDS = [f"{shape}{number}" for number in range(40) for shape in ("ball", "cube", "ring")]
ENTRIES = [*WORDS, "red ball0", "the", "U.S."]
QUIET = Execution(quiet=True)


def make_rows(count: int, seed: int = 0) -> pa.Table:
    """Texts with Zipfian words; some rows are equal to others but for their uid."""
    generator = np.random.default_rng(seed)
    ranks = np.minimum(generator.zipf(1.3, (count, 4)), len(WORDS)) - 1
    texts = [f"the {WORDS[row[0]]} and {WORDS[row[1]]}, {row[2] * 1000} x{row[3]}" for row in ranks]
    texts = [text if place % 9 else f"nothing {place}" for place, text in enumerate(texts)]
    numbers = np.arange(count)
    source = np.where(generator.random(count) < 0.1, generator.integers(0, count, count), numbers)
    return pa.table(
        {
            "uid": [f"{number:08}" for number in numbers],
            "url": [f"http://a.com/{number}.jpg" for number in source],
            "text": [texts[number] for number in source],
            "width": numbers % 640,
        }
    )


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    return make_rows(6000)


@pytest.fixture
def entries(tmp_path: Path) -> str:
    (tmp_path / "entries.json").write_text(json.dumps(ENTRIES))
    return str(tmp_path / "entries.json")


def options(inputs: Path | str, entries: str, **changes: Any) -> Options:
    return Options(**{"inputs": (str(inputs),), "entries": entries, "threshold": 200, **changes})


def write_parts(folder: Path, table: pa.Table, parts: int) -> Path:
    folder.mkdir()
    size = -(-len(table) // parts)
    for part in range(parts):
        pq.write_table(table.slice(part * size, size), folder / f"{part}.parquet", row_group_size=700)
    return folder


def kept(folder: Path) -> list[str]:
    return sorted(uid for part in (folder / "data").glob("*.parquet") for uid in pq.read_table(part)["uid"].to_pylist())


def card(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "card.json").read_text())
    return content


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_run_from_end_to_end(rows: pa.Table, entries: str, tmp_path: Path) -> None:
    source = write_parts(tmp_path / "in", rows, 2)
    manifest = json.loads(curate(options(source, entries), tmp_path / "out", QUIET).read_text())
    described, result = (
        card(tmp_path / "out"),
        pa.concat_tables([pq.read_table(path) for path in sorted((tmp_path / "out" / "data").iterdir())]),
    )
    assert described["rows"] == 6000
    # Equal rows are counted once, and of them the survivor is one of the equal ones.
    pairs = set(zip(rows["url"].to_pylist(), rows["text"].to_pylist(), strict=True))
    matched = [text for _, text in pairs if not text.startswith("nothing")]
    assert described["matched"] - described["equal"] == len(matched)
    assert result.num_rows == described["kept"] == len(set(result["url"].to_pylist()))
    assert result.schema.names == ["uid", "url", "text", "width"]
    by_uid = dict(zip(rows["uid"].to_pylist(), rows.to_pylist(), strict=True))
    assert all(row == by_uid[row["uid"]] for row in result.to_pylist())
    # The tail is whole, the head is about the threshold.
    (listed,) = described["languages"]
    assert all(one["before"] == one["after"] for one in listed["tail"])
    assert all(one["after"] >= 200 - 4 * np.sqrt(200) for one in listed["head"] if one["before"] >= 200)
    assert listed["head"][0]["entry"] == "the" and listed["head"][0]["before"] == len(matched)
    assert listed["dead"] == 1
    assert manifest["outputs"]["data/part-000000.parquet"]["rows"] > 0
    assert not (tmp_path / "out" / "work").exists()
    assert (tmp_path / "out" / "card.html").read_text().count("<polyline") == 2


def test_the_counts_are_those_of_the_matcher(rows: pa.Table, entries: str, tmp_path: Path) -> None:
    pq.write_table(rows, tmp_path / "in.parquet")
    curate(options(tmp_path / "in.parquet", entries, deduplicate=Deduplicate.NONE), tmp_path / "out", QUIET)
    matches = Matcher.build(ENTRIES).match(rows["text"])
    counts = dict(zip(ENTRIES, np.bincount(matches.ids, minlength=len(ENTRIES)).tolist(), strict=True))
    (listed,) = card(tmp_path / "out")["languages"]
    assert {one["entry"]: one["before"] for one in listed["head"]}.items() <= counts.items()
    assert listed["matches"] == len(matches.ids)


def test_files_order_and_workers_change_nothing(rows: pa.Table, entries: str, tmp_path: Path) -> None:
    shuffled = rows.take(np.random.default_rng(1).permutation(len(rows)))
    results = {}
    for name, table, parts, workers, size in (
        ("one", rows, 1, 1, 10**6),
        ("two", rows, 2, 2, 1000),
        ("seven", rows, 7, 1, 500),
        ("shuffled", shuffled, 3, 1, 900),
    ):
        source = write_parts(tmp_path / name, table, parts)
        execution = Execution(quiet=True, workers=workers, memory=200_000)
        curate(options(source, entries, rows_per_shard=size), tmp_path / f"{name}-out", execution)
        results[name] = kept(tmp_path / f"{name}-out")
    assert 500 < len(results["one"]) < 5000
    for name, uids in results.items():
        assert uids == results["one"], name


@pytest.mark.skipif(importlib.util.find_spec("daft") is None, reason="daft is not installed")
def test_daft_writes_the_same_bytes(rows: pa.Table, entries: str, tmp_path: Path) -> None:
    source = write_parts(tmp_path / "in", rows, 3)
    curate(options(source, entries), tmp_path / "local", QUIET)
    curate(options(source, entries), tmp_path / "daft", Execution(engine=EngineName.DAFT, workers=2, quiet=True))
    assert content(tmp_path / "daft") == content(tmp_path / "local")


@pytest.mark.skipif(importlib.util.find_spec("daft") is None, reason="daft is not installed")
def test_daft_says_what_is_wrong(rows: pa.Table, entries: str, tmp_path: Path) -> None:
    pq.write_table(rows.rename_columns(["uid", "url", "caption", "width"]), tmp_path / "in.parquet")
    execution = Execution(engine=EngineName.DAFT, workers=2, quiet=True)
    with pytest.raises(InputError, match="no column 'text'"):
        curate(options(tmp_path / "in.parquet", entries), tmp_path / "out", execution)


def test_a_finished_run_is_left_as_it_is(rows: pa.Table, entries: str, tmp_path: Path) -> None:
    pq.write_table(rows, tmp_path / "in.parquet")
    recipe = options(tmp_path / "in.parquet", entries)
    curate(recipe, tmp_path / "out", QUIET)
    before = content(tmp_path / "out")
    curate(recipe, tmp_path / "out", QUIET)
    assert content(tmp_path / "out") == before
    with pytest.raises(InputError, match="threshold was 200, is 300"):
        curate(options(tmp_path / "in.parquet", entries, threshold=300), tmp_path / "out", QUIET)


def test_another_seed_keeps_other_rows_and_a_larger_threshold_more(
    rows: pa.Table, entries: str, tmp_path: Path
) -> None:
    pq.write_table(rows, tmp_path / "in.parquet")
    results = {}
    for name, changes in {"plain": {}, "seed": {"seed": 1}, "large": {"threshold": 300}}.items():
        curate(options(tmp_path / "in.parquet", entries, **changes), tmp_path / name, QUIET)
        results[name] = set(kept(tmp_path / name))
    assert results["seed"] != results["plain"]
    assert results["plain"] < results["large"]


def test_online_sampling_writes_every_match_with_its_probability(rows: pa.Table, entries: str, tmp_path: Path) -> None:
    pq.write_table(rows, tmp_path / "in.parquet")
    recipe = options(tmp_path / "in.parquet", entries, sampling=Sampling.ONLINE, with_entries=True)
    curate(recipe, tmp_path / "out", QUIET)
    table = pq.read_table(tmp_path / "out" / "data" / "part-000000.parquet")
    (listed,) = card(tmp_path / "out")["languages"]
    counts = {one["entry"]: one["before"] for one in (*listed["head"], *listed["tail"])}
    assert table.num_rows == card(tmp_path / "out")["matched"] - card(tmp_path / "out")["equal"]
    checked = 0
    for row in table.to_pylist():
        assert set(row["entries"]) == {
            entry for entry in ENTRIES if f" {entry} " in f" {row['text'].replace(',', ' ,')} "
        }
        if counts.keys() >= set(row["entries"]):
            lost = np.prod([1 - 200 / max(200, counts[entry]) for entry in row["entries"]])
            assert row["keep_probability"] == pytest.approx(1 - lost)
            checked += 1
    assert checked > 100


def jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def webdataset(path: Path, rows: list[dict[str, Any]]) -> None:
    with tarfile.open(path, "w") as archive:
        for row in rows:
            record = {"url": row["url"], "texts": [["alt", row["text"]], ["title", "no match"]]}
            for kind, member in (("json", json.dumps(record).encode()), ("jpg", b"\xff\xd8 a picture")):
                about = tarfile.TarInfo(f"{row['uid']}.{kind}")
                about.size = len(member)
                archive.addfile(about, io.BytesIO(member))


def wat(path: Path, rows: list[dict[str, Any]]) -> None:
    lines = b""
    for row in rows:
        links = [{"path": "IMG@/src", "url": row["url"], "alt": row["text"]}]
        page = {"Envelope": {"Payload-Metadata": {"HTTP-Response-Metadata": {"HTML-Metadata": {"Links": links}}}}}
        lines += b"WARC-Target-URI: http://b.com/\r\n\r\n" + json.dumps(page).encode() + b"\r\n"
    path.write_bytes(gzip.compress(lines))


def warc(path: Path, rows: list[dict[str, Any]]) -> None:
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for row in rows:
            headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.0")
            page = io.BytesIO(f'<img src="{row["url"]}" alt="{row["text"]}">'.encode())
            record = writer.create_warc_record("http://b.com/", "response", payload=page, http_headers=headers)
            writer.write_record(record)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("in.jsonl", jsonl),
        ("in.jsonl.gz", jsonl),
        ("in.tar", webdataset),
        ("in.warc.wat.gz", wat),
        ("in.warc.gz", warc),
    ],
)
def test_every_input_keeps_the_same_texts(
    name: str, write: Callable[[Path, list[dict[str, Any]]], None], rows: pa.Table, entries: str, tmp_path: Path
) -> None:
    some = rows.slice(0, 1500)
    pq.write_table(some, tmp_path / "in.parquet")
    write(tmp_path / name, some.to_pylist())
    # WAT has uids of its own, so the draws are left out here.
    for source in ("in.parquet", name):
        recipe = options(tmp_path / source, entries, threshold=10**6, deduplicate=Deduplicate.NONE)
        curate(recipe, tmp_path / f"{source}-out", QUIET)
    texts = {
        source: sorted(pq.read_table(tmp_path / f"{source}-out" / "data" / "part-000000.parquet")["text"].to_pylist())
        for source in ("in.parquet", name)
    }
    assert texts[name] == texts["in.parquet"]
    assert len(texts[name]) > 1000
    if write not in (wat, warc):
        assert kept(tmp_path / f"{name}-out") == kept(tmp_path / "in.parquet-out")


def test_a_webdataset_keeps_its_members(rows: pa.Table, entries: str, tmp_path: Path) -> None:
    webdataset(tmp_path / "in.tar", rows.slice(0, 500).to_pylist())
    recipe = options(tmp_path / "in.tar", entries, threshold=50, output_format=OutputFormat.WEBDATASET)
    curate(recipe, tmp_path / "out", QUIET)
    with tarfile.open(tmp_path / "out" / "data" / "part-000000.tar") as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    keys = {name.split(".")[0] for name in members}
    assert 50 < len(keys) < 450
    assert all(members[f"{one}.jpg"] == b"\xff\xd8 a picture" for one in keys)
    first = sorted(keys)[0]
    assert json.loads(members[f"{first}.kept.json"])["texts"] == [
        {"text": json.loads(members[f"{first}.json"])["texts"][0][1]}
    ]


def test_tables_become_a_webdataset(rows: pa.Table, entries: str, tmp_path: Path) -> None:
    pq.write_table(rows.slice(0, 300), tmp_path / "in.parquet")
    curate(options(tmp_path / "in.parquet", entries, output_format=OutputFormat.WEBDATASET), tmp_path / "out", QUIET)
    with tarfile.open(tmp_path / "out" / "data" / "part-000000.tar") as archive:
        names = archive.getnames()
        record = json.loads(archive.extractfile(names[0]).read())  # type: ignore[union-attr]
    assert names[1] == names[0].replace(".json", ".txt")
    assert record["uid"] == names[0].removesuffix(".json")


def test_a_list_per_language(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "en.json").write_text(json.dumps(["cube", "red", "ball"]))
    (tmp_path / "lists" / "zh.json").write_text(json.dumps(["红", "方块"]))
    (tmp_path / "lists" / "other.txt").write_text("Würfel\n")
    english = [f"a red cube {n}" for n in range(300)] + ["a ball"]
    chinese = [f"红色方块{n}" for n in range(60)]
    texts = [*english, *chinese, "ein Würfel", "un cube"]
    codes = ["eng"] * len(english) + ["zh"] * len(chinese) + ["de", None]
    pq.write_table(pa.table({"uid": list(range(len(texts))), "text": texts, "code": codes}), tmp_path / "in.parquet")
    (tmp_path / "map.json").write_text(json.dumps({"eng": "en", "xx": "N/A"}))
    recipe = options(
        tmp_path / "in.parquet",
        str(tmp_path / "lists"),
        rule=Rule.V2,
        threshold=100,
        columns=Columns(language="code"),
        language_map=str(tmp_path / "map.json"),
        deduplicate=Deduplicate.TEXT,
    )
    curate(recipe, tmp_path / "out", QUIET)
    listed = {one["language"]: one for one in card(tmp_path / "out")["languages"]}
    assert {name: one["matches"] for name, one in listed.items()} == {"en": 601, "zh": 120, "other": 1}
    assert listed["en"]["threshold"] == 100
    assert listed["zh"]["threshold"] == 60  # the count whose cumulative share is nearest to English's tail share
    assert kept_texts(tmp_path / "out") >= {"ein Würfel", "红色方块59", "a ball"}
    with pytest.raises(InputError, match="--language"):
        curate(options(tmp_path / "in.parquet", str(tmp_path / "lists"), threshold=5), tmp_path / "out2", QUIET)


def kept_texts(folder: Path) -> set[str]:
    return {text for part in (folder / "data").glob("*.parquet") for text in pq.read_table(part)["text"].to_pylist()}


def find_language(texts: pa.Array) -> list[str]:
    return ["zh" if "红" in text else "en" for text in texts.to_pylist()]


def test_a_function_finds_the_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "en.json").write_text(json.dumps(["red", "红"]))
    (tmp_path / "lists" / "zh.json").write_text(json.dumps(["红"]))
    (tmp_path / "finder.py").write_text(
        "def find(texts):\n    return ['zh' if '红' in text else 'en' for text in texts.to_pylist()]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    pq.write_table(pa.table({"text": ["red", "红色", "nothing"]}), tmp_path / "in.parquet")
    recipe = options(
        tmp_path / "in.parquet",
        str(tmp_path / "lists"),
        rule=Rule.V2,
        language_function="finder:find",
        deduplicate=Deduplicate.TEXT,
    )
    curate(recipe, tmp_path / "out", QUIET)
    assert [one["matches"] for one in card(tmp_path / "out")["languages"]] == [1, 1]


def test_bad_texts_are_counted(entries: str, tmp_path: Path) -> None:
    lines = [
        json.dumps({"uid": "1", "text": "a ball0"}),
        '{"uid": "2", "text": "ball0 \\ud800 broken"}',
        json.dumps({"uid": "3", "text": None}),
        json.dumps({"uid": "4", "text": ""}),
        json.dumps({"uid": "5", "text": "ball0 \x00 nul"}),
        json.dumps({"uid": "6", "text": "ball0 " + "x" * 10_000_000}),
        json.dumps({"uid": "1", "text": "ring0"}),
        '{"uid": "8", "text"',
        "[1, 2]",
        json.dumps({"uid": "9", "text": 7}),
        json.dumps({"uid": "10", "text": "nothing here"}),
    ]
    (tmp_path / "in.jsonl").write_bytes("\n".join(lines).encode() + b'\n{"uid": "11", "text": "ball0 \xff"}\n')
    expected = {
        OnBadText.REPLACE: ({"no text": 2, "empty text": 1, "lines that are no JSON object": 2}, 6),
        OnBadText.SKIP: ({"no text": 2, "empty text": 1, "lines that are no JSON object": 2, "invalid text": 2}, 4),
    }
    for policy, (skipped, matched) in expected.items():
        recipe = options(tmp_path / "in.jsonl", entries, on_bad_text=policy, deduplicate=Deduplicate.TEXT)
        curate(recipe, tmp_path / policy.value, QUIET)
        described = card(tmp_path / policy.value)
        assert described["skipped"] == skipped
        assert (described["rows"], described["matched"], described["uids_used_before"]) == (12, matched, 1)
    recipe = options(tmp_path / "in.jsonl", entries, on_bad_text=OnBadText.STOP, deduplicate=Deduplicate.TEXT)
    with pytest.raises(InputError, match=r"row 1 of .*in\.jsonl"):
        curate(recipe, tmp_path / "stop", QUIET)


def test_bytes_in_a_column_of_strings(entries: str, tmp_path: Path) -> None:
    broken = pa.array([b"ball0 \xff", b"ring0", None], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"uid": ["a", "b", "c"], "text": broken}), tmp_path / "in.parquet")
    recipe = options(tmp_path / "in.parquet", entries, deduplicate=Deduplicate.TEXT)
    curate(recipe, tmp_path / "out", QUIET)
    assert kept_texts(tmp_path / "out") == {"ball0 \ufffd", "ring0"}


@pytest.mark.parametrize("kind", ["parquet footer", "parquet page", "gzip member", "tar", "warc"])
def test_damage_stops_the_run_or_is_counted(kind: str, rows: pa.Table, entries: str, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    pq.write_table(rows.slice(0, 1000), source / "a.parquet", row_group_size=250)
    if kind.startswith("parquet"):
        pq.write_table(rows.slice(1000, 1000), source / "b.parquet", row_group_size=250, compression="none")
        whole = bytearray((source / "b.parquet").read_bytes())
        if kind == "parquet footer":
            del whole[-30:]
        else:
            middle = pq.read_metadata(source / "b.parquet").row_group(1).column(2)
            begin = middle.dictionary_page_offset or middle.data_page_offset
            whole[begin : begin + 200] = b"\xff" * 200
        (source / "b.parquet").write_bytes(whole)
    elif kind == "gzip member":
        jsonl(source / "b.jsonl.gz", rows.slice(1000, 1000).to_pylist())
        whole = bytearray((source / "b.jsonl.gz").read_bytes())
        (source / "b.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    elif kind == "warc":
        warc(source / "b.warc.gz", rows.slice(1000, 1000).to_pylist())
        whole = bytearray((source / "b.warc.gz").read_bytes())
        (source / "b.warc.gz").write_bytes(whole[: len(whole) // 2])
    else:
        webdataset(source / "b.tar", rows.slice(1000, 1000).to_pylist())
        whole = bytearray((source / "b.tar").read_bytes())
        (source / "b.tar").write_bytes(whole[: len(whole) // 2 + 100])
    with pytest.raises(InputError, match=r"b\.(parquet|jsonl\.gz|tar|warc\.gz).*--on-damage skip"):
        curate(options(source, entries), tmp_path / "stop", QUIET)
    curate(options(source, entries, on_damage=OnDamage.SKIP), tmp_path / "skip", QUIET)
    described = card(tmp_path / "skip")
    expected = {
        "parquet footer": {"files that can't be opened": 1},
        "parquet page": {"unreadable rows": 250, "damaged row groups": 1},
        "gzip member": {"damaged files": 1},
        "tar": {"damaged files": 1},
        "warc": {"damaged files": 1},
    }[kind]
    assert {name: described["skipped"].get(name) for name in expected} == expected
    assert described["kept"] == sum(
        part["rows"]
        for part in json.loads((tmp_path / "skip" / "manifest.json").read_text())["outputs"].values()
        if "rows" in part
    )
    assert described["rows"] > 1000 or kind == "parquet footer"


def test_columns_that_are_not_there(rows: pa.Table, entries: str, tmp_path: Path) -> None:
    pq.write_table(rows.rename_columns(["uid", "url", "caption", "width"]), tmp_path / "in.parquet")
    with pytest.raises(InputError, match=r"no column 'text' \(--text\): it has uid, url, caption, width"):
        curate(options(tmp_path / "in.parquet", entries), tmp_path / "out", QUIET)
    with pytest.raises(InputError, match="holds int64, not texts"):
        curate(options(tmp_path / "in.parquet", entries, columns=Columns(text="width")), tmp_path / "out2", QUIET)
    recipe = options(tmp_path / "in.parquet", entries, columns=Columns(text="caption", url="address", uid="id"))
    with pytest.raises(InputError, match="addresses"):
        curate(recipe, tmp_path / "out3", QUIET)
    curate(
        options(tmp_path / "in.parquet", entries, columns=Columns(text="caption", uid="id")), tmp_path / "out4", QUIET
    )
    first = pq.read_table(tmp_path / "out4" / "data" / "part-000000.parquet")
    assert all(len(uid) == 24 for uid in first["id"].to_pylist())


def test_rows_without_an_address_are_equal_to_none(entries: str, tmp_path: Path) -> None:
    table = pa.table({"uid": ["1", "2", "3", "4"], "url": [None, None, "a", "a"], "text": ["ball0"] * 4})
    pq.write_table(table, tmp_path / "in.parquet")
    curate(options(tmp_path / "in.parquet", entries), tmp_path / "out", QUIET)
    assert card(tmp_path / "out")["equal"] == 1
    assert len(kept(tmp_path / "out")) == 3


def test_lists_of_texts_become_rows(entries: str, tmp_path: Path) -> None:
    texts = [["a ball0", "nothing"], [], None, ["ring0", "cube0"]]
    table = pa.table({"uid": [1, 2, 3, 4], "url": list("abcd"), "text": texts})
    pq.write_table(table, tmp_path / "in.parquet")
    curate(options(tmp_path / "in.parquet", entries), tmp_path / "out", QUIET)
    written = pq.read_table(tmp_path / "out" / "data" / "part-000000.parquet")
    assert written.select(["uid", "text"]).to_pylist() == [
        {"uid": 1, "text": "a ball0"},
        {"uid": 4, "text": "ring0"},
        {"uid": 4, "text": "cube0"},
    ]
    assert card(tmp_path / "out")["skipped"] == {"no text": 2}


def test_an_input_that_changes_during_the_run(rows: pa.Table, entries: str, tmp_path: Path) -> None:
    source = write_parts(tmp_path / "in", rows, 2)
    (tmp_path / "out").mkdir()
    pq.write_table(rows.slice(0, 3000), source / "1.parquet")
    whole = (source / "1.parquet").read_bytes()
    (source / "1.parquet").write_bytes(whole[:2000] + b"\xff" * 500 + whole[2500:])
    with pytest.raises(InputError, match="--on-damage skip"):
        curate(options(source, entries), tmp_path / "out", QUIET)
    pq.write_table(rows.slice(3000), source / "1.parquet")  # mended, but another file than was planned
    with pytest.raises(InputError, match="has changed since the run began"):
        curate(options(source, entries), tmp_path / "out", QUIET)


def test_a_folder_with_other_files_is_left_alone(rows: pa.Table, entries: str, tmp_path: Path) -> None:
    pq.write_table(rows.slice(0, 10), tmp_path / "in.parquet")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"thesis\.tex"):
        curate(options(tmp_path / "in.parquet", entries), tmp_path / "out", QUIET)
    assert (tmp_path / "out" / "thesis.tex").read_text() == "years of work"
    with pytest.raises(InputError, match="can't be used"):
        curate(options(tmp_path / "in.parquet", entries), tmp_path / "in.parquet" / "out", QUIET)


def test_nobody_else_works_in_the_folder(rows: pa.Table, entries: str, tmp_path: Path) -> None:
    import fcntl
    import os

    pq.write_table(rows.slice(0, 10), tmp_path / "in.parquet")
    (tmp_path / "out").mkdir()
    descriptor = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(InputError, match="another process"):
        curate(options(tmp_path / "in.parquet", entries), tmp_path / "out", QUIET)
    os.close(descriptor)
    curate(options(tmp_path / "in.parquet", entries), tmp_path / "out", QUIET)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": None}, "either"),
        ({"tail_share": 0.1}, "either"),
        ({"threshold": 0}, "threshold"),
        ({"threshold": float("inf")}, "1e18"),
        ({"threshold": None, "tail_share": 2.0}, "tail share"),
        ({"seed": -1}, "seed"),
        ({"rows_per_shard": 0}, "rows per shard"),
    ],
)
def test_recipes_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        options("in", "entries", **changes)


def test_inputs_that_are_not_there(entries: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.txt").write_text("x")
    for name in ("missing.parquet", "empty", "note.txt"):
        with pytest.raises(InputError, match=name):
            curate(options(tmp_path / name, entries), tmp_path / "out", QUIET)


def test_nothing_to_keep(entries: str, tmp_path: Path) -> None:
    table = pa.table({"text": ["nothing matches"], "url": ["u"]})
    for rows in (0, 1):
        pq.write_table(table.slice(0, rows), tmp_path / f"{rows}.parquet")
        curate(options(tmp_path / f"{rows}.parquet", entries), tmp_path / f"{rows}-out", QUIET)
        assert (card(tmp_path / f"{rows}-out")["rows"], card(tmp_path / f"{rows}-out")["kept"]) == (rows, 0)
