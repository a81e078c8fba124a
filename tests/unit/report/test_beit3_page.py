"""BEiT-3's page: from the model's own words, judged by the scenes; whatever the model is worth."""

from __future__ import annotations

import pytest

from koine.data.world_gallery import gallery
from koine.evaluation.world_captions import judge
from koine.report.contents import Section
from koine.report.pages.beit3 import page

from ..systems.beit3 import speaking


@pytest.fixture(scope="module")
def section(tmp_path_factory: pytest.TempPathFactory) -> Section:
    beit3 = speaking.system(tmp_path_factory.mktemp("beit3"), image_size=64, max_text_tokens=64)
    return page(beit3, seed=2)


def test_the_four_uses_are_shown(section: Section) -> None:
    groups = {task.partition(" ")[0]: answers for task, answers in section.answers_by_task.items()}
    assert {task: len(answers) for task, answers in groups.items()} == {
        "answer": 6,
        "describe": 6,
        "judge": len(groups["judge"]),
        "search": 4,
    }
    assert 3 <= len(groups["judge"]) <= 6


def test_verdicts_follow_from_the_scenes(section: Section) -> None:
    shown = gallery(2)
    groups = {task.partition(" ")[0]: answers for task, answers in section.answers_by_task.items()}
    for answer, here in zip(groups["describe"], shown.scenes, strict=True):
        assert answer.correct == judge(answer.answer.text, here.scene, here.view).true
    for answer, (_, _, statement) in zip(groups["judge"], shown.statements, strict=True):
        assert answer.correct == ((answer.answer.text == "true") == statement.label)
        assert answer.picture is not None and answer.picture.width > 2 * answer.picture.height
    for answer, (_, wanted) in zip(groups["search"], shown.wanted, strict=True):
        assert answer.correct == answer.answer.text.startswith(f"picture {wanted},")
        assert answer.picture in [here.image for here in shown.pictures]


def test_another_seed_shows_other_scenes() -> None:
    assert gallery(0).pictures[0].image != gallery(1).pictures[0].image
