"""VQAv2: open questions about COCO's pictures, each answered by ten people (arXiv:1612.00837).

The published files are `v2_OpenEnded_mscoco_<split>_questions.json` and, where the answers are public,
`v2_mscoco_<split>_annotations.json`; the pictures are COCO's, named `COCO_<split>_<id, twelve digits>.jpg`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from koine.data.annotated import AnnotatedExample
from koine.data.folders import ImageFolder, find_file
from koine.data.records import Record, json_array
from koine.errors import InputError
from koine.sentence import Image, Sentence

SPLITS = ("val2014", "train2014", "test-dev2015", "test2015")


@dataclass(frozen=True)
class VqaQuestion:
    """One question.

    Attributes:
        id: question_id of the file.
        image: the picture's file name.
        answers: what ten people wrote, as they wrote it; none where the split's answers aren't public.
        answer_type: "yes/no", "number" or "other"; "" without annotations.
    """

    id: int
    image: str
    text: str
    answers: tuple[str, ...] = ()
    answer_type: str = ""


def read(path: str | os.PathLike[str], *, split: str = "val2014") -> Iterator[VqaQuestion]:
    """The questions of a split in the order of its file.

    Raises:
        InputError: an unknown split, a missing file or field, or a question that the annotations lack.
    """
    if split not in SPLITS:
        raise InputError.unknown("split of VQAv2", split, SPLITS)
    file = find_file(path, f"*OpenEnded_mscoco_{split}_questions.json", what=f"VQAv2's questions of {split}")
    return _questions(file, split)


def examples(
    path: str | os.PathLike[str], *, images: str | os.PathLike[str] | None = None, split: str = "val2014"
) -> Iterator[AnnotatedExample]:
    """The questions with their pictures; the target is the commonest answer, the annotation the `VqaQuestion`.

    Args:
        path: the folder with questions and annotations.
        images: the folder of COCO's pictures, by default `path`.
    """
    return _examples(read(path, split=split), ImageFolder(images or path))


def example(question: VqaQuestion, image: Image) -> AnnotatedExample:
    """The question as it stands."""
    commonest = max(dict.fromkeys(question.answers), key=question.answers.count, default="")
    return AnnotatedExample(
        prompt=Sentence(image, question.text),
        target=Sentence(*([commonest] if commonest else [])),
        id=str(question.id),
        task="answer",
        annotation=question,
    )


def _examples(questions: Iterable[VqaQuestion], images: ImageFolder) -> Iterator[AnnotatedExample]:
    for question in questions:
        yield example(question, images.open(question.image))


def _questions(file: Path, split: str) -> Iterator[VqaQuestion]:
    answered = _annotations(file, split)
    pictures = "test2015" if split.startswith("test") else split  # test-dev is a part of test and shares its pictures
    for record in json_array(file, "questions.item"):
        number, text = record.field("question_id", int), record.field("question", str)
        if answered and number not in answered:
            raise InputError(f"{record.where}: the annotations have no question {number}: fetch both files again")
        answers, kind = answered.get(number, ((), ""))
        image = f"COCO_{pictures}_{record.field('image_id', int):012d}.jpg"
        yield VqaQuestion(number, image, text, answers, kind)


def _annotations(questions: Path, split: str) -> dict[int, tuple[tuple[str, ...], str]]:
    """Question -> its ten answers and their type; empty for the test splits."""
    if split.startswith("test"):
        return {}
    file = find_file(questions.parent, f"*mscoco_{split}_annotations.json", what=f"VQAv2's annotations of {split}")
    return {record.field("question_id", int): _answers(record) for record in json_array(file, "annotations.item")}


def _answers(record: Record) -> tuple[tuple[str, ...], str]:
    said = tuple(child.field("answer", str) for child in record.children("answers"))
    if not said:
        raise InputError(f"{record.where}: field 'answers' is empty: take the file as its authors published it")
    return said, record.optional("answer_type", str, "")
