"""Packed linear maps compute what the plain ones do; what can't be packed stays as it is."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from koine.systems.beit3.packed_linear import PackedLinear, can_pack, packed, with_packed

needs_packing = pytest.mark.skipif(not can_pack(torch.zeros(1)), reason="this build of torch has no oneDNN")


@needs_packing
@pytest.mark.parametrize(("inputs", "outputs", "bias"), [(1, 1, True), (3, 5, False), (16, 115, True), (64, 200, True)])
@torch.inference_mode()
def test_a_packed_map_computes_what_the_plain_one_does(inputs, outputs, bias):
    linear = nn.Linear(inputs, outputs, bias=bias)
    small = packed(linear, rows=6)
    assert isinstance(small, PackedLinear)
    for shape in ((6,), (2, 6), (1, 1), (3, 40)):
        tokens = torch.randn(*shape, inputs)
        torch.testing.assert_close(small(tokens), linear(tokens), atol=1e-5, rtol=1e-5)
    crossed = torch.randn(6, 2, inputs).transpose(0, 1)
    torch.testing.assert_close(small(crossed), linear(crossed), atol=1e-5, rtol=1e-5)


def test_what_can_not_be_packed_stays_as_it_is():
    class Doubling(nn.Linear):
        def forward(self, inputs):
            return 2 * super().forward(inputs)

    for linear in (Doubling(3, 4), nn.Linear(3, 4, dtype=torch.bfloat16), nn.Linear(3, 4, device="meta")):
        assert packed(linear, rows=6) is linear
    with torch.autocast("cpu", dtype=torch.bfloat16):
        linear = nn.Linear(3, 4)
        assert packed(linear, rows=6) is linear


@needs_packing
@torch.inference_mode()
def test_a_model_shares_its_tensors_with_the_copy_whose_parts_are_packed():
    model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 2)))
    replica = with_packed(model, [model[2]], rows=1)
    assert [type(module) for module in (model[2][0], replica[0], replica[2][0])] == [nn.Linear, nn.Linear, PackedLinear]
    assert replica[0].weight is model[0].weight and replica[1].bias is model[1].bias
    tokens = torch.randn(3, 4)
    torch.testing.assert_close(replica(tokens), model(tokens), atol=1e-6, rtol=1e-5)
    model[1].weight.mul_(2)
    torch.testing.assert_close(
        replica(tokens), F.linear(model[2][0](model[1](model[0](tokens))), *model[2][1].parameters())
    )
