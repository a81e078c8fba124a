"""What BEiT-3's heads are trained for (BEiT-3, section 3 and its fine-tuning code)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def vqa_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross entropy of each answer, summed over answers and averaged over questions.

    Args:
        logits: [questions, answers].
        targets: [questions, answers], soft scores 0..1.
    """
    return F.binary_cross_entropy_with_logits(logits, targets) * targets.shape[1]


def captioning_loss(logits: Tensor, labels: Tensor, *, smoothing: float = 0.1, kept: float = 1.0) -> Tensor:
    """Divergence of the predicted words from smoothed targets, averaged over masked tokens.

    Args:
        logits: [masked tokens, words].
        labels: [masked tokens] long.
        smoothing: probability that the target leaves to all other words together.
        kept: share of the tokens, those predicted best, that count; at least one does.
    """
    log_probabilities = logits.float().log_softmax(dim=-1)
    others = logits.shape[1] - 1
    each = smoothing / others
    at_label = log_probabilities.gather(1, labels[:, None])[:, 0]
    elsewhere = log_probabilities.sum(dim=1) - at_label
    # The target's own entropy makes this a divergence: zero where the prediction equals the smoothed target.
    entropy = -_times_log(1 - smoothing) - others * _times_log(each)
    losses = -entropy - (1 - smoothing) * at_label - each * elsewhere
    if kept < 1:
        losses = losses.topk(max(1, int(len(losses) * kept)), largest=False).values
    return losses.mean()


def _times_log(share: float) -> float:
    return share * math.log(share) if share > 0 else 0.0


def masked_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy over masked places: logits [places, classes], targets [places]; 0 if there are none."""
    if not len(targets):
        return logits.sum() * 0.0
    return F.cross_entropy(logits, targets)


def reasoning_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of true and false: logits [statements, 2], labels [statements], 1 for true."""
    return F.cross_entropy(logits, labels.long())


def classification_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy with soft targets, as mixup and label smoothing make them: both [images, classes]."""
    return torch.sum(-targets * logits.float().log_softmax(dim=-1), dim=-1).mean()
