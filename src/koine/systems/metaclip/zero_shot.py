"""The zero-shot protocol of CLIP as MetaCLIP runs it: prompt ensembles, and each task's own metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor
from torch.nn.functional import normalize

from koine.errors import InputError


class Metric(StrEnum):
    """How a task is scored; all in [0, 1]."""

    TOP1 = "top-1 accuracy"
    MEAN_PER_CLASS = "mean accuracy per class"
    TOP1_TOP5 = "mean of top-1 and top-5 accuracy"
    ROC_AUC = "area under the ROC curve"


TASKS: Mapping[str, Metric] = {
    "Food101": Metric.TOP1,
    "CIFAR10": Metric.TOP1,
    "CIFAR100": Metric.TOP1,
    "CUB200": Metric.TOP1,
    "SUN397": Metric.TOP1,
    "StanfordCars": Metric.TOP1,
    "FGVCAircraft": Metric.MEAN_PER_CLASS,
    "DescribableTextures": Metric.TOP1,
    "OxfordPets": Metric.MEAN_PER_CLASS,
    "Caltech101": Metric.MEAN_PER_CLASS,
    "Flowers102": Metric.MEAN_PER_CLASS,
    "MNIST": Metric.TOP1,
    "FacialEmotionRecognition2013": Metric.TOP1,
    "STL10": Metric.TOP1,
    "EuroSAT": Metric.TOP1,
    "RESISC45": Metric.TOP1,
    "GTSRB": Metric.TOP1,
    "KITTI": Metric.TOP1,
    "Country211": Metric.TOP1,
    "PatchCamelyon": Metric.TOP1,
    "UCF101": Metric.TOP1,
    "Kinetics700": Metric.TOP1_TOP5,
    "CLEVRCounts": Metric.TOP1,
    "HatefulMemes": Metric.ROC_AUC,
    "SST2": Metric.TOP1,
    "imagenet": Metric.TOP1,
}
"""The 26 tasks of the paper's table 4 with their metrics; its average is their plain mean."""


@dataclass(frozen=True)
class ZeroShotTask:
    """What a task asks."""

    classes: Sequence[Sequence[str]]
    """The names of each class: one, or synonyms."""
    templates: Sequence[str]
    """Sentences with `{}` for the name."""
    metric: Metric = Metric.TOP1

    def __post_init__(self) -> None:
        if not self.classes or not all(self.classes):
            raise InputError("a zero-shot task needs at least one class, and a name for each")
        if bad := [template for template in self.templates if "{}" not in template]:
            raise InputError(f"the template {bad[0]!r} has no {{}} for the name of the class: put one in")
        if not self.templates:
            raise InputError("a zero-shot task needs at least one template, such as 'a photo of a {}.'")

    def prompts(self) -> list[list[str]]:
        """For each class all of its prompts: every template with every name."""
        return [
            [template.replace("{}", name) for template in self.templates for name in names] for names in self.classes
        ]


def class_embedding(prompt_vectors: Tensor) -> Tensor:
    """The unit vector [dim] of a class from the unit vectors [prompts, dim] of its prompts: their mean, normalised."""
    return normalize(prompt_vectors.mean(dim=0), dim=0)


def score(similarities: Tensor, labels: Tensor, metric: Metric) -> float:
    """A task's score in [0, 1].

    Args:
        similarities: [images, classes], the higher the likelier.
        labels: [images] int64, the true classes.

    Raises:
        InputError: there are no pictures; or the metric needs two classes, both present, and there are others.
    """
    if not len(labels):
        raise InputError("there are no pictures to score")
    right = similarities.argmax(dim=1) == labels
    if metric is Metric.MEAN_PER_CLASS:
        # Only classes that occur; scikit-learn, which the original uses, leaves the others out, too.
        return float(torch.stack([right[labels == label].float().mean() for label in labels.unique()]).mean())
    if metric is Metric.TOP1_TOP5:
        best = similarities.topk(min(5, similarities.shape[1]), dim=1).indices
        return float((right.float().mean() + (best == labels[:, None]).any(dim=1).float().mean()) / 2)
    if metric is Metric.ROC_AUC:
        return _roc_auc(similarities, labels)
    return float(right.float().mean())


def average(scores: Mapping[str, float]) -> float:
    """The plain mean over tasks, as in the paper's tables.

    Raises:
        InputError: there are none.
    """
    if not scores:
        raise InputError("there are no scores to average")
    return sum(scores.values()) / len(scores)


def _roc_auc(similarities: Tensor, labels: Tensor) -> float:
    """The probability that a random positive scores higher than a random negative; equal scores count half."""
    if similarities.shape[1] != 2 or set(labels.tolist()) != {0, 1}:
        raise InputError("the area under the ROC curve needs two classes, both present")
    margin = (similarities[:, 1] - similarities[:, 0]).double()
    positive, negative = margin[labels == 1].sort().values, margin[labels == 0].sort().values
    below = torch.searchsorted(negative, positive, right=False)
    not_above = torch.searchsorted(negative, positive, right=True)
    return float((below + not_above).double().mean() / 2 / len(negative))
