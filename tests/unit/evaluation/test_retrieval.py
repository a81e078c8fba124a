"""Recall on similarities that can be checked by hand, and a benchmark in which each picture is encoded once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from koine.data.annotated import AnnotatedExample
from koine.errors import InputError
from koine.evaluation import load_benchmark
from koine.evaluation.retrieval import RetrievalBenchmark, recall
from koine.sentence import Image, Sentence


def test_recall_with_several_texts_to_a_picture() -> None:
    # Pictures 0 and 1, texts 0 and 1 of picture 0, text 2 of picture 1.
    similarities = torch.tensor([[0.1, 0.8, 0.9], [0.3, 0.2, 0.4]])
    found = recall(similarities, torch.tensor([0, 0, 1]), at=(1, 2))
    assert found.image_to_text == {1: 0.5, 2: 1.0}  # picture 0 finds text 2 first, then its own text 1
    assert found.text_to_image == {1: pytest.approx(1 / 3), 2: 1.0}


def test_recall_needs_a_text_for_each_picture() -> None:
    with pytest.raises(InputError, match="picture 1"):
        recall(torch.zeros(2, 1), torch.tensor([0]))
    with pytest.raises(InputError, match="at least one"):
        recall(torch.zeros(0, 0), torch.zeros(0, dtype=torch.int64))


class Brightness:
    """Maps pictures and numbers to angles, and counts the pictures it was given."""

    def __init__(self) -> None:
        self.encoded = 0

    def embed_images(self, images: Sequence[Image]) -> Tensor:
        self.encoded += len(images)
        return angles([float(image.pixels[0, 0, 0]) for image in images])

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return angles([float(text) for text in texts])


def angles(numbers: list[float]) -> Tensor:
    angle = torch.tensor(numbers) / 255
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def pairs(count: int) -> list[AnnotatedExample]:
    """Picture i has brightness 10 i; four of its texts say so, a fifth means the next picture."""
    return [
        AnnotatedExample(
            Sentence(Image(np.full((2, 2, 3), 10 * i, np.uint8))), Sentence(*[f"{10 * i}"] * 4, f"{10 * i + 10}")
        )
        for i in range(count)
    ]


def test_each_picture_is_encoded_once_for_five_captions() -> None:
    benchmark = load_benchmark("flickr30k-retrieval")
    assert isinstance(benchmark, RetrievalBenchmark)
    system, counted = Brightness(), []
    outcome = benchmark.run(system, pairs(20), progress=counted.append)
    assert system.encoded == 20 and counted == [20]
    assert outcome.metrics["image_to_text.r1"] == 1.0
    # every fifth caption finds the next picture, but for the last one, which has none
    assert outcome.metrics["text_to_image.r1"] == pytest.approx(81 / 100)
    assert outcome.metrics["text_to_image.r5"] == 1.0
    assert [answer.text for answer in outcome.answers] == [str(10 * i) for i in range(20)]
    assert not outcome.examples[0].prompt


def test_a_system_without_vectors_is_refused() -> None:
    benchmark = load_benchmark("coco-retrieval")
    assert isinstance(benchmark, RetrievalBenchmark)
    with pytest.raises(InputError, match=r"coco-retrieval compares vectors .* which object doesn't make"):
        benchmark.run(object(), pairs(1))
    with pytest.raises(InputError, match="there are no pictures"):
        benchmark.run(Brightness(), [])
