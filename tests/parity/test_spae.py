"""SPAE computes what MAGVIT's code computes, and quantises as the paper's equations say, on all golden cases."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from koine.parts.quantize import VectorQuantizer
from koine.parts.residual_quantize import LayeredCodes, Pyramid, combine_codes, quantize_layers
from koine.systems.spae.config import PUBLISHED_FILTERS, SpaeConfig
from koine.systems.spae.discriminator import (
    Discriminator,
    discriminator_loss,
    generator_loss,
    lecam_loss,
    squared_gradients,
)
from koine.systems.spae.guidance import candidate_pools, draw_candidates, semantic_loss, similarities
from koine.systems.spae.model import SpaeModel
from koine.systems.spae.objective import commitment
from koine.systems.spae.weights import build, convert_state, convert_tensor, discriminator_names, published_names

UPSAMPLE = {"nearest+conv": "nearest", "depth_to_space": "depth_to_space", "deconv": "deconv"}


@pytest.fixture(scope="module")
def spae(golden):
    return golden("spae")


@pytest.fixture(scope="module")
def cases(spae) -> dict[str, Tensor]:
    return spae.tensors("cases.safetensors")


@pytest.fixture(scope="module")
def weights(spae) -> dict[str, Tensor]:
    return spae.tensors("weights.safetensors")


@pytest.fixture(scope="module")
def close(spae) -> Callable[..., None]:
    """Compares at the tolerance that the manifest gives for this kind of tensor."""
    text = spae.manifest["tolerance"]["magvit"]

    def check(found: Tensor, expected: Tensor, kind: str) -> None:
        atol, rtol = map(float, re.search(rf"{kind}.*?atol (\S+) rtol ([0-9e.+-]+)", text).groups())
        torch.testing.assert_close(found.detach().float(), expected.float(), atol=atol, rtol=rtol)

    return check


@pytest.fixture(scope="module")
def exact(spae) -> Callable[[Tensor, Tensor], None]:
    """Compares in float64 at the tolerance of the reference of the equations."""
    atol = spae.tolerance("saq", "atol")

    def check(found: Tensor, expected: Tensor) -> None:
        torch.testing.assert_close(found.detach().double().view(expected.shape), expected, atol=atol, rtol=0)

    return check


def tree(weights: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors below `magvit/<name>.`."""
    prefix = f"magvit/{name}."
    return {key.removeprefix(prefix): tensor for key, tensor in weights.items() if key.startswith(prefix)}


def frames(clips: Tensor) -> Tensor:
    """Clips [batch, time, height, width, channels] as pictures [batch * time, channels, height, width]."""
    return clips.flatten(0, -4).movedim(-1, 1)


