"""NLVR2's files and NLVR's tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from koine.data import nlvr, nlvr2
from koine.errors import InputError
from koine.images import encode_png

from .conftest import Write


def test_a_statement_has_a_left_and_a_right_picture(tmp_path: Path, picture: Write, lines_file: Write) -> None:
    picture("dev/dev-850-0-img0.png", level=10)
    picture("dev/dev-850-0-img1.png", level=20)
    record = {"identifier": "dev-850-0-1", "sentence": "There are two dogs.", "label": "True"}
    lines_file("dev.json", [record, record | {"identifier": "dev-850-0-2", "label": "False"}])
    first, second = nlvr2.examples(tmp_path)
    assert [image.pixels[0, 0, 0] for image in first.prompt.images] == [10, 20]
    assert first.prompt.text == "There are two dogs."
    assert (first.target.text, second.target.text) == ("true", "false")
    assert first.annotation.group == "dev-850-1"


def test_pictures_of_one_sentence_are_one_group(tmp_path: Path, lines_file: Write) -> None:
    records = [
        {"identifier": f"train-7-{pair}-3", "sentence": "?", "label": "False", "directory": 12} for pair in (0, 1)
    ]
    lines_file("train.json", records)
    statements = list(nlvr2.read(tmp_path, split="train"))
    assert {one.group for one in statements} == {"train-7-3"}
    assert statements[1].images == ("12/train-7-1-img0.png", "12/train-7-1-img1.png")


def test_bad_statements_are_named(tmp_path: Path, lines_file: Write) -> None:
    with pytest.raises(InputError, match="there is no split of NLVR2 'test'"):
        nlvr2.read(tmp_path, split="test")
    lines_file("dev.json", [{"identifier": "dev-1-0-0", "sentence": "?", "label": "perhaps"}])
    with pytest.raises(InputError, match=r"dev.json, line 1: label is 'perhaps'"):
        list(nlvr2.read(tmp_path))
    lines_file("dev.json", [{"identifier": "850", "sentence": "?", "label": "True"}])
    with pytest.raises(InputError, match="identifier is '850'"):
        list(nlvr2.read(tmp_path))


def drawings(*levels: int) -> list[bytes]:
    return [encode_png(np.full((100, 400, 3), level, np.uint8)) for level in levels]


def write_table(folder: Path, **columns: list[object]) -> None:
    parquet.write_table(pa.table(columns), folder / "nlvr_dev.parquet")


def test_drawings_come_from_the_table(tmp_path: Path) -> None:
    write_table(
        tmp_path,
        identifier=["15-0", "15-1"],
        sentence=["There is a tower.", "All are blue."],
        label=[True, False],
        images=[drawings(1, 2, 3), drawings(4, 5, 6)],
    )
    first, second = nlvr.examples(tmp_path, split="dev")
    assert first.prompt.images[0].size == (400, 100) and first.prompt.images[0].pixels[0, 0, 0] == 1
    assert (first.target.text, second.target.text) == ("true", "false")
    assert first.annotation.group == second.annotation.group == "15"
    orders = list(nlvr.examples(tmp_path, split="dev", orders=2))
    assert [one.prompt.images[0].pixels[0, 0, 0] for one in orders] == [1, 2, 4, 5]
    assert len({one.id for one in orders}) == 4


def test_bad_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no split of NLVR 'test'"):
        nlvr.examples(tmp_path, split="test")
    write_table(tmp_path, identifier=["1-0"], sentence=["?"])
    with pytest.raises(InputError, match="has no column 'label'"):
        list(nlvr.examples(tmp_path, split="dev"))
    (tmp_path / "nlvr_dev.parquet").write_bytes(b"nothing")
    with pytest.raises(InputError, match="is no Parquet file"):
        list(nlvr.examples(tmp_path, split="dev"))


def test_a_block_that_is_damaged_is_named(tmp_path: Path) -> None:
    count = 200
    write_table(
        tmp_path,
        identifier=[f"{number}-0" for number in range(count)],
        sentence=["?"] * count,
        label=[True] * count,
        images=[drawings(number) for number in range(count)],
    )
    file = tmp_path / "nlvr_dev.parquet"
    content = bytearray(file.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"nlvr_dev\.parquet is no Parquet file or is damaged"):
        list(nlvr.examples(tmp_path, split="dev"))


@pytest.mark.parametrize("lacking", [{"sentence": [None]}, {"images": [None]}, {"images": [7]}])
def test_a_row_without_sentence_or_drawings_is_named(tmp_path: Path, lacking: dict[str, list[object]]) -> None:
    columns = {"identifier": ["7-0"], "sentence": ["?"], "label": [True], "images": [drawings(1)], **lacking}
    write_table(tmp_path, **columns)
    with pytest.raises(InputError, match=r"nlvr_dev\.parquet, 7-0: there is no sentence or no list of images"):
        list(nlvr.examples(tmp_path, split="dev"))


@pytest.mark.parametrize("orders", [0, 7])
def test_a_drawing_has_six_orders(tmp_path: Path, orders: int) -> None:
    with pytest.raises(InputError, match=f"orders = {orders}"):
        nlvr.examples(tmp_path, split="dev", orders=orders)


def test_the_real_tables_are_read() -> None:
    folder = Path(__file__).parents[4] / "shared" / "data"
    if not (folder / "nlvr_dev.parquet").is_file():
        pytest.skip("the NLVR tables are not here")
    dev = {example.annotation.group for example in nlvr.examples(folder, split="dev")}
    hidden = {example.annotation.group for example in nlvr.examples(folder)}
    assert len(dev) == 267 and len(hidden) == 266 and not dev & hidden
