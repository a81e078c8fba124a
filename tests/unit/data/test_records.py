"""Reading JSON: what is wrong is said with file, record and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from koine.data.records import Record, json_array, json_lines, read_json, read_object
from koine.errors import InputError


def test_lines_are_read_in_order_and_empty_ones_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"n": 1}\n\n{"n": 2}\n')
    assert [(record.values["n"], record.where) for record in json_lines(tmp_path / "a.jsonl")] == [
        (1, "a.jsonl, line 1"),
        (2, "a.jsonl, line 3"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [('{"n": 1}\n{"n": \n', r"a\.jsonl, line 2: not JSON"), ("[1]\n", r"line 1: \[1\] is not a JSON object")],
)
def test_a_bad_line_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(InputError, match=message):
        list(json_lines(tmp_path / "a.jsonl"))


def test_arrays_are_read_one_by_one_with_floats(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"boxes": [{"x": 1.5}, {"x": 2}], "rest": [{"x": 3}]}')
    records = list(json_array(tmp_path / "a.json", "boxes.item"))
    assert [record.values["x"] for record in records] == [1.5, 2]
    assert records[1].where == "a.json, boxes[1]"
    assert isinstance(records[0].values["x"], float)


def test_an_array_that_is_cut_short_fails_only_where_it_ends(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"x": 1}, {"x": 2}, {"x"')
    records = json_array(tmp_path / "a.json")
    assert [next(records).values["x"], next(records).values["x"]] == [1, 2]
    with pytest.raises(InputError, match=r"a\.json: not JSON .*cut short"):
        next(records)


def test_array_items_must_be_objects(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(InputError, match=r"a\.json, record 0: 1 is not a JSON object"):
        list(json_array(tmp_path / "a.json"))


def test_documents_say_where_they_break(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"x": 1,\n y}')
    with pytest.raises(InputError, match="line 2, column 2: not JSON"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(InputError, match="holds a list: give a JSON object"):
        read_object(tmp_path / "a.json")


@pytest.mark.parametrize("read", [read_json, lambda path: list(json_lines(path)), lambda path: list(json_array(path))])
def test_a_missing_file_is_named(tmp_path: Path, read: object) -> None:
    with pytest.raises(InputError, match=r"cannot read .*none\.json: No such file"):
        read(tmp_path / "none.json")  # type: ignore[operator]


def test_fields_are_checked() -> None:
    record = Record({"n": 3, "flag": True, "box": [1, 2.5], "inner": [{"a": 1}, 7], "nothing": None}, "f.json, line 9")
    assert record.field("n", float) == 3.0
    assert record.optional("nothing", int, 4) == 4
    assert record.optional("n", int, 4) == 3
    assert record.numbers("box", 2) == (1.0, 2.5)
    with pytest.raises(InputError, match=r"f\.json, line 9: field 'm' is missing \(fields there: box, flag"):
        record.field("m", int)
    with pytest.raises(InputError, match="field 'n' is 3: give a value of type str"):
        record.field("n", str)
    with pytest.raises(InputError, match="field 'flag' is True: give a value of type int"):
        record.field("flag", int)
    with pytest.raises(InputError, match=r"field 'box' is \[1, 2.5\]: give a list of 4 numbers"):
        record.numbers("box", 4)
    with pytest.raises(InputError, match=r"line 9: inner\[1\] is 7: give a JSON object"):
        record.children("inner")
