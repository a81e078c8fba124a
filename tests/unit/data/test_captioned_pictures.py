"""Pictures with captions: lists as published and as the hub has them, and tables."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as pil

from koine import InputError
from koine.data.captioned_pictures import open_together


def write_picture(path: Path, level: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pil.new("RGB", (5, 4), (level, level, level)).save(path)
    return path


def read(*paths: Path, images: Path | None = None) -> list[tuple[int, tuple[str, ...]]]:
    """The level and the captions of each picture."""
    pictures = open_together(paths, images=images)
    found = [pictures.open(index) for index in range(len(pictures))]
    return [(int(one.image.pixels[0, 0, 0]), one.captions) for one in found]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for level in (1, 2):
        write_picture(tmp_path / "pictures" / f"{level}.png", level)
    return tmp_path / "pictures"


def test_cocos_captions(pictures: Path, tmp_path: Path) -> None:
    images = [{"id": level, "file_name": f"{level}.png", "width": 5, "height": 4} for level in (1, 2)]
    said = [{"image_id": level, "caption": text} for level, text in ((1, "one"), (2, "two"), (1, "first "))]
    file = tmp_path / "annotations" / "captions_val2017.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"images": images, "annotations": said}))
    expected = [(1, ("one", "first")), (2, ("two",))]
    assert read(file, images=pictures) == expected and read(tmp_path) == expected, "as COCO's folders lie"


def test_karpathys_division_is_read_for_training(pictures: Path) -> None:
    listed = [
        {"filename": f"{level}.png", "split": split, "sentences": [{"raw": f"of {level}"}]}
        for level, split in ((1, "restval"), (2, "test"))
    ]
    (pictures / "dataset_flickr30k.json").write_text(json.dumps({"images": listed}))
    assert read(pictures) == [(1, ("of 1",))]


def test_a_list_beside_pictures_as_the_hub_has_it(pictures: Path) -> None:
    lines = [{"file_name": "2.png", "text": "two"}, {"file_name": "1.png", "captions": ["one", "first"]}]
    (pictures / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert read(pictures) == [(2, ("two",)), (1, ("one", "first"))]


def test_tables_hold_pictures_or_paths(pictures: Path, tmp_path: Path) -> None:
    encoded = []
    for level in (7, 8):
        file = io.BytesIO()
        pil.new("RGB", (5, 4), (level, level, level)).save(file, "PNG")
        encoded.append({"bytes": file.getvalue(), "path": None})
    pq.write_table(pa.table({"image": encoded, "caption": [["seven", "7"], ["eight"]]}), tmp_path / "held.parquet")
    assert read(tmp_path / "held.parquet") == [(7, ("seven", "7")), (8, ("eight",))]
    pq.write_table(pa.table({"image": ["2.png", "1.png"], "text": ["two", "one"]}), tmp_path / "named.parquet")
    assert read(tmp_path / "named.parquet", images=pictures) == [(2, ("two",)), (1, ("one",))]
    both = read(tmp_path / "held.parquet", tmp_path / "named.parquet", images=pictures)
    assert [level for level, _ in both] == [7, 8, 2, 1]


def test_what_has_no_captions_is_bad_input(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no captions_train\*.json and no"):
        open_together([pictures])
    (pictures / "metadata.jsonl").write_text("")
    with pytest.raises(InputError, match="names no pictures with captions"):
        open_together([pictures])
    (pictures / "metadata.jsonl").write_text(json.dumps({"file_name": "1.png", "label": 3}))
    with pytest.raises(InputError, match=r"metadata.jsonl, line 1 has no caption but \[\]"):
        open_together([pictures])
    (pictures / "metadata.jsonl").write_text(json.dumps({"file_name": "9.png", "text": "nine"}))
    with pytest.raises(InputError, match=r"there is no picture '9.png'"):
        open_together([pictures]).open(0)
    pq.write_table(pa.table({"image": ["1.png"], "text": [""]}), tmp_path / "empty.parquet")
    with pytest.raises(InputError, match=r"row 0 of .* has no caption"):
        open_together([tmp_path / "empty.parquet"], images=pictures).open(0)
