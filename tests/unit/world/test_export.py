from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from koine.errors import InputError
from koine.world import export as room
from koine.world.export import export
from koine.world.things import HELD_OUT


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "out"
    export(folder, "train", 7, seed=3, size=32, shard=3)
    return export(folder, "heldout", 2, size=32)


def test_every_scene_is_a_row_of_a_shard(exported) -> None:
    shards = sorted(exported.glob("data/train-*.parquet"))
    assert [shard.name for shard in shards] == [f"train-{i:05d}-of-00003.parquet" for i in range(3)]
    tables = [pq.read_table(shard) for shard in shards]
    assert [len(table) for table in tables] == [3, 3, 1]
    assert [seed for table in tables for seed in table["seed"].to_pylist()] == list(range(3, 10))


def test_pairs_cross_shards(exported) -> None:
    second = pq.read_table(exported / "data/train-00001-of-00003.parquet").to_pylist()[0]
    assert {pair["left"] for pair in second["pairs"]} == {"train-00000005"}


def test_the_card_says_what_is_there(exported) -> None:
    card = (exported / "README.md").read_text("utf-8")
    assert "path: data/train-*.parquet" in card and "split: heldout" in card
    assert "license: apache-2.0" in card
    things = sum(len(row) for row in pq.read_table(exported / "data")["things"].to_pylist())
    train = json.loads((exported / "train.json").read_text())
    heldout = json.loads((exported / "heldout.json").read_text())
    assert train["counts"]["things"] + heldout["counts"]["things"] == things
    assert f"| train | 7 | {train['counts']['things']} | 3 to 9 | any | 32x32 | parquet |" in card
    assert all(f"{colour} {shape}" in card for colour, shape in HELD_OUT)
    questions = sum(len(row) for row in pq.read_table(exported / "data")["questions"].to_pylist())
    assert train["counts"]["questions"] + heldout["counts"]["questions"] == questions


def test_nothing_else_is_left_behind(exported) -> None:
    assert not [name for name in files(exported) if Path(name).name.startswith(".")]


def test_the_number_of_workers_changes_nothing(tmp_path, exported) -> None:
    export(tmp_path / "two", "train", 7, seed=3, size=32, shard=3, workers=2)
    two = files(tmp_path / "two")
    assert two["data/train-00001-of-00003.parquet"] == files(exported)["data/train-00001-of-00003.parquet"]
    assert {name for name in two if "train" in name} == {name for name in files(exported) if "train" in name}


def test_a_stopped_export_is_taken_up(tmp_path, exported, monkeypatch) -> None:
    """A power cut after the first shard: the second call writes the other two only."""
    written: list[int] = []
    whole = room._write_shard

    def until_the_lights_go_out(plan, number: int) -> int:
        if written:
            raise KeyboardInterrupt
        written.append(number)
        return whole(plan, number)

    options = {"split": "train", "n": 7, "seed": 3, "size": 32, "shard": 3}
    monkeypatch.setattr(room, "_write_shard", until_the_lights_go_out)
    with pytest.raises(KeyboardInterrupt):
        export(tmp_path / "out", **options)
    assert not (tmp_path / "out" / "README.md").exists()

    def noted(plan, number: int) -> int:
        written.append(number)
        return whole(plan, number)

    monkeypatch.setattr(room, "_write_shard", noted)
    export(tmp_path / "out", **options)
    assert written == [0, 1, 2]
    mine, theirs = files(tmp_path / "out"), files(exported)
    assert all(mine[name] == theirs[name] for name in mine if "train" in name)


def test_an_export_that_never_wrote_a_shard_leaves_nothing(tmp_path, monkeypatch) -> None:
    def full(plan, number: int) -> int:
        raise InputError("cannot write it: No space left on device")

    monkeypatch.setattr(room, "_write_shard", full)
    with pytest.raises(InputError, match="No space left"):
        export(tmp_path / "made" / "out", "test", 2, size=16)
    assert list(tmp_path.iterdir()) == []


def test_a_finished_export_is_not_written_again_but_mended(tmp_path) -> None:
    options = {"split": "test", "n": 4, "size": 16, "shard": 2, "tasks": ("captions",)}
    export(tmp_path, **options)
    before = files(tmp_path)
    done: list[int] = []
    (tmp_path / "data/test-00001-of-00002.parquet").unlink()
    export(tmp_path, **options, progress=lambda scenes, total: done.append(scenes))
    assert done == [2, 4]
    assert files(tmp_path) == before


def test_a_folder_with_other_options_is_refused(tmp_path) -> None:
    export(tmp_path, "test", 2, size=16, tasks=("captions",))
    before = files(tmp_path)
    with pytest.raises(InputError, match="exported with another n: give another folder"):
        export(tmp_path, "test", 3, size=16, tasks=("captions",))
    assert files(tmp_path) == before


def test_webdataset_samples_share_a_name(tmp_path) -> None:
    export(tmp_path, "test", 3, size=16, format="webdataset", shard=2, tasks=("captions", "edits"))
    with tarfile.open(tmp_path / "data/test-000000.tar") as archive:
        names = archive.getnames()
        text = json.loads(archive.extractfile("test-00000001.json").read())  # type: ignore[union-attr]
    parts = {name.split(".", 1)[1] for name in names if name.startswith("test-00000001.")}
    assert {"image.png", "mask.png", "depth.png", "json", "edit0.png"} <= parts
    assert names[0].startswith("test-00000000.") and names[-1].startswith("test-00000001.")
    assert len(text["captions"]) == 3 and text["seed"] == 1 and "image" not in text
    assert "path: data/test-*.tar" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "trian"}, "did you mean 'train'"),
        ({"kind": "heap"}, "'heap'"),
        ({"format": "csv"}, "'csv'"),
        ({"tasks": ("poems",)}, "'poems'"),
        ({"n": 0}, "export n 0 is too small"),
        ({"workers": 0}, "export workers 0 is too small"),
        ({"seed": -1}, "export seed -1 is too small"),
        ({"size": 4}, "export size 4 is out of range"),
    ],
)
def test_bad_options_are_named_before_anything_is_written(tmp_path, options, message) -> None:
    with pytest.raises(InputError, match=message):
        export(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_index_is_named(tmp_path) -> None:
    (tmp_path / "train.json").write_text("[]")
    with pytest.raises(InputError, match=r"train\.json is not the index of an export"):
        export(tmp_path, "train", 1, size=16)
