"""AdamW for all, or Muon for the matrices inside and AdamW for the rest."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from accelerate import PartialState
from torch import Tensor, nn

from koine.errors import InputError
from koine.training.loop import StageTraining
from koine.training.optimizers import MuonAndAdamW, build_optimizer
from koine.training.stage import Stage

from .tiny_recipe import TinyConfig, TinyData, TinyModel, TinyRecipe


class Hiding(TinyRecipe):
    """Names the encoder's matrix."""

    def hidden(self, trained: dict[str, nn.Parameter]) -> list[nn.Parameter]:
        return [trained["encoder.0.weight"]] if "encoder.0.weight" in trained else []


def stage(**settings: Any) -> Stage:
    values = {"name": "s", "steps": 20, "batch_size": 8, "learning_rate": 0.01, "warmup": 0.0, "schedule": "constant"}
    return Stage(**values | {"precision": "fp32", "optimizer": "muon", "max_grad_norm": 0.0} | settings)


def training(**settings: Any) -> StageTraining:
    torch.manual_seed(0)
    model = TinyModel(TinyConfig(dropout=0.0, moving=False))
    return StageTraining(Hiding(), stage(**settings), model, PartialState(cpu=True))


def batch() -> dict[str, Tensor]:
    return TinyData().batch(torch.arange(8), torch.Generator().manual_seed(0))


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest matrix whose singular values are all one."""
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    return left @ right


def test_muon_moves_hidden_matrices_and_adamw_the_rest() -> None:
    muon, adamw = training(), training(optimizer="adamw")
    for one in (muon, adamw):
        one.step([batch()], stop=False)
    for name in muon.trained.keys() - {"encoder.0.weight"}:
        torch.testing.assert_close(muon.trained[name], adamw.trained[name])
    assert not torch.allclose(muon.trained["encoder.0.weight"], adamw.trained["encoder.0.weight"])


def test_its_step_is_the_orthogonalised_gradient_as_large_as_adamws() -> None:
    one = training(muon_scale=3.0)
    weight = one.trained["encoder.0.weight"]
    before = weight.detach().clone()
    Hiding().loss(one.model, batch())["loss"].backward()
    gradient = weight.grad.clone()  # type: ignore[union-attr]
    one.optimizer.zero_grad()
    one.step([batch()], stop=False)
    step = (before - weight.detach()) / (3 * 0.01)
    wanted = 0.2 * max(weight.shape) ** 0.5 * orthogonal(gradient)
    # Newton and Schulz's five rounds leave singular values between 0.7 and 1.2
    alignment = torch.cosine_similarity(step.flatten(), wanted.flatten(), dim=0)
    assert alignment > 0.95
    assert float(step.norm() / wanted.norm()) == pytest.approx(1, abs=0.25)


def test_a_kernel_is_a_matrix_of_its_output_channels() -> None:
    torch.manual_seed(0)
    kernel, flat = nn.Parameter(torch.randn(4, 3, 2, 2)), nn.Parameter(torch.zeros(4, 12))
    before = kernel.detach().clone()
    flat.data = before.flatten(1).clone()
    gradient = torch.randn(4, 3, 2, 2)
    for parameter, shaped in ((kernel, gradient), (flat, gradient.flatten(1))):
        optimizer = MuonAndAdamW([{"params": [parameter], "lr": 0.1, "weight_decay": 0.0}], None)
        parameter.grad = shaped
        optimizer.step()
        optimizer.zero_grad()
        assert parameter.grad is None
    torch.testing.assert_close(kernel.detach().flatten(1), flat.detach())
    assert (kernel.detach() != before).all()


def test_groups_keep_their_decay_and_their_scale() -> None:
    first, second = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(3))
    groups = [{"params": [first, second], "weight_decay": 0.3, "scale": 0.5}]
    optimizer = build_optimizer(groups, [first], stage(muon_scale=4.0), torch.device("cpu"))
    matrices, others = optimizer.param_groups
    assert (matrices["weight_decay"], matrices["scale"]) == (0.3, 2.0)
    assert (others["weight_decay"], others["scale"], others["params"]) == (0.3, 0.5, [second])


def test_a_recipe_without_hidden_matrices_is_told() -> None:
    torch.manual_seed(0)
    with pytest.raises(InputError, match=r"'muon', but its recipe names no hidden matrices.*give adamw"):
        StageTraining(TinyRecipe(), stage(), TinyModel(TinyConfig()), PartialState(cpu=True))


def test_a_checkpoint_holds_both_optimisers(tmp_path: Any) -> None:
    whole, first = training(), training()
    for one in (whole, first):
        one.step([batch()], stop=False)
    first.save(tmp_path)
    resumed = training()
    assert resumed.restore(tmp_path) is None
    for one in (whole, resumed):
        one.step([batch()], stop=False)
    for name, parameter in whole.trained.items():
        torch.testing.assert_close(resumed.trained[name], parameter, rtol=0, atol=0)


def test_gradients_are_seen_by_whoever_scales_and_clips_them() -> None:
    one = training()
    seen = {id(parameter) for group in one.optimizer.param_groups for parameter in group["params"]}
    assert seen == {id(parameter) for parameter in one.trained.values()}
