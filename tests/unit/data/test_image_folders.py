"""Pictures alone: folders with and without classes, and image data sets in parquet files."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as pil

from koine import InputError
from koine.data.image_folders import examples, open_pictures, open_together
from koine.data.labelled_files import FilesInParquet


def write_picture(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pil.new("RGB", (5, 4), (level, level, level)).save(path)


def levels(path: Path, **options: str) -> list[int]:
    pictures = open_pictures(path, **options)  # type: ignore[arg-type]
    return [int(pictures.open(index).pixels[0, 0, 0]) for index in range(len(pictures))]


def test_folders_of_the_first_level_are_classes(tmp_path: Path) -> None:
    for level, name in enumerate(("dog/deep/b.png", "cat/a.png", "cat/c.PNG")):
        write_picture(tmp_path / name, level)
    pictures = open_pictures(tmp_path)
    assert pictures.classes == ["cat", "dog"] and levels(tmp_path) == [1, 2, 0]
    assert [pictures.where(index).label for index in range(3)] == [0, 0, 1]
    assert [example.target.text for example in examples(tmp_path)] == ["cat", "cat", "dog"]


def test_pictures_beside_each_other_have_no_classes(tmp_path: Path) -> None:
    write_picture(tmp_path / "00001.png", 7)
    write_picture(tmp_path / "more" / "00002.png", 8)
    (tmp_path / "notes.txt").write_text("no picture")
    [first, second] = examples(tmp_path)
    assert not first.target and first.id == "00001.png" and second.annotation.label is None


def test_a_split_is_a_folder_of_its_name(tmp_path: Path) -> None:
    write_picture(tmp_path / "train" / "cat" / "a.png", 1)
    write_picture(tmp_path / "val" / "cat" / "b.png", 2)
    assert levels(tmp_path, split="val") == [2] and open_pictures(tmp_path, split="val").classes == ["cat"]


def test_collections_are_opened_one_after_another(tmp_path: Path) -> None:
    for level, name in enumerate(("first/cat/a.png", "first/dog/b.png", "second/c.png", "third/dog/d.png")):
        write_picture(tmp_path / name, level)
    pictures = open_together([tmp_path / name for name in ("first", "second", "third")])
    assert [int(pictures.open(index).pixels[0, 0, 0]) for index in range(len(pictures))] == [0, 1, 2, 3]
    assert [pictures.where(index).name for index in range(4)] == ["cat/a.png", "dog/b.png", "c.png", "dog/d.png"]
    assert pictures.classes == ["cat", "dog"]


def test_a_class_of_a_later_collection_is_the_firsts_of_that_name(tmp_path: Path) -> None:
    for level, name in enumerate(("first/cat/a.png", "first/dog/b.png", "second/dog/c.png", "second/eel/d.png")):
        write_picture(tmp_path / name, level)
    pictures = open_together([tmp_path / "first", tmp_path / "second"])
    assert [pictures.where(index).label for index in range(4)] == [0, 1, 1, None]


def test_hidden_folders_are_passed_over(tmp_path: Path) -> None:
    for level, name in enumerate(("cat/a.png", ".trash/b.png", "cat/.thumbnails/c.png")):
        write_picture(tmp_path / name, level)
    assert levels(tmp_path) == [0] and open_pictures(tmp_path).classes == ["cat"]


def write_parquet(path: Path, first: int, count: int, *, names: bool = True) -> None:
    rows = []
    for level in range(first, first + count):
        file = io.BytesIO()
        pil.new("RGB", (5, 4), (level, level, level)).save(file, "PNG")
        rows.append({"image": {"bytes": file.getvalue(), "path": f"{level}.png"}, "label": level % 2})
    features = {"label": {"_type": "ClassLabel", "names": ["even", "odd"]}} if names else {}
    table = pa.Table.from_pylist(rows)
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata(metadata), path, row_group_size=3)


def test_an_image_data_set_is_read_in_any_order(tmp_path: Path) -> None:
    write_parquet(tmp_path / "data" / "train-00000-of-00002.parquet", 0, 7)
    write_parquet(tmp_path / "data" / "train-00001-of-00002.parquet", 7, 4)
    write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", 100, 2)
    assert levels(tmp_path, split="train") == list(range(11))
    assert levels(tmp_path, split="test") == [100, 101]
    pictures = open_pictures(tmp_path, split="train")
    assert isinstance(pictures, FilesInParquet)
    for index in (10, 0, 6, 7, 3):
        assert pictures.open(index).pixels[0, 0, 0] == index and pictures.where(index).label == index % 2
    assert [example.target.text for example in examples(tmp_path, split="test")] == ["even", "odd"]


def test_pictures_in_a_column_of_another_name_are_found(tmp_path: Path) -> None:
    """CIFAR-10's is called img."""
    write_parquet(tmp_path / "train.parquet", 5, 4)
    table = pq.read_table(tmp_path / "train.parquet")
    renamed = table.rename_columns(["img", "label"]).replace_schema_metadata(table.schema.metadata)
    pq.write_table(renamed, tmp_path / "train.parquet")
    pictures = open_pictures(tmp_path)
    assert levels(tmp_path) == [5, 6, 7, 8] and pictures.classes == ["even", "odd"]
    assert [pictures.where(index).label for index in range(4)] == [1, 0, 1, 0]
    both = table.append_column("mask", table["image"]).rename_columns(["img", "label", "mask"])
    pq.write_table(both, tmp_path / "train.parquet")
    with pytest.raises(InputError, match=r"no column 'image' but \['img', 'label', 'mask'\]"):
        open_pictures(tmp_path)


