"""LVIS referring object classification: which of two classes is the thing that was pointed at?

Ferret's protocol (arXiv:2310.07704, section 5.1; table "refer"): one true class, one wrong class, chance 50 %. Two ways
of matching are reported:

- `published`: negated parts of the answer are deleted, then any name of the class counts if it occurs anywhere, even
  inside another word ("ant" in "plant"), in its exact case. Figures of papers are of this kind.
- `whole_words`: names count as whole words in any case, negations at the start of a sentence are deleted too, and an
  answer that names the wrong class as well is wrong. This is what the task means.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from koine.evaluation.answers import Answer
from koine.evaluation.statistics import wilson

if TYPE_CHECKING:
    from koine.data.lvis_referring import ReferredObject

_NEGATED = (re.compile(r"\s+not[^,.]*[,.]"), re.compile(r"\s+no[^,.]*[,.]"))
_DENIED = re.compile(r"\b(?:not|no|neither|nor|rather than|instead of)\b.*?(?=\bbut\b|[,.;!?]|$)", re.IGNORECASE)


def without_negations(text: str) -> str:
    """The answer without what it denies: from ` not` or ` no` to the next comma or full stop, by the published rule.

    The rule looks at the beginning of words only: ` notebook,` is deleted too, and a `Not` that opens the answer isn't.
    """
    for pattern in _NEGATED:
        text = pattern.sub("", text)
    return text


def spoken_name(name: str) -> str:
    """`tea_cup` as it is said."""
    return name.replace("_", " ").strip()


def spoken_synonyms(synonyms: Sequence[str]) -> list[str]:
    """The synonyms as they are said; `bus_(vehicle)` counts as two, `bus` and `vehicle`."""
    spoken = []
    for synonym in synonyms:
        before, bracket, inside = synonym.partition("(")
        spoken.append(spoken_name(before))
        if bracket:
            spoken.append(spoken_name(inside.replace(")", "")))
    return spoken


def is_right_as_published(answer: str, thing: ReferredObject) -> bool:
    """Whether the answer counts by the published rule."""
    kept = without_negations(answer)
    return any(name in kept for name in [spoken_name(thing.name), *spoken_synonyms(thing.synonyms)])


def is_right_in_whole_words(answer: str, thing: ReferredObject) -> bool:
    """Whether the answer names the true class in whole words and not the wrong one."""
    kept = _DENIED.sub(" ", answer)
    true_names = {name for name in spoken_synonyms([thing.name, *thing.synonyms]) if name}
    # A name that is part of the right one ("boat" beside "house boat") doesn't make the answer wrong.
    left = kept
    for name in sorted(true_names, key=len, reverse=True):
        left = _word(name).sub(" ", left)
    return left != kept and not any(_word(name).search(left) for name in spoken_synonyms([thing.wrong_name]) if name)


def score(answers: Sequence[Answer], things: Sequence[ReferredObject]) -> dict[str, float]:
    """Both accuracies, 0..1, with Wilson intervals of 95 %.

    Returns:
        accuracy (published matching), accuracy_whole_words, and each with _low and _high.
    """
    pairs = [(answer.text, thing) for answer, thing in zip(answers, things, strict=True)]
    published = wilson(sum(is_right_as_published(*pair) for pair in pairs), len(pairs))
    honest = wilson(sum(is_right_in_whole_words(*pair) for pair in pairs), len(pairs))
    return published.named("accuracy") | honest.named("accuracy_whole_words")


def _word(name: str) -> re.Pattern[str]:
    """The name as whole words in any case, a plural s allowed."""
    return re.compile(rf"\b{re.escape(name)}s?\b", re.IGNORECASE)
