"""MetaCLIP as its users hold it: which of some texts fits a picture, and which of some pictures fits a text."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from koine.errors import InputError
from koine.sentence import Image, Part, Reply, Sentence
from koine.systems.metaclip.model import Model, image_features, text_features
from koine.systems.metaclip.processor import MetaClipProcessor
from koine.systems.metaclip.weights import NANO_WEIGHTS, load_folder
from koine.systems.metaclip.zero_shot import ZeroShotTask, class_embedding, score

TEMPLATES = ("a photo of a {}.", "a {}", "{}")
"""The sentences that labels are put into."""


class MetaClip:
    """Compares pictures with texts.

    Example:
        metaclip = koine.load("metaclip")
        metaclip.respond(image, labels=["a red cube", "a blue ball"]).text
        metaclip.respond(image, other, "a red cube").image
    """

    def __init__(self, model: Model, processor: MetaClipProcessor) -> None:
        self.model = model
        self.processor = processor

    @classmethod
    def load(
        cls,
        weights: str | os.PathLike[str] = "nano",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Self:
        """
        Args:
            weights: "nano", a folder that `koine train` or `koine convert metaclip` wrote, or a hub id such as
                facebook/metaclip-b32-400m.
            device: by default the CPU.
            dtype: by default float32.
        Raises:
            InputError: there are no such weights, they are damaged, or another model's.
        """
        if weights == "nano" and not NANO_WEIGHTS.is_dir():
            raise InputError("MetaCLIP's nano weights are not installed: make them with `make nano`, or name a folder")
        source = NANO_WEIGHTS if weights == "nano" else _located(weights)
        model = load_folder(source, device=device, dtype=dtype)
        return cls(model, MetaClipProcessor.from_pretrained(source, model.config))

    def respond(
        self,
        *parts: Part | Sentence,
        labels: Sequence[str] | str | None = None,
        templates: Sequence[str] = TEMPLATES,
        seed: int = 0,
    ) -> Reply:
        """Names one picture, or finds the one of several that a text describes.

        Args:
            parts: one picture and no text, or the labels as texts, or as one with commas between; or several pictures
                and a text.
            labels: what the one picture may be; texts, or one text with commas between.
            templates: sentences that each label is put into at `{}`.
            seed: without effect, since nothing is drawn.
        Returns:
            The likeliest label, with all probabilities in `details["probabilities"]`, likeliest first; or the picture
            that fits, with its place in `details["index"]` and all cosine similarities in `details["similarities"]`.
        Raises:
            InputError: there is no picture, or nothing to compare it with; or parts that are neither picture nor text.
        """
        prompt = Sentence(*parts)
        if others := [part for part in prompt if not isinstance(part, str | Image)]:
            raise InputError(
                f"MetaCLIP reads pictures and texts, not a part of kind {type(others[0]).__name__}: leave it out"
            )
        images, texts = prompt.images, [part.strip() for part in prompt if isinstance(part, str) and part.strip()]
        if not images:
            raise InputError("MetaCLIP compares pictures with texts: give at least one picture")
        if len(images) == 1:
            said = texts if len(texts) > 1 else "".join(texts)
            return self._name(images[0], _labels(labels if labels is not None else said), templates)
        if not texts or labels is not None:
            raise InputError("several pictures are searched for what a text says: give a text and no labels")
        similarities = (self.embed_texts([" ".join(texts)]) @ self.embed_images(images).T)[0]
        index = int(similarities.argmax())
        return Reply(Sentence(images[index]), details={"index": index, "similarities": similarities.tolist()})

    @torch.inference_mode()
    def embed_images(self, images: Sequence[Image], *, batch_size: int = 64) -> Tensor:
        """Unit vectors float32 [images, dim], on the CPU."""
        runs = (images[begin : begin + batch_size] for begin in range(0, len(images), batch_size))
        return torch.cat([self._of_images(self.processor.pixel_values(run)) for run in runs])

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str], *, batch_size: int = 256) -> Tensor:
        """Unit vectors float32 [texts, dim], on the CPU."""
        runs = (texts[begin : begin + batch_size] for begin in range(0, len(texts), batch_size))
        ids = (self.processor.input_ids(run).to(self.model.device) for run in runs)
        return torch.cat([text_features(self.model, run).cpu() for run in ids])

    def embed_classes(self, task: ZeroShotTask) -> Tensor:
        """Unit vectors [classes, dim] by the prompt ensemble of a task."""
        prompts = task.prompts()
        vectors = self.embed_texts([prompt for of_class in prompts for prompt in of_class])
        return torch.stack([class_embedding(part) for part in vectors.split([len(of_class) for of_class in prompts])])

    def zero_shot(self, images: Sequence[Image], labels: Sequence[int], task: ZeroShotTask) -> float:
        """A task's score over pictures with known classes (`zero_shot.score`)."""
        similarities = self.embed_images(images) @ self.embed_classes(task).T
        return score(similarities, torch.tensor(labels), task.metric)

    def _of_images(self, pixel_values: Tensor) -> Tensor:
        weight = self.model.visual_projection.weight
        return image_features(self.model, pixel_values.to(weight.device, weight.dtype)).cpu()

    def _name(self, image: Image, labels: list[str], templates: Sequence[str]) -> Reply:
        task = ZeroShotTask([[label] for label in labels], templates)
        similarities = (self.embed_images([image]) @ self.embed_classes(task).T)[0]
        scale = self.model.logit_scale.detach().float().exp().cpu()
        chances = (similarities * scale).softmax(dim=0)
        order = chances.argsort(descending=True).tolist()
        probabilities: dict[str, Any] = {labels[place]: float(chances[place]) for place in order}
        return Reply(Sentence(labels[order[0]]), details={"probabilities": probabilities})


def _labels(given: Sequence[str] | str) -> list[str]:
    named = given.split(",") if isinstance(given, str) else given
    labels = list(dict.fromkeys(label.strip() for label in named if label.strip()))
    if not labels:
        raise InputError('there is nothing to name the picture by: give labels, such as "a red cube, a blue ball"')
    return labels


def _located(weights: str | os.PathLike[str]) -> str | Path:
    """A path if there is one, else a hub id."""
    path = Path(weights).expanduser()
    if path.exists():
        return path
    name = os.fspath(weights)
    if name.count("/") != 1 or name.startswith((".", "~", "/")):
        raise InputError(
            f"there are no weights at {name}: give a folder, or a hub id such as facebook/metaclip-b32-400m"
        )
    return name