def test_labels_without_names_are_no_classes(tmp_path: Path) -> None:
    write_parquet(tmp_path / "all.parquet", 0, 2, names=False)
    pictures = open_pictures(tmp_path / "all.parquet")
    assert pictures.classes == [] and pictures.where(1).label is None


def test_labels_in_words_are_classes(tmp_path: Path) -> None:
    write_parquet(tmp_path / "all.parquet", 0, 3, names=False)
    table = pq.read_table(tmp_path / "all.parquet")
    pq.write_table(table.set_column(1, "label", pa.array(["dog", None, "cat"])), tmp_path / "all.parquet")
    pictures = open_pictures(tmp_path)
    assert pictures.classes == ["cat", "dog"] and [pictures.where(index).label for index in range(3)] == [1, None, 0]


def test_a_damaged_picture_in_a_table_is_named(tmp_path: Path) -> None:
    write_parquet(tmp_path / "all.parquet", 0, 2)
    table = pq.read_table(tmp_path / "all.parquet")
    damaged = pa.array([{"bytes": b"no picture", "path": "a.png"}, {"bytes": None, "path": "b.png"}])
    pq.write_table(table.set_column(0, "image", damaged), tmp_path / "all.parquet")
    with pytest.raises(InputError, match=r"picture 0 of .*: cannot read the image"):
        open_pictures(tmp_path).open(0)
    with pytest.raises(InputError, match=r"picture 1 of .* is not inside of its file"):
        open_pictures(tmp_path).open(1)


def test_a_label_below_zero_is_none(tmp_path: Path) -> None:
    """Test splits whose labels are kept secret hold -1."""
    write_parquet(tmp_path / "test.parquet", 0, 2)
    table = pq.read_table(tmp_path / "test.parquet")
    secret = table.set_column(1, "label", pa.array([-1, 1])).replace_schema_metadata(table.schema.metadata)
    pq.write_table(secret, tmp_path / "test.parquet")
    assert [open_pictures(tmp_path).where(index).label for index in range(2)] == [None, 1]


def test_a_table_without_rows_is_bad_input(tmp_path: Path) -> None:
    write_parquet(tmp_path / "full.parquet", 0, 2)
    pq.write_table(pq.read_table(tmp_path / "full.parquet").slice(0, 0), tmp_path / "full.parquet")
    with pytest.raises(InputError, match=r"full\.parquet holds no pictures"):
        open_pictures(tmp_path)


def test_where_there_are_no_pictures_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        open_pictures(tmp_path / "nothing")
    with pytest.raises(InputError, match="holds no pictures"):
        open_pictures(tmp_path)
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "texts.parquet")
    with pytest.raises(InputError, match="has no column 'image'"):
        open_pictures(tmp_path)
    (tmp_path / "texts.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match="not a readable parquet file"):
        open_pictures(tmp_path)
