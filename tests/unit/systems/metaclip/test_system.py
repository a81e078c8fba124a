"""Naming and finding pictures, with the nano CLIP that ships with the package in place of MetaCLIP's own weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as pil

from koine.errors import InputError
from koine.foundations.clip import MEAN, STD, Clip
from koine.sentence import Audio, Image
from koine.systems.metaclip.processor import MetaClipProcessor
from koine.systems.metaclip.single_things import TEMPLATES
from koine.systems.metaclip.system import MetaClip
from koine.systems.metaclip.weights import NANO_WEIGHTS
from koine.systems.metaclip.world_web import photographs
from koine.systems.metaclip.zero_shot import ZeroShotTask
from koine.world.alt_text import concept, concepts
from koine.world.render import render
from koine.world.scene import sample_scene

NANO_CLIP = Path(__file__).parents[4] / "src" / "koine" / "weights" / "clip"
pytestmark = pytest.mark.skipif(not NANO_CLIP.is_dir(), reason="the nano CLIP is not in this build")


@pytest.fixture(scope="module")
def metaclip() -> MetaClip:
    return MetaClip.load(NANO_CLIP)


def picture(seed: int) -> tuple[Image, str]:
    """A picture of one thing, and its colour and shape."""
    scene = sample_scene(seed, split="test", kind="single")
    return Image(render(scene, 64).image), f"{scene.things[0].colour} {scene.things[0].shape}"


def test_a_picture_gets_the_label_that_fits(metaclip: MetaClip) -> None:
    right = 0
    for seed in range(12):
        image, name = picture(seed)
        labels = list(dict.fromkeys([name, "red cube", "blue ball", "green ring", "white cone"]))
        reply = metaclip.respond(image, labels=sorted(labels), templates=("a {}", "a picture of a {}"))
        chances = list(reply.details["probabilities"].values())
        assert chances == sorted(chances, reverse=True) and sum(chances) == pytest.approx(1, abs=1e-5)
        assert next(iter(reply.details["probabilities"])) == reply.text
        right += reply.text == name
    assert right >= 9


def test_labels_may_come_as_text(metaclip: MetaClip) -> None:
    image, _ = picture(0)
    by_text = metaclip.respond(image, " red cube, blue ball,, red cube")
    assert by_text == metaclip.respond(image, labels=["red cube", "blue ball"])
    assert set(by_text.details["probabilities"]) == {"red cube", "blue ball"}


def test_the_picture_that_a_text_describes_is_found(metaclip: MetaClip) -> None:
    pictures = [picture(seed) for seed in range(20)]
    distinct = list({name: image for image, name in pictures}.items())
    images = [image for _, image in distinct]
    found = 0
    for place, (name, _) in enumerate(distinct):
        reply = metaclip.respond(*images, f"a {name}")
        assert reply.image == images[reply.details["index"]]
        found += reply.details["index"] == place
    assert found >= 0.7 * len(distinct)


def test_vectors_are_those_of_the_network(metaclip: MetaClip) -> None:
    images = [picture(seed)[0] for seed in range(3)]
    clip = Clip.load(NANO_CLIP)
    assert torch.allclose(metaclip.embed_images(images, batch_size=2), clip.embed_images(images), atol=1e-5)
    texts = ["a red cube", "a ball"]
    assert torch.allclose(metaclip.embed_texts(texts, batch_size=1), clip.embed_texts(texts), atol=1e-5)


def test_a_task_is_scored(metaclip: MetaClip) -> None:
    pictures = [picture(seed) for seed in range(10)]
    names = sorted({name for _, name in pictures})
    task = ZeroShotTask([[name] for name in names], ["a {}"])
    labels = [names.index(name) for _, name in pictures]
    assert metaclip.zero_shot([image for image, _ in pictures], labels, task) > 0.5


@pytest.mark.parametrize("mode", ["RGBA", "L", "P"])
def test_pictures_of_every_mode_and_shape(metaclip: MetaClip, mode: str) -> None:
    for size in ((1, 1), (300, 20), (64, 65)):
        assert metaclip.embed_images([Image.from_pil(pil.new(mode, size))]).shape == (1, 128)


def test_preprocessing_keeps_the_middle() -> None:
    processor = MetaClipProcessor(None, image_size=4, end_id=0)
    wide = np.zeros((4, 12, 3), np.uint8)
    wide[:, 4:8] = 255
    found = processor.pixel_values([Image(wide)])[0]
    white = (1 - torch.tensor(MEAN)) / torch.tensor(STD)
    assert torch.allclose(found, white[:, None, None].expand(3, 4, 4))
    tall = processor.pixel_values([Image(np.zeros((41, 20, 3), np.uint8))])
    assert tall.shape == (1, 3, 4, 4)


def test_what_can_not_be_asked(metaclip: MetaClip) -> None:
    image, other = picture(0)[0], picture(1)[0]
    for parts, options, message in (
        ((), {}, "at least one picture"),
        (("a cube",), {}, "at least one picture"),
        ((image,), {}, "nothing to name"),
        ((image,), {"labels": " , "}, "nothing to name"),
        ((image, other), {}, "several pictures"),
        ((image, other, "a cube"), {"labels": ["a"]}, "several pictures"),
        ((image, Audio(np.zeros(4, np.float32), 16_000)), {}, "Audio"),
        ((image, "a"), {"templates": ("no place",)}, "template"),
    ):
        with pytest.raises(InputError, match=message):
            metaclip.respond(*parts, **options)


def test_texts_apart_are_labels_apart(metaclip: MetaClip) -> None:
    image, _ = picture(0)
    assert metaclip.respond(image, "red cube", "blue ball") == metaclip.respond(image, labels=["red cube", "blue ball"])


@pytest.mark.skipif(not NANO_WEIGHTS.is_dir(), reason="MetaCLIP's nano weights are not in this build")
def test_the_shipped_weights_name_most_things() -> None:
    metaclip, right = MetaClip.load(), 0
    for seed in range(100, 120):
        scene = sample_scene(seed, split="test", kind="single")
        view = render(scene, 64)
        near = Image(photographs(view.image[None], np.zeros(1, int), view.boxes[:1], np.full(1, 1.3), side=64)[0])
        right += metaclip.respond(near, labels=concepts(), templates=TEMPLATES).text == concept(scene.things[0])
    assert right >= 10  # of 20, among 48 names


def test_nano_weights_that_are_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("koine.systems.metaclip.system.NANO_WEIGHTS", tmp_path / "none")
    with pytest.raises(InputError, match="make nano"):
        MetaClip.load("nano")
