"""Zero-shot scores on similarities that can be checked by hand."""

from __future__ import annotations

import pytest
import torch

from koine.errors import InputError
from koine.systems.metaclip.zero_shot import TASKS, Metric, ZeroShotTask, average, class_embedding, score

SIMILARITIES = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.5, 0.2, 0.4]])
LABELS = torch.tensor([0, 1, 1, 2])


def test_top1_counts_pictures_and_mean_per_class_counts_classes() -> None:
    assert score(SIMILARITIES, LABELS, Metric.TOP1) == pytest.approx(0.5)
    assert score(SIMILARITIES, LABELS, Metric.MEAN_PER_CLASS) == pytest.approx((1 + 0.5 + 0) / 3)


def test_mean_of_top1_and_top5() -> None:
    similarities = torch.eye(7)[[0, 1, 2]] + torch.linspace(0.5, 0, 7)
    labels = torch.tensor([0, 4, 6])  # first; among five; neither
    assert score(similarities, labels, Metric.TOP1_TOP5) == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert score(SIMILARITIES, LABELS, Metric.TOP1_TOP5) == pytest.approx((0.5 + 1) / 2)  # fewer than five classes


def test_area_under_the_curve_is_the_share_of_ordered_pairs() -> None:
    margins = torch.tensor([0.1, 0.4, 0.4, 0.9])
    similarities = torch.stack([torch.zeros(4), margins], dim=1)
    # Of the pairs (negative, positive): 0.1 < 0.4, 0.1 < 0.9, 0.4 = 0.4 (half), 0.4 < 0.9.
    assert score(similarities, torch.tensor([0, 1, 0, 1]), Metric.ROC_AUC) == pytest.approx(3.5 / 4)
    with pytest.raises(InputError, match="two classes"):
        score(SIMILARITIES, LABELS, Metric.ROC_AUC)


def test_the_suite_has_26_tasks_with_their_own_metrics() -> None:
    assert len(TASKS) == 26
    per_class = {name for name, metric in TASKS.items() if metric is Metric.MEAN_PER_CLASS}
    assert per_class == {"FGVCAircraft", "OxfordPets", "Caltech101", "Flowers102"}
    assert average(dict.fromkeys(TASKS, 0.25) | {"SST2": 0.51}) == pytest.approx((25 * 0.25 + 0.51) / 26)


def test_a_class_is_the_mean_of_all_prompts_with_all_names() -> None:
    task = ZeroShotTask([["cube", "die"], ["ball"]], ["a {}.", "the {} in {}"])
    assert task.prompts()[0] == ["a cube.", "a die.", "the cube in cube", "the die in die"]
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert class_embedding(vectors).tolist() == pytest.approx([0.5**0.5, 0.5**0.5])


@pytest.mark.parametrize(
    ("classes", "templates"), [([], ["{}"]), ([["a"], []], ["{}"]), ([["a"]], []), ([["a"]], ["a"])]
)
def test_tasks_that_ask_nothing(classes: list[list[str]], templates: list[str]) -> None:
    with pytest.raises(InputError):
        ZeroShotTask(classes, templates)


def test_nothing_to_score() -> None:
    with pytest.raises(InputError, match="pictures"):
        score(SIMILARITIES[:0], LABELS[:0], Metric.TOP1)
    with pytest.raises(InputError, match="average"):
        average({})
