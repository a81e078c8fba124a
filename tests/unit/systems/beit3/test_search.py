"""A folder's pictures are encoded once, wherever they move; broken ones are skipped and counted."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as pil

from koine.errors import InputError
from koine.systems.beit3.search import fingerprint
from koine.systems.beit3.system import Beit3

from . import speaking


@pytest.fixture(scope="module")
def beit3(tmp_path_factory: pytest.TempPathFactory) -> Beit3:
    return speaking.system(tmp_path_factory.mktemp("beit3"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four pictures, one of them twice, and one in a folder below."""
    place = tmp_path / "pictures"
    (place / "below").mkdir(parents=True)
    (place / ".hidden").mkdir()
    for number, name in enumerate(("a.png", "b.jpg", "below/c.png", ".hidden/d.png")):
        write(place / name, number)
    (place / "again.png").write_bytes((place / "a.png").read_bytes())
    (place / "notes.txt").write_text("not a picture")
    return place


def write(path: Path, seed: int) -> None:
    pil.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)


def names(reply: object, folder: Path) -> list[str]:
    return [str(Path(path).relative_to(folder)) for path, _ in reply.details["found"]]  # type: ignore[attr-defined]


def test_the_best_come_first(beit3: Beit3, folder: Path, tmp_path: Path) -> None:
    reply = beit3.search("a red cube", folder, cache=tmp_path / "cache")
    similarities = [similarity for _, similarity in reply.details["found"]]
    assert similarities == sorted(similarities, reverse=True)
    assert sorted(names(reply, folder)) == ["a.png", "again.png", "b.jpg", "below/c.png"]
    assert reply.text.split("\n") == [path for path, _ in reply.details["found"]]
    assert len(beit3.search("a red cube", folder, count=2, cache=tmp_path / "cache").details["found"]) == 2


def test_similarities_are_those_of_the_vectors(beit3: Beit3, folder: Path, tmp_path: Path) -> None:
    from koine.sentence import Image

    for _ in range(2):  # encoded, then from the cache
        reply = beit3.search("a red cube", folder, cache=tmp_path / "cache")
        paths = [path for path, _ in reply.details["found"]]
        own = beit3.embed_images([Image.open(path) for path in paths]) @ beit3.embed_texts(["a red cube"])[0]
        assert [similarity for _, similarity in reply.details["found"]] == pytest.approx(own.tolist(), abs=1e-5)


def test_a_content_is_encoded_once(beit3: Beit3, folder: Path, tmp_path: Path) -> None:
    def encoded() -> int:
        return beit3.search("a ball", folder, cache=tmp_path / "cache").details["encoded"]

    assert encoded() == 3  # a.png and again.png are one
    assert encoded() == 0
    (folder / "b.jpg").rename(folder / "below" / "moved.jpg")
    assert encoded() == 0
    write(folder / "a.png", 9)
    assert encoded() == 1


def test_a_changed_picture_of_the_same_size_is_seen(beit3: Beit3, folder: Path, tmp_path: Path) -> None:
    beit3.search("a ball", folder, cache=tmp_path / "cache")
    path = folder / "a.png"
    before = path.stat()
    path.write_bytes((folder / "below" / "c.png").read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    reply = beit3.search("a ball", folder, cache=tmp_path / "cache")
    found = dict(zip(names(reply, folder), (similarity for _, similarity in reply.details["found"]), strict=True))
    assert found["a.png"] == found["below/c.png"] != found["again.png"]


def test_other_weights_have_another_cache(beit3: Beit3, folder: Path, tmp_path: Path) -> None:
    other = speaking.system(tmp_path)
    assert fingerprint(other.model) == fingerprint(beit3.model)
    with torch.no_grad():
        other.model.beit3.text_embed.weight[5, 3] += 1e-3
    assert fingerprint(other.model) != fingerprint(beit3.model)
    beit3.search("a ball", folder, cache=tmp_path / "cache")
    assert other.search("a ball", folder, cache=tmp_path / "cache").details["encoded"] == 3


def test_a_broken_picture_is_skipped_and_counted(beit3: Beit3, folder: Path, tmp_path: Path) -> None:
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:100])
    reply = beit3.search("a ball", folder, cache=tmp_path / "cache")
    assert reply.details["pictures"] == 4
    [(path, reason)] = reply.details["skipped"]
    assert path.endswith("broken.png") and "broken.png" in reason


def test_nothing_to_search_is_refused(beit3: Beit3, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no folder .*nowhere: give a folder of pictures"):
        beit3.search("a ball", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no pictures"):
        beit3.search("a ball", tmp_path / "empty")
    (tmp_path / "empty" / "x.png").write_text("no")
    with pytest.raises(InputError, match=r"none of the 1 pictures in .* can be read"):
        beit3.search("a ball", tmp_path / "empty", cache=tmp_path / "cache")
    with pytest.raises(InputError, match="count = 0"):
        beit3.search("a ball", tmp_path, count=0)
    with pytest.raises(InputError, match="has no retrieval head"):
        speaking.system(tmp_path, heads=["vqa"]).search("a ball", tmp_path)


def test_a_damaged_cache_is_made_again(beit3: Beit3, folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    before = beit3.search("a ball", folder, cache=cache).details["found"]
    [vectors], [files] = cache.rglob("vectors.npz"), cache.rglob("files.json")
    for damage in (
        lambda: vectors.write_bytes(vectors.read_bytes()[:50]),
        lambda: files.write_text("[1, 2]"),
        lambda: files.write_text("{"),
        lambda: files.write_text(json.dumps({str(folder / "a.png"): 7})),
    ):
        damage()
        reply = beit3.search("a ball", folder, cache=cache)
        assert reply.details["encoded"] == 3 and reply.details["found"] == before


def test_nothing_is_written_among_the_pictures(beit3: Beit3, folder: Path, tmp_path: Path) -> None:
    before = sorted(folder.rglob("*"))
    beit3.search("a ball", folder, cache=tmp_path / "cache")
    assert sorted(folder.rglob("*")) == before


def test_no_picture_is_read_for_a_text_that_says_nothing(beit3: Beit3, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no text to read"):
        beit3.search(" ", folder, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
