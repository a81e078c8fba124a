"""Ferret-Bench's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from koine.data import ferret_bench
from koine.errors import InputError

from .conftest import Write

TEXT = "Why is the object [0.25, 0.5, 0.751, 1.000] near [the door]?"


@pytest.fixture
def folder(tmp_path: Path, picture: Write, lines_file: Write, json_file: Write) -> Path:
    picture("val2017/1.png")
    for name, category in (("refer_caption", "refer_desc"), ("refer_reason",) * 2, ("ground_conv",) * 2):
        base = {"question_id": 3, "image": "1.png", "category": category}
        lines_file(f"bench/{name}/question.jsonl", [{**base, "text": TEXT}])
        lines_file(f"bench/{name}/answer.jsonl", [{**base, "text": "Because."}])
        lines_file(f"bench/{name}/context.jsonl", [{**base, "text": "Objects: a door."}])
    json_file("bench/rule.json", {"refer_desc": {"role": "Assistant", "prompt": "Rate them."}})
    return tmp_path


def test_boxes_in_questions_become_regions(folder: Path) -> None:
    (example,) = ferret_bench.examples(folder / "bench", images=folder, category="refer_reason")
    assert [part for part in example.prompt if isinstance(part, str)] == ["Why is the object ", " near [the door]?"]
    (region,) = example.prompt.regions
    assert region.bounds == pytest.approx((16, 24, 0.751 * 64, 48))
    assert int(region.bounds[2] * (1000 / 64)) == 751
    assert example.target.text == "Because."


def test_the_three_categories_with_their_rule(folder: Path) -> None:
    questions = list(ferret_bench.read(folder))
    assert [one.category for one in questions] == ["refer_desc", "refer_reason", "ground_conv"]
    assert [one.rule for one in questions] == ["Rate them.", "", ""]
    assert questions[0].context == "Objects: a door."


def test_bad_input_is_named(folder: Path, lines_file: Write) -> None:
    with pytest.raises(InputError, match="there is no category of Ferret-Bench 'refer_caption'"):
        ferret_bench.read(folder, category="refer_caption")
    lines_file("bench/ground_conv/answer.jsonl", [])
    with pytest.raises(InputError, match=r"ground_conv, question\.jsonl, line 1: answer\.jsonl has nothing for"):
        list(ferret_bench.read(folder, category="ground_conv"))
    (folder / "bench" / "ground_conv" / "question.jsonl").unlink()
    with pytest.raises(InputError, match=r"holds no ground_conv/question\.jsonl"):
        list(ferret_bench.read(folder, category="ground_conv"))
