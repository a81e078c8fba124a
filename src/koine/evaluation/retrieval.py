"""Retrieval among pictures and texts: recall at k both ways, with several texts to a picture (COCO, Flickr30k, XM3600).

Every picture and every text goes through its encoder once; all that remains are the products of their vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from koine.data.annotated import AnnotatedExample
from koine.errors import InputError
from koine.evaluation.answers import Answer
from koine.evaluation.benchmark import Benchmark, Evaluation
from koine.sentence import Image, Sentence

AT = (1, 5, 10)
PICTURES_AT_ONCE = 64


@runtime_checkable
class DualEncoder(Protocol):
    """A system that maps pictures and texts to unit vectors of one space."""

    def embed_images(self, images: Sequence[Image]) -> Tensor:
        """Unit vectors float32 [images, dim]."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors float32 [texts, dim]."""
        ...


@dataclass(frozen=True)
class Recall:
    """Shares in [0, 1]."""

    image_to_text: dict[int, float]
    """For each k, of the pictures with one of their texts among the k nearest."""
    text_to_image: dict[int, float]
    """For each k, of the texts with their picture among the k nearest."""

    def metrics(self) -> dict[str, float]:
        """`image_to_text.r1`, `text_to_image.r1` and so on, and `mean` over all of them."""
        found = {f"image_to_text.r{k}": share for k, share in self.image_to_text.items()}
        found |= {f"text_to_image.r{k}": share for k, share in self.text_to_image.items()}
        return found | {"mean": sum(found.values()) / len(found)}


@dataclass(frozen=True)
class RetrievalBenchmark(Benchmark):
    """A benchmark whose examples are pictures, each with all its texts as the parts of its target."""

    metrics: Callable[..., dict[str, float]] = lambda answers, annotations: {}

    def run(
        self,
        system: object,
        examples: Iterable[AnnotatedExample],
        *,
        limit: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Evaluation:
        """Encodes everything once and measures recall; pictures are let go as soon as they are encoded.

        Args:
            limit: how many pictures at most.
            progress: called with the number of pictures encoded.
        Returns:
            recall, and as each picture's answer the text nearest to it.
        Raises:
            InputError: the system has no vectors for pictures and texts, or there are no examples.
        """
        if not isinstance(system, DualEncoder):
            raise InputError(
                f"{self.name} compares vectors of pictures and texts, which {type(system).__name__} doesn't make: "
                "take a system with embed_images and embed_texts, such as metaclip or beit3"
            )
        pictures: list[Tensor] = []
        asked: list[AnnotatedExample] = []
        remaining = islice(examples, limit)
        while run := list(islice(remaining, PICTURES_AT_ONCE)):
            pictures.append(system.embed_images([example.prompt.images[0] for example in run]))
            asked += [replace(example, prompt=Sentence()) for example in run]
            if progress is not None:
                progress(len(asked))
        if not asked:
            raise InputError(f"{self.name}: there are no pictures: give another split or folder")
        texts = [(number, str(text)) for number, example in enumerate(asked) for text in example.target]
        vectors = system.embed_texts([text for _, text in texts])
        image_of = torch.tensor([number for number, _ in texts], dtype=torch.int64)
        similarities = torch.cat(pictures) @ vectors.T
        nearest = (Answer.of_text(texts[place][1]) for place in similarities.argmax(dim=1).tolist())
        return Evaluation(self.name, recall(similarities, image_of).metrics(), tuple(nearest), tuple(asked))


def recall(similarities: Tensor, image_of: Tensor, at: Sequence[int] = AT) -> Recall:
    """Recall at k (Karpathy and Fei-Fei, 2015).

    Args:
        similarities: [images, texts].
        image_of: [texts] int64, the picture that each text belongs to; each picture has at least one.

    Raises:
        InputError: a picture has no text, or there is nothing to search.
    """
    images, texts = similarities.shape
    if not images or not texts:
        raise InputError("retrieval needs at least one picture and one text")
    if missing := set(range(images)) - set(image_of.tolist()):
        raise InputError(f"picture {min(missing)} has no text: leave pictures without a text out")
    own = image_of == torch.arange(images, device=image_of.device)[:, None]
    # The rank of the best of a picture's own texts: how many others are nearer.
    best = similarities.masked_fill(~own, -torch.inf).amax(dim=1, keepdim=True)
    rank_of_text = ((similarities > best) & ~own).sum(dim=1)
    found = similarities[image_of, torch.arange(texts, device=image_of.device)]
    rank_of_image = (similarities > found).sum(dim=0)
    return Recall(
        {k: float((rank_of_text < k).float().mean()) for k in at},
        {k: float((rank_of_image < k).float().mean()) for k in at},
    )
