"""Ferret-Bench: 120 questions about regions of COCO pictures, judged by a language model (arXiv:2310.07704, 5.4).

Published in apple/ml-ferret as `ferret_gpt4_data`: a folder per category with `question.jsonl`, `answer.jsonl` (the
reference answers), `context.jsonl` (a textual scene for the judge), and above them `rule.json` (what the judge is
told). Boxes in questions are fractions 0..1.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from koine.data.annotated import AnnotatedExample, fraction_region
from koine.data.folders import ImageFolder, folders_below
from koine.data.records import json_lines, read_object
from koine.errors import InputError
from koine.sentence import Image, Part, Region, Sentence

FOLDERS = {
    "refer_desc": ("refer_desc", "refer_caption"),
    "refer_reason": ("refer_reason",),
    "ground_conv": ("ground_conv",),
}
"""Category -> names of its folder; the description task is called `refer_caption` in the published folder."""

_BRACKETS = re.compile(r"\[([^\[\]]*)\]")


@dataclass(frozen=True)
class BenchQuestion:
    """One question.

    Attributes:
        text: the question, boxes as `[0.621, 0.082, 0.772, 0.132]`.
        context: the textual scene that the judge reads.
        reference: the answer that the judge compares with.
        rule: what the published file tells the judge; "" if the folder has no `rule.json`.
    """

    id: str
    category: str
    image: str
    text: str
    context: str
    reference: str
    rule: str = ""


def read(path: str | os.PathLike[str], *, category: str = "all") -> Iterator[BenchQuestion]:
    """The questions of one category or of all three.

    Raises:
        InputError: an unknown category, a folder or file is missing, or a question has no reference or context.
    """
    if category not in ("all", *FOLDERS):
        raise InputError.unknown("category of Ferret-Bench", category, ("all", *FOLDERS))
    root = Path(path)
    if not root.is_dir():
        raise InputError(f"there is no folder {root}: give the folder ferret_gpt4_data of apple/ml-ferret")
    below = folders_below(root)
    names = list(FOLDERS) if category == "all" else [category]
    return (question for name in names for question in _read_category(name, _folder(below, name)))


def examples(
    path: str | os.PathLike[str], *, images: str | os.PathLike[str] | None = None, category: str = "all"
) -> Iterator[AnnotatedExample]:
    """The questions with their pictures, boxes as regions; the annotation is the `BenchQuestion`.

    Args:
        images: the folder of COCO's val2017 pictures, by default `path`.
    """
    return _examples(read(path, category=category), ImageFolder(images or path))


def example(question: BenchQuestion, image: Image) -> AnnotatedExample:
    """The question with its boxes turned into regions; the reference answer is the target, as text."""
    return AnnotatedExample(
        prompt=Sentence(image, *_parts(question.text, image)),
        target=Sentence(question.reference),
        id=f"{question.category}.{question.id}",
        task=question.category,
        annotation=question,
    )


def _examples(questions: Iterable[BenchQuestion], images: ImageFolder) -> Iterator[AnnotatedExample]:
    for question in questions:
        yield example(question, images.open(question.image))


def _folder(folders: list[Path], category: str) -> Path:
    for name in FOLDERS[category]:
        for folder in folders:
            if folder.name == name and (folder / "question.jsonl").is_file():
                return folder
    wanted = " or ".join(f"{name}/question.jsonl" for name in FOLDERS[category])
    raise InputError(f"{folders[0]} holds no {wanted}: give the folder ferret_gpt4_data of apple/ml-ferret")


def _read_category(category: str, folder: Path) -> Iterator[BenchQuestion]:
    answers = {str(line.values.get("question_id")): line for line in json_lines(folder / "answer.jsonl")}
    contexts = {line.field("image", str): line for line in json_lines(folder / "context.jsonl")}
    rule = _rule(category, folder)
    for line in json_lines(folder / "question.jsonl"):
        number, image = str(line.values.get("question_id")), line.field("image", str)
        if number not in answers or image not in contexts:
            lacking = "answer.jsonl" if number not in answers else "context.jsonl"
            raise InputError(f"{folder.name}, {line.where}: {lacking} has nothing for question {number} on {image}")
        yield BenchQuestion(
            id=number,
            category=category,
            image=image,
            text=line.field("text", str),
            context=contexts[image].field("text", str),
            reference=answers[number].field("text", str),
            rule=rule,
        )


def _rule(category: str, folder: Path) -> str:
    """The judge's instruction from `rule.json` in the folder or above it, if there is one."""
    for place in (folder, folder.parent):
        if (place / "rule.json").is_file():
            rules = read_object(place / "rule.json")
            entry = rules.optional(category, dict, {})
            return str(entry.get("prompt", ""))
    return ""


def _parts(text: str, image: Image) -> Iterator[Part]:
    """The question cut at its boxes; brackets that hold anything else stay text."""
    end = 0
    for match in _BRACKETS.finditer(text):
        if (region := _region(match[1], image)) is not None:
            if match.start() > end:
                yield text[end : match.start()]
            yield region
            end = match.end()
    if text[end:]:
        yield text[end:]


def _region(numbers: str, image: Image) -> Region | None:
    try:
        edges = [float(number) for number in numbers.split(",")]
    except ValueError:
        return None
    return fraction_region(image, edges) if len(edges) == 4 else None