def published_config(described: dict[str, Any], weights: dict[str, Tensor]) -> SpaeConfig:
    query = next((tensor for name, tensor in weights.items() if name.endswith("AttnBlock_0/q/kernel")), None)
    stride = 2 ** (len(described["mult"]) - 1)
    return SpaeConfig(
        image_size=described["img"],
        filters=described["filters"],
        multipliers=described["mult"],
        encoder_blocks=described["rb"],
        decoder_blocks=described["rb"],
        width=described["emb"],
        norm={"GN": "group", "LN": "layer"}[described["norm"]],
        activation=described["act"],
        downsample="conv" if described["cd"] else "average",
        upsample=UPSAMPLE[described["ups"]],
        attention_heads=query.shape[1] if described["attn"] and query is not None else 0,
        codebook="learnt",
        codebook_size=described["K"],
        pyramid=(described["img"] // stride,),
        thresholds=(),
        normalized=described["ln"],
    )


@pytest.fixture(scope="module")
def model(spae, weights) -> SpaeModel:
    published = tree(weights, "model")
    config = published_config(spae.manifest["magvit_config"], published)
    return build(config, convert_state(published, config))


@pytest.fixture(scope="module")
def described(spae) -> dict[str, Any]:
    return spae.manifest["saq_config"]


@pytest.fixture(scope="module")
def pyramid(described) -> Pyramid:
    return Pyramid.square(described["sizes"])


@pytest.fixture(scope="module")
def codes(cases, pyramid) -> LayeredCodes:
    return quantize_layers(cases["saq/z"], cases["saq/codebook"], pyramid)


class TestMagvit:
    def test_encoder(self, model, cases, close):
        features = model.encode(frames(cases["magvit/model.in"]))
        close(features.view(cases["magvit/model.features"].shape), cases["magvit/model.features"], "activations")

    def test_codes_and_reconstruction(self, model, cases, close):
        output = model(frames(cases["magvit/model.in"]))
        ids = cases["magvit/model.ids"]
        assert torch.equal(output.quantized.indices.view(ids.shape), ids.long())
        close(output.pixels, frames(cases["magvit/model.out"]), "activations")

    def test_decoding_of_codes(self, model, cases, close):
        pixels = model.pixels_of_codes([cases["magvit/model.ids"].flatten(0, -3).long()])
        close(pixels, frames(cases["magvit/model.decode_from_indices"]), "activations")

    def test_losses_of_training(self, model, cases, close):
        found = model(frames(cases["magvit/model.in"])).quantized
        commitment_weight, codebook_weight, entropy_weight = model.quantizer.weights
        for name, value in {
            "e_latent_loss": commitment_weight * found.commitment_loss,
            "q_latent_loss": codebook_weight * found.codebook_loss,
            "entropy_loss": entropy_weight * found.entropy_loss,
            "quantizer_loss": found.loss,
        }.items():
            close(value.view(1), cases[f"magvit/model.{name}"], "losses")


QUANTIZERS: dict[str, dict[str, Any]] = {
    "plain": {"entropy": 0.1, "temperature": 0.01},
    "l2": {"entropy": 0.1, "temperature": 0.01, "normalized": True},
    "argmax": {"entropy": 0.1, "temperature": 0.05, "entropy_target": "argmax", "codebook": 0.5, "commitment": 0.4},
}
"""The settings that the manifest describes in words."""


@pytest.mark.parametrize("setting", QUANTIZERS)
class TestQuantizer:
    @pytest.fixture
    def quantizer(self, setting, weights) -> VectorQuantizer:
        codebook = weights[f"magvit/quantizer.{setting}.codebook"]
        module = VectorQuantizer(*codebook.shape, **QUANTIZERS[setting])
        with torch.no_grad():
            module.codebook.copy_(codebook)
        return module

    def test_search(self, setting, quantizer, cases, close):
        found = quantizer.eval()(cases[f"magvit/quantizer.{setting}.in"])
        assert torch.equal(found.indices, cases[f"magvit/quantizer.{setting}.indices"].long())
        close(found.vectors, cases[f"magvit/quantizer.{setting}.eval_quantized"], "losses")

    def test_losses_and_gradients(self, setting, quantizer, cases, close):
        case = {key.rpartition(".")[2]: value for key, value in cases.items() if f"quantizer.{setting}." in key}
        vectors = case["in"].clone().requires_grad_(True)
        found = quantizer.train()(vectors)
        close(found.vectors, case["train_quantized"], "losses")
        commitment_weight, codebook_weight, entropy_weight = quantizer.weights
        close((commitment_weight * found.commitment_loss).view(1), case["e_latent_loss"], "losses")
        close((codebook_weight * found.codebook_loss).view(1), case["q_latent_loss"], "losses")
        close((entropy_weight * found.entropy_loss).view(1), case["entropy_loss"], "losses")
        close(found.loss.view(1), case["quantizer_loss"], "losses")
        ((found.vectors * case["R"]).sum() + found.loss).backward()
        close(vectors.grad, case["grad_in"], "gradients")
        close(quantizer.codebook.grad, case["grad_codebook"], "gradients")


@pytest.mark.parametrize("pooling", ["avg", "blur"])
class TestDiscriminator:
    @pytest.fixture
    def discriminator(self, pooling, weights, cases) -> Discriminator:
        published = tree(weights, "disc")
        blocks = len({name.split("/")[0] for name in published if name.startswith("ResBlock_")})
        filters = published["Conv_0/kernel"].shape[-1]
        multipliers = [published[f"ResBlock_{n}/Conv_1/kernel"].shape[-1] // filters for n in range(blocks)]
        side = cases["magvit/model.in"].shape[-2]
        module = Discriminator(side, filters=filters, multipliers=multipliers, blur=pooling == "blur")
        names = discriminator_names(blocks)
        assert names.keys() == published.keys()
        module.load_state_dict({ours: convert_tensor(theirs, published[theirs]) for theirs, ours in names.items()})
        return module

    def test_logits_and_losses(self, pooling, discriminator, cases, close):
        real, fake = (discriminator(frames(cases[f"magvit/model.{side}"])) for side in ("in", "out"))
        close(
            real.view(cases[f"magvit/disc.{pooling}.real_logit"].shape),
            cases[f"magvit/disc.{pooling}.real_logit"],
            "activations",
        )
        close(
            fake.view(cases[f"magvit/disc.{pooling}.fake_logit"].shape),
            cases[f"magvit/disc.{pooling}.fake_logit"],
            "activations",
        )
        for kind in ("hinge", "non-saturating"):
            close(discriminator_loss(real, fake, kind).view(1), cases[f"magvit/disc.{pooling}.d_loss.{kind}"], "losses")
            close(generator_loss(fake, kind).view(1), cases[f"magvit/disc.{pooling}.g_loss.{kind}"], "losses")

    def test_gradient_penalty(self, pooling, discriminator, cases, close):
        clips = cases["magvit/model.in"]
        squares = squared_gradients(discriminator, frames(clips)).view(clips.shape[:-3]).sum(dim=1)
        close(10 * squares.mean().view(1), cases[f"magvit/disc.{pooling}.r1_cost10"], "gradients")


def test_lecam(cases, close):
    real, fake, mean_real, mean_fake = cases["magvit/lecam.args(real,fake,ema_real,ema_fake)"]
    close(lecam_loss(real, fake, mean_real, mean_fake).view(1), cases["magvit/lecam"], "losses")


@pytest.mark.parametrize("size", PUBLISHED_FILTERS)
def test_every_published_key_is_mapped(size, spae):
    published = spae.json(f"keys_magvit_vqgan2d_ucf101_{size}.json.gz")
    config = SpaeConfig.magvit(size)
    names = published_names(config)
    assert names.keys() == published.keys()
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in SpaeModel(config).state_dict().items()}
        found = {
            names[key]: tuple(convert_tensor(key, torch.empty(shape)).shape) for key, (shape, _) in published.items()
        }
    assert found == expected


class TestStreamingAverage:
    def test_places(self, pyramid, cases):
        places = list(range(pyramid.grid[0]))
        for layer in range(len(pyramid.layers)):
            rows, columns = pyramid.places(layer)
            expected = cases[f"saq/layer{layer + 1}.positions"].tolist()
            assert places[rows] == places[columns] == expected

    def test_tokens_remainders_means_and_counts(self, codes, cases, exact):
        for layer, (tokens, targets) in enumerate(zip(codes.tokens, codes.targets, strict=True)):
            name = f"saq/layer{layer + 1}"
            assert torch.equal(tokens, cases[f"{name}.tokens"].long())
            exact(targets, cases[f"{name}.z_l_selected"])
            exact(codes.reconstructions[layer], cases[f"{name}.zhat_le_l"])
            exact(codes.counts[layer], cases[f"{name}.count"])
        assert torch.equal(codes.flat_tokens, cases["saq/flat_tokens"].long())

    def test_words_alone_give_the_means_again(self, codes, pyramid, cases, exact):
        tokens = pyramid.split(cases["saq/flat_tokens"].long())
        for layer in range(len(tokens)):
            exact(combine_codes(tokens[: layer + 1], cases["saq/codebook"], pyramid), codes.reconstructions[layer])

    @pytest.mark.parametrize("count_empty", [True, False])
    def test_commitment(self, count_empty, codes, cases, exact, pyramid):
        z = cases["saq/z"]
        errors = (z - codes.reconstructions).square().sum(dim=-1).mean(dim=1)  # [layers, rows, columns]
        if not count_empty:
            errors = errors * (codes.counts > 0)
        name = "all" if count_empty else "filled"
        exact(errors.sum().view(1), cases[f"saq/commit_sum_{name}_positions"])
        # ours divides by what is counted: means over places instead of sums
        counted = torch.ones_like(errors) if count_empty else (codes.counts > 0).double()
        ours = (errors.sum(dim=(1, 2)) / counted.sum(dim=(1, 2)) / z.shape[-1]).sum()
        torch.testing.assert_close(commitment(z, codes, count_empty=count_empty).double(), ours, atol=1e-6, rtol=1e-6)

    def test_against_residual_quantisation(self, described, cases, exact):
        """Every place in every layer, the same table."""
        side = described["sizes"][-1]
        dense = Pyramid.square([side] * len(cases["saq/rq_mse_per_layer"]))
        for rule, name in (("residual", "rq_mse_per_layer"), ("average", "saq_dense_mse_per_layer")):
            found = quantize_layers(cases["saq/z"], cases["saq/codebook"], dense, rule=rule).reconstructions
            exact((found - cases["saq/z"]).square().mean(dim=(1, 2, 3, 4)), cases[f"saq/{name}"])


class TestGuidance:
    def test_similarities(self, cases, exact):
        images, words = cases["saq/clip.image_features"], cases["saq/clip.text_features"]
        images, words = (part / part.norm(dim=1, keepdim=True) for part in (images, words))
        exact(images @ words.T, cases["saq/clip.cosine"])
        exact(similarities(images, words), cases["saq/clip.minmax_similarity"])

    def test_pools(self, described, cases):
        pools = candidate_pools(cases["saq/clip.minmax_similarity"], described["rho"])
        for layer, pool in enumerate(pools, start=1):
            assert torch.equal(pool, cases[f"saq/pool{layer}"].bool())

    def test_candidates_and_loss(self, described, codes, cases, exact):
        losses = []
        for layer in range(1, described["Dp"] + 1):
            chosen = draw_candidates(cases[f"saq/pool{layer}"].bool(), cases[f"saq/semantic{layer}.uniforms"])
            assert torch.equal(chosen, cases[f"saq/semantic{layer}.targets"].long())
            losses.append(semantic_loss(codes.targets[layer - 1 : layer], cases["saq/codebook"], [chosen]))
            exact(losses[-1].view(1), cases[f"saq/semantic{layer}.loss"])
        exact(torch.stack(losses).mean().view(1), cases["saq/semantic.loss_mean_over_layers"])
