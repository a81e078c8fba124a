"""What a stage trains, what decays, and which modules are in training mode."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from koine.errors import InputError
from koine.training.parameters import changing_tensors, decay_groups, freeze, set_modes
from koine.training.stage import Stage

from .tiny_recipe import TinyConfig, TinyModel


def stage(*trainable: str) -> Stage:
    return Stage("s", 1, 1, 1.0, trainable=trainable)


@pytest.fixture
def model() -> TinyModel:
    return TinyModel(TinyConfig())


def test_everything_but_what_the_model_itself_freezes(model: TinyModel) -> None:
    selection = freeze(model, stage(""))
    assert set(selection.trained) == {name for name, _ in model.named_parameters()} - {"fixed"}
    assert not model.fixed.requires_grad and not selection.frozen


def test_prefixes_choose_and_the_rest_is_frozen_in_eval_mode(model: TinyModel) -> None:
    selection = freeze(model, stage("head.2", "head.0.weight"))
    set_modes(model)
    assert set(selection.trained) == {"head.2.weight", "head.2.bias", "head.0.weight"}
    assert "encoder.0.weight" in selection.frozen and "fixed" not in selection.frozen
    assert model.training and model.head.training and model.head[1].training  # its dropout stays active
    assert not model.encoder.training and not model.encoder[1].training and not model.encoder[2].training


def test_a_prefix_that_nothing_has_is_refused(model: TinyModel) -> None:
    with pytest.raises(InputError, match=r"'haed'.*did you mean 'head'"):
        freeze(model, stage("haed"))
    with pytest.raises(InputError, match="trains nothing"):
        freeze(model, stage("fixed"))


def test_a_shared_parameter_is_trained_under_either_name() -> None:
    model = nn.ModuleDict({"embed": nn.Linear(2, 3, bias=False), "out": nn.Linear(2, 3, bias=False)})
    model["out"].weight = model["embed"].weight
    assert len(freeze(model, stage("out")).trained) == 1
    assert model["embed"].weight.requires_grad


def test_norms_and_biases_dont_decay(model: TinyModel) -> None:
    weights, others = decay_groups(freeze(model, stage("")).trained, 0.1)
    assert weights["weight_decay"] == 0.1 and others["weight_decay"] == 0.0
    assert {tuple(p.shape) for p in weights["params"]} == {(16, 8), (1, 16)}  # type: ignore[attr-defined]
    assert all(p.ndim == 1 for p in others["params"])  # type: ignore[attr-defined]


def test_what_may_change_holds_buffers_and_each_shared_tensor_once(model: TinyModel) -> None:
    model.register_buffer("twin", model.encoder[1].running_mean)
    selection = freeze(model, stage("head"))
    names = set(changing_tensors(model, selection.frozen))
    assert {"fixed", "encoder.1.running_var", "head.2.weight"} <= names
    assert "encoder.0.weight" not in names
    assert len(names & {"twin", "encoder.1.running_mean"}) == 1
    assert all(isinstance(tensor, torch.Tensor) for tensor in changing_tensors(model, frozenset()).values())
