"""LLaVA's conversations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from koine.data.conversations import llava_examples
from koine.errors import InputError

from .conftest import Write


def spoken(*texts: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[number % 2], "value": text} for number, text in enumerate(texts)]


def test_the_last_exchange_is_asked_and_others_are_history(tmp_path: Path, picture: Write, json_file: Write) -> None:
    picture("train2017/1.png")
    talk = spoken("What is this?\n<image>", "A dog.", "What colour?", "Brown.")
    json_file("llava_instruct_150k.json", [{"id": "a1", "image": "1.png", "conversations": talk}])
    (example,) = llava_examples(tmp_path)
    ((question, answer),) = example.history
    assert question[0] == example.history[0][0].images[0]
    assert (question.text, answer.text) == ("What is this?", "A dog.")
    assert (example.prompt.text, example.target.text, example.id) == ("What colour?", "Brown.", "a1")
    assert not example.prompt.images


def test_talk_without_a_picture(tmp_path: Path, json_file: Write) -> None:
    json_file("llava_text.json", [{"conversations": spoken("Hello.", "Hello!")}])
    (example,) = llava_examples(tmp_path)
    assert list(example.prompt) == ["Hello."]
    assert example.id == "llava_text.json, record 0"


@pytest.mark.parametrize(
    ("conversations", "message"),
    [
        (spoken("Hello."), r"record 0: 1 turns: every question needs its answer"),
        ([], r"record 0: 0 turns"),
        (
            [{"from": "human", "value": "a"}, {"from": "human", "value": "b"}],
            r"conversations\[1\]: spoken by 'human': human and gpt must take turns",
        ),
        ([{"from": "human"}], r"conversations\[0\]: field 'value' is missing"),
    ],
)
def test_bad_talk_is_named(tmp_path: Path, json_file: Write, conversations: list[Any], message: str) -> None:
    json_file("llava.json", [{"conversations": conversations}])
    with pytest.raises(InputError, match=message):
        list(llava_examples(tmp_path))
