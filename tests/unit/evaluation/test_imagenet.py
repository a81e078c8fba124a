"""Top-1 with classes named in three ways."""

from __future__ import annotations

import pytest

from koine.data.imagenet import ClassOfPicture
from koine.evaluation.answers import Answer
from koine.evaluation.imagenet import score


def test_number_folder_and_names_count_alike() -> None:
    tench = ClassOfPicture("1.JPEG", 0, "n01440764", ("tench", "Tinca tinca"))
    shark = ClassOfPicture("2.JPEG", 2, "n01484850", ("great white shark",))
    said = ["0", "n01440764", "tinca tinca", "goldfish", "Great white shark"]
    metrics = score([Answer.of_text(text) for text in said], [tench, tench, tench, tench, shark])
    assert metrics["top1"] == pytest.approx(4 / 5)
    assert metrics["mean_per_class"] == pytest.approx((3 / 4 + 1) / 2)
