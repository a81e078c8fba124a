"""VQAv2's accuracy: an answer is as right as people who gave it, three of ten being enough (arXiv:1505.00468).

Scored as the published evaluation script does: answers are normalised (below) only where the ten people disagree, and
the score is the mean, over the ten ways to leave one person out, of min(1, agreeing others / 3).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from koine.errors import InputError
from koine.evaluation.answers import Answer
from koine.evaluation.statistics import bootstrap

if TYPE_CHECKING:
    from koine.data.vqav2 import VqaQuestion

_PUNCTUATION = (
    ";",
    "/",
    "[",
    "]",
    '"',
    "{",
    "}",
    "(",
    ")",
    "=",
    "+",
    "\\",
    "_",
    "-",
    ">",
    "<",
    "@",
    "`",
    ",",
    "?",
    "!",
)
# Meant as "a full stop that isn't between digits"; what it says is "one that no digit follows".
_FULL_STOP = re.compile(r"(?!<=\d)(\.)(?!\d)")
_THOUSANDS = re.compile(r"\d,\d")
_FULL_STOPS_AT_MOST = 32
"""The script passes a flag in the place of the number of replacements; the flag's value is 32."""
_ARTICLES = frozenset(("a", "an", "the"))
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {"none": "0"} | {word: str(number) for number, word in enumerate(_NUMBERS)}

_CONTRACTED = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's
how'd how'll how's I'd've I'm I've isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't
not've o'clock oughtn't shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're
there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't
wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
_ODDITIES = {"ow's'at": "'ow's'at", "'ows'at": "'ow's'at", "'ow'sat": "'ow's'at", "somebody'd": "somebodyd"}
"""Entries of the published table that no rule gives."""


def _contractions() -> dict[str, str]:
    """Words that lack an apostrophe -> the word with it: all apostrophes gone, or one of two."""
    found = dict(_ODDITIES)
    for word in _CONTRACTED.split():
        places = [place for place, letter in enumerate(word) if letter == "'"]
        found[word.replace("'", "")] = word
        if len(places) > 1:
            found |= {word[:place] + word[place + 1 :]: word for place in places}
    return found


CONTRACTIONS = _contractions()


def score(answers: Sequence[Answer], questions: Sequence[VqaQuestion]) -> dict[str, float]:
    """Accuracy over all questions and by type of answer.

    Returns:
        accuracy (with _low and _high of a bootstrap interval of 95 %), and `yes/no`, `number`, `other` where there
        are such questions: 0..1.
    Raises:
        InputError: a question without people's answers, as those of the test splits are.
    """
    if unanswered := [question.id for question in questions if not question.answers]:
        raise InputError(
            f"question {unanswered[0]} has no people's answers: score val2014, or send the answers to the "
            "evaluation server (koine evaluate --set split=test2015 --out FILE writes them as it reads them)"
        )
    pairs = zip(answers, questions, strict=True)
    marks = np.array([accuracy(answer.text, question.answers) for answer, question in pairs])
    kinds = np.array([question.answer_type for question in questions])
    interval = bootstrap(marks, np.random.default_rng(0))
    by_kind = {str(kind): float(marks[kinds == kind].mean()) for kind in dict.fromkeys(kinds) if kind}
    return interval.named("accuracy") | by_kind


def submission(answers: Sequence[Answer], questions: Sequence[VqaQuestion]) -> list[dict[str, int | str]]:
    """What the evaluation server reads: a list of question_id and answer."""
    pairs = zip(answers, questions, strict=True)
    return [{"question_id": question.id, "answer": answer.text} for answer, question in pairs]


def accuracy(said: str, answers: Sequence[str]) -> float:
    """The score of one answer against those of (usually ten) people, 0..1."""
    said = _plain(said)
    given = [_plain(answer) for answer in answers]
    if len(set(given)) > 1:
        said, given = normalize(said), [normalize(answer) for answer in given]
    agreeing, people = given.count(said), len(given)
    # Leaving out one who agrees leaves agreeing - 1 others, leaving out another leaves all of them.
    shares = agreeing * min(1.0, (agreeing - 1) / 3) + (people - agreeing) * min(1.0, agreeing / 3)
    return shares / people


def normalize(answer: str) -> str:
    """An answer without punctuation, articles and capitals, numbers as digits, apostrophes where they belong."""
    text = answer
    for mark in _PUNCTUATION:
        apart = f"{mark} " in answer or f" {mark}" in answer or _THOUSANDS.search(answer) is not None
        text = text.replace(mark, "" if apart else " ")
    text = _FULL_STOP.sub("", text, count=_FULL_STOPS_AT_MOST)
    words = [_DIGITS.get(word, word) for word in text.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def soft_score(people: int) -> float:
    """What a training target gives an answer that so many of ten people gave: 0, 0.3, 0.6, 0.9, 1."""
    return min(1.0, round(0.3 * people, 1))


def _plain(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()
