"""One step of a stage: AdamW on the clipped gradient, the moving average, the checkpointed state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import PartialState
from torch import Tensor

from koine.training.loop import StageTraining
from koine.training.stage import Stage

from .tiny_recipe import TinyConfig, TinyData, TinyModel, TinyRecipe


def training(**settings: Any) -> StageTraining:
    values = {"name": "s", "steps": 20, "batch_size": 8, "learning_rate": 0.01, "warmup": 0.0, "precision": "fp32"}
    torch.manual_seed(0)
    model = TinyModel(TinyConfig(dropout=0.0, moving=False))
    return StageTraining(TinyRecipe(), Stage(**values | settings), model, PartialState(cpu=True))


def batch(*, scale: float = 1.0) -> dict[str, Tensor]:
    drawn = TinyData().batch(torch.arange(8), torch.Generator().manual_seed(0))
    return {"x": drawn["x"], "y": drawn["y"] * scale}


def take(one: StageTraining, steps: int, **kinds: Any) -> dict[str, float]:
    for _ in range(steps):
        figures, _ = one.step([batch(**kinds)], stop=False)
    return figures


def test_a_step_is_adamws() -> None:
    one = training(weight_decay=0.1, max_grad_norm=0.0, schedule="constant")
    torch.manual_seed(0)
    reference = TinyModel(TinyConfig(dropout=0.0, moving=False))
    trained = [p for p in reference.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": 0.1},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=0.01,
    )
    for _ in range(5):
        optimizer.zero_grad()
        TinyRecipe().loss(reference, batch())["loss"].backward()
        optimizer.step()
    take(one, 5)
    for ours, theirs in zip(one.model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_group_may_learn_slower_than_the_others() -> None:
    class HalfFrozen(TinyRecipe):
        def parameter_groups(self, trained: dict[str, Any], stage: Stage) -> list[dict[str, Any]]:
            encoder = [parameter for name, parameter in trained.items() if name.startswith("encoder")]
            head = [parameter for name, parameter in trained.items() if name.startswith("head")]
            return [
                {"params": encoder, "weight_decay": 0.0, "scale": 0.0},
                {"params": head, "weight_decay": 0.0, "scale": 0.5},
            ]

    one, usual = training(max_grad_norm=0.0), training(max_grad_norm=0.0)
    slow = StageTraining(HalfFrozen(), one.stage, one.model, PartialState(cpu=True))
    before = {name: parameter.detach().clone() for name, parameter in usual.trained.items()}
    take(slow, 1)
    take(usual, 1)
    for name, parameter in slow.trained.items():
        step, full = parameter - before[name], usual.trained[name] - before[name]
        torch.testing.assert_close(step, (0.0 if name.startswith("encoder") else 0.5) * full, rtol=1e-4, atol=1e-6)


def test_a_recipe_may_change_loss_and_rate_on_the_way() -> None:
    class Changing(TinyRecipe):
        def loss_at(self, model: Any, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
            return {"loss": (0.0 if step == 2 else 1.0) * self.loss(model, batch)["loss"]}

        def learning_rate(self, stage: Stage, step: int) -> float:
            return (0.0 if step == 3 else 2.0) * stage.learning_rate

    usual = training()
    one = StageTraining(Changing(), usual.stage, usual.model, PartialState(cpu=True))
    seen = [take(one, 1) for _ in range(4)]
    assert [figures["loss"] > 0 for figures in seen] == [True, False, True, True]
    assert [figures["learning_rate"] for figures in seen] == [0.02, 0.02, 0.0, 0.02]
    assert seen[2]["loss"] == pytest.approx(seen[3]["loss"]), "a step at rate zero moves nothing"


def test_the_norm_is_the_gradients_before_clipping() -> None:
    free, clipped = training(max_grad_norm=0.0), training(max_grad_norm=1e-3)
    assert take(free, 1)["gradient_norm"] == pytest.approx(take(clipped, 1)["gradient_norm"]) != pytest.approx(1e-3)
    # After one step AdamW's first moment is (1 - beta_1) of the gradient that it was given.
    assert first_moment_norm(clipped) == pytest.approx(0.1 * 1e-3, rel=1e-3)
    assert first_moment_norm(free) > 100 * first_moment_norm(clipped)


def first_moment_norm(one: StageTraining) -> float:
    moments = [one.optimizer.state[parameter]["exp_avg"].flatten() for parameter in one.trained.values()]
    return torch.cat(moments).norm().item()


def test_every_process_hears_that_one_was_asked_to_stop() -> None:
    one = training()
    assert one.step([batch()], stop=False)[1] is False
    assert one.step([batch()], stop=True)[1] is True


def test_the_average_lags_behind_the_weights_and_is_what_is_saved(tmp_path: Path) -> None:
    one = training(ema=0.9)
    history = []
    for _ in range(12):
        take(one, 1)
        history.append(one.model.head[2].weight.detach().clone())
    expected = one.average["head.2.weight"].new_zeros(())
    for step, weight in enumerate(history, start=1):
        decay = min(0.9, step / (step + 9))
        start = training().model.head[2].weight.detach() if step == 1 else expected
        expected = decay * start + (1 - decay) * weight
    torch.testing.assert_close(one.average["head.2.weight"], expected)
    one.save_model(tmp_path)
    torch.testing.assert_close(TinyModel.from_pretrained(tmp_path).head[2].weight.detach(), expected)
    assert torch.equal(one.model.head[2].weight, history[-1])  # training goes on with the weights themselves


def test_a_checkpoint_taken_up_by_a_new_training_goes_on_the_same(tmp_path: Path) -> None:
    one = training(ema=0.9)
    take(one, 4)
    one.save(tmp_path)
    other = training(ema=0.9)
    take(other, 1, scale=-3.0)  # whatever it was before, the checkpoint replaces it
    assert other.restore(tmp_path) is None
    assert take(one, 3) == take(other, 3)
    for name in one.trained:
        assert torch.equal(one.trained[name], other.trained[name]) and torch.equal(
            one.average[name], other.average[name]
        )


def test_a_loss_without_a_name_is_a_mistake_in_the_recipe() -> None:
    one = training()
    one.recipe.loss = lambda model, batch: {"mse": model(batch["x"]).mean()}  # type: ignore[method-assign]
    with pytest.raises(KeyError, match=r"TinyRecipe\.loss returned no 'loss'"):
        one.step([batch()], stop=False)
