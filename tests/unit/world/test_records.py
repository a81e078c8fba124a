from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from koine.errors import InputError
from koine.world.records import DEPTH_UNIT, TASKS, checked_tasks, depth_png, drawn, record, schema


@pytest.fixture(scope="module")
def rows():
    scenes = [drawn(seed, "train", "any", 48) for seed in range(6)]
    return scenes, [record(*scenes[i], previous=scenes[i - 1] if i else None) for i in range(6)]


def decoded(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_pictures_survive_as_png(rows) -> None:
    for (_, view), row in zip(*rows, strict=True):
        assert np.array_equal(decoded(row["image"]), view.image)
        assert np.array_equal(decoded(row["mask"]).astype(int) - 1, view.instance)
        depth = decoded(row["depth"]) * DEPTH_UNIT
        near = np.isfinite(view.depth) & (view.depth < 6.5)
        assert np.abs(depth - view.depth)[near].max() <= DEPTH_UNIT / 2 + 1e-6


def test_depth_that_does_not_fit_is_zero() -> None:
    depth = np.array([[0.5, np.inf, 6.5535, 6.56, 100.0, 0.0]], np.float32)
    assert decoded(depth_png(depth)).tolist() == [[5000, 0, 65535, 0, 0, 0]]


def test_boxes_and_things_are_those_of_the_scene(rows) -> None:
    for (scene, view), row in zip(*rows, strict=True):
        assert row["id"] == f"train-{scene.seed:08d}"
        for index, thing in enumerate(row["things"]):
            assert thing["box"] == view.boxes[index].tolist()
            assert thing["grain"] == scene.things[index].grain
            assert (thing["shape"], thing["on"], thing["inside"]) == (
                scene.things[index].shape,
                scene.things[index].on,
                scene.things[index].inside,
            )


def test_rows_fit_the_schema(rows) -> None:
    table = pa.Table.from_pylist(rows[1], schema=schema())
    back = table.to_pylist()
    for row, again in zip(rows[1], back, strict=True):
        assert set(again) == set(row)
        for key in ("captions", "grounding", "questions", "statements", "pairs", "edits", "german"):
            assert again[key] == row[key], key  # nothing is lost because the schema lacks it


def test_pairs_need_a_picture_before(rows) -> None:
    assert rows[1][0]["pairs"] == []
    for previous, row in zip(rows[1], rows[1][1:], strict=False):
        assert row["pairs"] and all(pair["left"] == previous["id"] for pair in row["pairs"])


def test_edits_hold_the_picture_and_the_scene_after(rows) -> None:
    for row in rows[1]:
        assert len(row["edits"]) == 2
        assert len({change["kind"] for change in row["edits"]}) == 2
        for change in row["edits"]:
            assert decoded(change["image"]).shape == (48, 48, 3)
            assert change["image"] != row["image"]
            assert json.loads(change["scene"])["seed"] == row["seed"]


def test_a_text_does_not_change_with_the_tasks_around_it(rows) -> None:
    scene, view = rows[0][2]
    for task in ("questions", "alt_text", "edits"):
        alone = record(scene, view, tasks=[task])
        assert alone[task] == rows[1][2][task]
        assert set(alone) & set(TASKS) == {task}


def test_tasks_are_put_in_order_and_unknown_ones_are_named() -> None:
    assert checked_tasks(["german", "captions"]) == ("captions", "german")
    with pytest.raises(InputError, match="'caption'"):
        checked_tasks(["caption"])
