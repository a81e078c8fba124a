"""POPE: yes-no questions about objects that are or aren't in a COCO picture (arXiv:2305.10355).

JSON lines with the fields question_id, image, text and label; one file for each way of choosing the absent objects:
`coco_pope_random.json`, `coco_pope_popular.json`, `coco_pope_adversarial.json`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from koine.data.annotated import AnnotatedExample
from koine.data.folders import ImageFolder, find_files
from koine.data.records import Record, json_lines
from koine.errors import InputError
from koine.sentence import Image, Sentence

CATEGORIES = ("random", "popular", "adversarial")


@dataclass(frozen=True)
class PopeQuestion:
    """One question.

    Attributes:
        category: how its absent objects were chosen, from the file's name; "" if that doesn't say.
        label: "yes" or "no".
    """

    id: str
    category: str
    image: str
    text: str
    label: str


def read(path: str | os.PathLike[str], *, category: str = "all") -> Iterator[PopeQuestion]:
    """The questions of one file, of one category's file in a folder, or of all of them.

    The questions about other data sets' pictures, which POPE publishes as `gqa_pope_seem_random.json` and so on, are
    read only if one of these files is given.

    Raises:
        InputError: no such file, an unknown category, a missing field, or a label that isn't yes or no.
    """
    if category not in ("all", *CATEGORIES):
        raise InputError.unknown("category of POPE", category, ("all", *CATEGORIES))
    pattern = "*pope_*.json*" if category == "all" else f"*pope_{category}.json*"
    files = find_files(path, pattern, what="POPE's files, such as coco_pope_random.json")
    files = [file for file in files if "pope_seem" not in file.name] or files
    return (_question(record, _category(file)) for file in files for record in json_lines(file))


def examples(
    path: str | os.PathLike[str], *, images: str | os.PathLike[str] | None = None, category: str = "all"
) -> Iterator[AnnotatedExample]:
    """The questions with their pictures; the annotation is the `PopeQuestion`.

    Args:
        images: the folder of COCO's val2014 pictures, by default `path`.
    """
    return _examples(read(path, category=category), ImageFolder(images or path))


def example(question: PopeQuestion, image: Image) -> AnnotatedExample:
    """The question as it stands."""
    return AnnotatedExample(
        prompt=Sentence(image, question.text),
        target=Sentence(question.label),
        id=f"{question.category}.{question.id}",
        task="answer.yes_no",
        annotation=question,
    )


def _examples(questions: Iterable[PopeQuestion], images: ImageFolder) -> Iterator[AnnotatedExample]:
    for question in questions:
        yield example(question, images.open(question.image))


def _question(record: Record, category: str) -> PopeQuestion:
    label = record.field("label", str)
    if label not in ("yes", "no"):
        raise InputError(f"{record.where}: label is {label!r}: POPE's labels are yes and no")
    number = str(record.values.get("question_id", record.where))
    return PopeQuestion(number, category, record.field("image", str), record.field("text", str), label)


def _category(file: Path) -> str:
    return next((category for category in CATEGORIES if file.stem.endswith(category)), "")
