"""What the heads are trained for, by hand."""

import math

import pytest
import torch

from koine.systems.beit3.losses import captioning_loss, classification_loss, masked_loss, vqa_loss


def test_answers_are_judged_one_by_one_and_summed():
    logits, targets = torch.zeros(2, 3), torch.tensor([[1.0, 0, 0], [0, 0.3, 0]])
    assert float(vqa_loss(logits, targets)) == pytest.approx(3 * math.log(2))


def test_a_caption_as_sure_as_its_smoothed_target_costs_nothing():
    targets = torch.tensor([0, 2])
    smoothed = torch.full((2, 4), 0.1 / 3)
    smoothed[[0, 1], targets] = 0.9
    assert float(captioning_loss(smoothed.log(), targets)) == pytest.approx(0, abs=1e-6)
    assert float(captioning_loss(torch.zeros(2, 4), targets)) == pytest.approx(
        0.9 * math.log(0.9 * 4) + 0.1 * math.log(0.1 / 3 * 4), rel=1e-5
    )


def test_the_worst_tokens_may_be_left_out():
    logits = torch.zeros(5, 4)
    logits[4, 0] = 9.0
    labels = torch.tensor([1, 1, 1, 1, 1])
    without = captioning_loss(logits[:4], labels[:4], smoothing=0)
    assert float(captioning_loss(logits, labels, smoothing=0, kept=0.8)) == pytest.approx(float(without))
    # one token alone is kept, or there would be no loss at all
    assert float(captioning_loss(logits[:1], labels[:1], smoothing=0, kept=0.8)) == pytest.approx(math.log(4))


def test_without_a_masked_place_the_loss_is_zero_and_has_a_gradient():
    logits = torch.zeros(0, 4, requires_grad=True)
    loss = masked_loss(logits, torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert float(loss) == 0 and logits.grad is not None


def test_soft_classes():
    logits = torch.tensor([[0.0, 0.0]])
    assert float(classification_loss(logits, torch.tensor([[0.7, 0.3]]))) == pytest.approx(math.log(2))
