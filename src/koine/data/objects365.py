"""Objects365 (COCO's format): where are the things of a class, and is a class there at all?

The questions about absent classes are Ferret's spatial negative mining (arXiv:2310.07704, section 4.3): the answer
must be no.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from koine.data.annotated import AnnotatedExample, box_region, check_size
from koine.data.coco import CocoObject, PictureObjects, read_objects
from koine.data.folders import ImageFolder, find_file
from koine.sentence import Image, Part, Sentence


def examples(
    path: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    split: str = "train",
    negatives: int = 1,
    seed: int = 0,
) -> Iterator[AnnotatedExample]:
    """Per picture one question for each class in it, and questions for classes that it lacks.

    Args:
        path: the annotation file (`zhiyuan_objv2_train.json`, `objects365_train.json`, ...), or a folder with it.
        images: the folder of the pictures, by default `path`.
        negatives: absent classes asked for per picture, drawn with `seed`.
    """
    file = find_file(path, f"*obj*_{split}.json", f"*{split}*.json", what=f"the annotations of Objects365's {split}")
    return _examples(file, ImageFolder(images or path), negatives, np.random.default_rng(seed))


def picture_examples(
    here: PictureObjects, image: Image, negatives: int, generator: np.random.Generator
) -> Iterator[AnnotatedExample]:
    """The questions about one picture; the annotation is the `PictureObjects`."""
    check_size(image, here.picture.width, here.picture.height, f"Objects365, picture {here.picture.id}")
    for name in dict.fromkeys(thing.name for thing in here.objects):
        of_class = [thing for thing in here.objects if thing.name == name]
        yield _example(here, image, name, Sentence(*_answer(of_class, image)), "ground.class")
    count = min(negatives, len(here.absent))
    for place in generator.choice(len(here.absent), size=count, replace=False):
        name = here.absent[int(place)]
        yield _example(here, image, name, Sentence(f"No, there is no {_spoken(name)} in the image."), "ground.absent")


def _examples(
    file: Path, images: ImageFolder, negatives: int, generator: np.random.Generator
) -> Iterator[AnnotatedExample]:
    for here in read_objects(file):
        yield from picture_examples(here, images.open(here.picture.name), negatives, generator)


def _example(here: PictureObjects, image: Image, name: str, answer: Sentence, task: str) -> AnnotatedExample:
    return AnnotatedExample(
        prompt=Sentence(image, f"Is there any {_spoken(name)} in the image? If so, where?"),
        target=answer,
        id=f"{here.picture.id}.{name}",
        task=task,
        annotation=here,
    )


def _answer(things: list[CocoObject], image: Image) -> Iterator[Part]:
    """Yes, and every box of the class."""
    yield f"Yes, {_spoken(things[0].name)} "
    for number, thing in enumerate(things):
        if number:
            yield " "
        yield box_region(image, thing.box)
    yield "."


def _spoken(name: str) -> str:
    """Class names such as `Wild Bird` and `Cup/Mug` as they are said."""
    return name.lower().replace("/", " or ")
