"""VQ-VAE and its priors equal to Sonnet's and the ports': quantisers, autoencoders, training, logits, drawn grids."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.parity.conftest import Golden
from torch import Tensor
from torch.nn import functional as F

from koine.parts.moving_codebook import VQVAE2, Averaging, EMAVectorQuantizer
from koine.parts.quantize import VectorQuantizer, squared_distances
from koine.systems.vqvae.cached_sampling import sample
from koine.systems.vqvae.config import VQVAEConfig
from koine.systems.vqvae.model import VQVAEModel
from koine.systems.vqvae.pixelcnn import GatedPixelCNN
from koine.systems.vqvae.pixelsnail import PixelSnail
from koine.systems.vqvae.published_names import from_pixelcnn, from_pixelsnail, from_sonnet
from koine.systems.vqvae.sampling import SamplingOptions, sample_naively
from koine.systems.vqvae.weights import build, infer_autoencoder, infer_pixelcnn

GOLDEN = Golden("vqvae")
CASES = GOLDEN.tensors("cases.safetensors")
WEIGHTS = GOLDEN.tensors("weights.safetensors")
SONNET: dict[str, Any] = GOLDEN.manifest["sonnet_config"]
PORTS: dict[str, Any] = GOLDEN.manifest["torch_config"]


def close(ours: Tensor, name: str, *, tolerance: str = "float_forward", after: str = "") -> None:
    """Compares with a case at the manifest's tolerance: the first two numbers that stand after a word there."""
    theirs = CASES[name]
    if not theirs.is_floating_point():
        assert torch.equal(ours.to(theirs.dtype).view_as(theirs), theirs), name
        return
    stated = GOLDEN.manifest["tolerance"][tolerance]
    numbers = re.findall(r"tol (\d+(?:\.\d+)?(?:e-?\d+)?)", stated.partition(after)[2] if after else stated)
    torch.testing.assert_close(
        ours.detach().view_as(theirs),
        theirs,
        atol=float(numbers[0]),
        rtol=float(numbers[1]) if len(numbers) > 1 else 0.0,
        msg=lambda text: f"{name}: {text}",
    )


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with the prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def steps(prefix: str) -> list[int]:
    """The numbers that follow a prefix in the names of cases."""
    return sorted({int(found[1]) for name in CASES if (found := re.match(re.escape(prefix) + r"(\d+)\.", name))})


# -- quantisers --


def test_the_gradient_codebook_equals_sonnets() -> None:
    case = under("sonnet/vq.", CASES | WEIGHTS)
    codebook = case["embeddings"].T.contiguous()
    quantizer = VectorQuantizer(*codebook.shape, commitment=SONNET["beta"])
    quantizer.codebook.data.copy_(codebook)
    vectors = case["in"].clone().requires_grad_()
    found = quantizer(vectors)
    (found.loss + (found.vectors * case["R"]).sum()).backward()
    close(found.vectors, "sonnet/vq.quantize")
    close(found.loss, "sonnet/vq.loss")
    close(found.perplexity, "sonnet/vq.perplexity")
    close(found.indices, "sonnet/vq.encoding_indices")
    close(squared_distances(vectors.flatten(0, -2), quantizer.codebook), "sonnet/vq.distances")
    assert vectors.grad is not None and quantizer.codebook.grad is not None
    close(vectors.grad, "sonnet/vq.grad_in", tolerance="gradients")
    close(quantizer.codebook.grad.T, "sonnet/vq.grad_embeddings", tolerance="gradients")


def test_the_moving_codebook_equals_sonnets_step_by_step() -> None:
    start = (CASES | WEIGHTS)["sonnet/ema.embeddings"].T
    averaging = Averaging(decay=SONNET["decay"], epsilon=SONNET["eps"])
    quantizer = EMAVectorQuantizer(*start.shape, commitment=SONNET["beta"], averaging=averaging)
    quantizer.codebook.copy_(start)
    for step in steps("sonnet/ema."):
        case = f"sonnet/ema.{step}."
        vectors = CASES[f"{case}in"].clone().requires_grad_()
        found = quantizer(vectors)
        found.loss.backward()
        assert vectors.grad is not None
        close(found.vectors, f"{case}quantize")
        close(found.loss, f"{case}loss")
        close(found.perplexity, f"{case}perplexity")
        close(found.indices, f"{case}encoding_indices")
        close(vectors.grad, f"{case}grad_in", tolerance="gradients")
        close(quantizer.steps, f"{case}counter_after")
        seen = 1 - SONNET["decay"] ** int(quantizer.steps)
        for ours, theirs in (
            (quantizer.codebook.T, "embeddings_after"),
            (quantizer.counts, "cluster_hidden_after"),
            (quantizer.sums.T, "dw_hidden_after"),
            (quantizer.counts / seen, "cluster_average_after"),
            (quantizer.sums.T / seen, "dw_average_after"),
        ):
            close(ours.contiguous(), case + theirs, after="states")
    before = {name: tensor.clone() for name, tensor in quantizer.state_dict().items()}
    found = quantizer.eval()(CASES["sonnet/ema.eval.in"])
    close(found.vectors, "sonnet/ema.eval.quantize")
    close(found.loss, "sonnet/ema.eval.loss")
    assert all(torch.equal(tensor, before[name]) for name, tensor in quantizer.state_dict().items())


def test_the_biased_averages_equal_those_of_vqvae2() -> None:
    start = (CASES | WEIGHTS)["torch/quantize2.embed_init"].T
    # The manifest doesn't name the decay, but the first step's counts, which start at 0, tell it.
    first = CASES["torch/quantize2.0.cluster_size_after"].sum() / CASES["torch/quantize2.0.ind"].numel()
    decay = round(1 - float(first), 4)
    quantizer = EMAVectorQuantizer(*start.shape, averaging=replace(VQVAE2, decay=decay))
    quantizer.codebook.copy_(start)
    quantizer.sums.copy_(start)
    for step in steps("torch/quantize2."):
        case = f"torch/quantize2.{step}."
        found = quantizer(CASES[f"{case}in"])
        close(found.vectors, f"{case}out")
        close(found.indices, f"{case}ind")
        close(found.commitment_loss, f"{case}diff")
        close(quantizer.codebook.T.contiguous(), f"{case}embed_after")
        close(quantizer.counts, f"{case}cluster_size_after")
        close(quantizer.sums.T.contiguous(), f"{case}embed_avg_after")


# -- Sonnet's model --


@pytest.fixture
def sonnet() -> VQVAEModel:
    config = VQVAEConfig.published(
        "sonnet",
        width=SONNET["H"],
        first_width=SONNET["H"] // 2,
        blocks=SONNET["RL"],
        block_width=SONNET["RH"],
        code_width=SONNET["D"],
        codes=SONNET["K"],
        commitment=SONNET["beta"],
        ema_decay=SONNET["decay"],
        ema_epsilon=SONNET["eps"],
        image_size=SONNET["img"],
        data_variance=SONNET["var"],
    )
    state = from_sonnet(under("sonnet/model.", WEIGHTS))
    return build(config, {f"autoencoder.{name}": tensor for name, tensor in state.items()})


def channels_last(tensor: Tensor) -> Tensor:
    return tensor.movedim(1, -1).contiguous()


def test_the_autoencoder_equals_sonnets(sonnet: VQVAEModel) -> None:
    seen: list[Tensor] = []
    encoder = sonnet.autoencoder.encoder
    for module in (encoder.convolutions[0], encoder.convolutions[1], encoder, sonnet.autoencoder.projection):
        module.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    found = sonnet(CASES["sonnet/model.in"].movedim(-1, 1))
    for ours, theirs in zip(seen, ("enc_1", "enc_2", "enc_out", "z"), strict=True):
        close(channels_last(ours), f"sonnet/model.{theirs}")
    [grid] = found.quantized
    close(grid.vectors, "sonnet/model.quantize")
    close(grid.indices, "sonnet/model.encoding_indices")
    close(grid.perplexity, "sonnet/model.perplexity")
    close(channels_last(found.pixels), "sonnet/model.x_recon")
    close(found.reconstruction_loss, "sonnet/model.recon_error")
    close(found.loss, "sonnet/model.loss")


def test_decoding_the_codes_gives_the_reconstruction(sonnet: VQVAEModel) -> None:
    close(channels_last(sonnet.decode([CASES["sonnet/model.encoding_indices"].long()])), "sonnet/model.x_recon")


def test_training_goes_sonnets_way(sonnet: VQVAEModel) -> None:
    optimizer = torch.optim.Adam(sonnet.parameters(), lr=SONNET["lr"])
    sonnet.train()
    for step in steps("sonnet/train."):
        case = f"sonnet/train.{step}."
        found = sonnet(CASES[f"{case}in"].movedim(-1, 1))
        optimizer.zero_grad()
        found.loss.backward()
        [grid] = found.quantized
        for ours, theirs in (
            (found.loss, "loss"),
            (found.reconstruction_loss, "recon_error"),
            (grid.perplexity, "perplexity"),
        ):
            torch.testing.assert_close(
                ours.detach().view(1), CASES[case + theirs], rtol=GOLDEN.tolerance("adam_4_steps", "rtol"), atol=0
            )
        if gradients := under(f"{case}grad.", CASES):
            ours_by_name = {name.removeprefix("autoencoder."): value for name, value in sonnet.named_parameters()}
            for name, gradient in from_sonnet(gradients).items():
                value = ours_by_name[name].grad
                assert value is not None
                torch.testing.assert_close(
                    value,
                    gradient,
                    atol=GOLDEN.tolerance("gradients", "atol"),
                    rtol=GOLDEN.tolerance("gradients", "rtol"),
                )
        optimizer.step()
        codebook = sonnet.autoencoder.quantizer.codebook.T.contiguous()
        torch.testing.assert_close(
            codebook, CASES[f"{case}embeddings_after"], atol=GOLDEN.tolerance("adam_4_steps", "atol"), rtol=0
        )
    state = {name.removeprefix("autoencoder."): value for name, value in sonnet.state_dict().items()}
    for name, value in from_sonnet(under("sonnet/train.after.", CASES)).items():
        torch.testing.assert_close(state[name], value, atol=GOLDEN.tolerance("adam_4_steps", "atol"), rtol=0)


# -- the ports --


def test_the_autoencoder_equals_pytorch_vqvae() -> None:
    config, state = infer_autoencoder(under("torch/vae.", WEIGHTS), image_size=None)
    model = build(config, {f"autoencoder.{name}": tensor for name, tensor in state.items()})
    features: list[Tensor] = []
    model.autoencoder.encoder.register_forward_hook(lambda _module, _inputs, output: features.append(output))
    found = model(CASES["torch/vae.in"])
    [grid] = found.quantized
    close(features[0], "torch/vae.z_e")
    close(grid.vectors.movedim(-1, 1).contiguous(), "torch/vae.z_q")
    close(grid.indices, "torch/vae.latents")
    close(found.pixels, "torch/vae.x_tilde")
    close(found.reconstruction_loss, "torch/vae.loss_recons")
    close(grid.codebook_loss, "torch/vae.loss_vq")
    close(grid.commitment_loss, "torch/vae.loss_commit")
    found.loss.backward()
    gradients = {name: value.grad for name, value in model.autoencoder.named_parameters()}
    close(gradients["quantizer.codebook"], "torch/vae.grad_codebook", tolerance="gradients")
    close(gradients["encoder.convolutions.0.weight"], "torch/vae.grad_enc0", tolerance="gradients")


@pytest.mark.parametrize(("case", "legacy"), [("torch/vqvae2.", False), ("torch/vqvae2_legacy.", True)])
def test_the_two_levels_equal_vqvae2(case: str, legacy: bool) -> None:
    options = {"skip_after_relu": legacy, "image_size": None}
    config, state = infer_autoencoder(under("torch/vqvae2.", WEIGHTS), **options)
    model = build(config, {f"autoencoder.{name}": tensor for name, tensor in state.items()})
    seen: dict[str, Tensor] = {}
    for name in ("bottom_encoder", "top_encoder"):
        module = model.autoencoder.get_submodule(name)
        module.register_forward_hook(lambda _module, _inputs, output, name=name: seen.update({name: output}))
    with torch.no_grad():
        found = model(CASES["torch/vqvae2.in"])
    top, bottom = found.quantized
    ours = {
        "enc_b": seen["bottom_encoder"],
        "enc_t": seen["top_encoder"],
        "quant_t": top.vectors.movedim(-1, 1).contiguous(),
        "quant_b": bottom.vectors.movedim(-1, 1).contiguous(),
        "id_t": top.indices,
        "id_b": bottom.indices,
        "diff": top.commitment_loss + bottom.commitment_loss,
        "dec": found.pixels,
        "decode_code": model.decode([top.indices, bottom.indices]),
    }
    compared = [name for name in ours if case + name in CASES]
    assert "dec" in compared and "id_b" in compared
    for name in compared:
        close(ours[name], case + name)


# -- priors --


@pytest.fixture
def pixelcnn() -> GatedPixelCNN:
    sizes = PORTS["pc"]
    published = under("torch/pixelcnn.", WEIGHTS)
    prior = GatedPixelCNN(
        sizes["input_dim"], width=sizes["dim"], layers=sizes["n_layers"], attributes=(sizes["n_classes"],)
    )
    prior.load_state_dict(from_pixelcnn(published))
    return prior.eval()


def asked() -> Tensor:
    return CASES["torch/pixelcnn.label"].long()[:, None]


def test_the_gated_pixelcnn_equals_the_port_layer_by_layer(pixelcnn: GatedPixelCNN) -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    for layer in pixelcnn.layers:
        layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    grids = CASES["torch/pixelcnn.x"].long()
    logits = pixelcnn(grids, asked())
    close(logits, "torch/pixelcnn.logits")
    close(F.cross_entropy(logits, grids), "torch/pixelcnn.loss_nats")
    assert len(seen) == len(steps("torch/pixelcnn.layer"))
    for number, (vertical, horizontal) in enumerate(seen):
        close(vertical, f"torch/pixelcnn.layer{number}.v")
        close(horizontal, f"torch/pixelcnn.layer{number}.h")


def test_what_mask_a_hides_changes_nothing(pixelcnn: GatedPixelCNN) -> None:
    unmasked = {f"layers.0.{name}": value for name, value in under("torch/pixelcnn.unmasked.layers.0.", CASES).items()}
    assert unmasked
    pixelcnn.load_state_dict(from_pixelcnn(unmasked), strict=False)
    close(pixelcnn(CASES["torch/pixelcnn.x"].long(), asked()), "torch/pixelcnn.logits")


@pytest.mark.parametrize("way", ["cached", "naive"])
def test_the_drawn_grids_are_the_ports(pixelcnn: GatedPixelCNN, way: str) -> None:
    uniforms = CASES["torch/pixelcnn.uniforms"]
    drawn = [name for name in under("torch/pixelcnn.", CASES) if name == "greedy" or name.startswith("sampled")]
    assert drawn
    for name in drawn:
        temperature = 0.0 if name == "greedy" else float(name.partition("_T")[2] or 1)
        options = SamplingOptions(temperature=temperature)
        if way == "cached":
            grids = sample(pixelcnn, uniforms, classes=asked(), options=options)
        else:
            grids = sample_naively(lambda drawn: pixelcnn(drawn, asked()), uniforms, options)
        close(grids, f"torch/pixelcnn.{name}")


@pytest.mark.parametrize("level", ["top", "bottom"])
def test_pixelsnail_equals_the_port(level: str) -> None:
    prior = PixelSnail(**snail_sizes(PORTS[level])).eval()
    prior.load_state_dict(from_pixelsnail(under(f"torch/pixelsnail_{level}.", WEIGHTS)))
    coarse = CASES.get(f"torch/pixelsnail_{level}.cond")
    logits = prior(CASES[f"torch/pixelsnail_{level}.x"].long(), None if coarse is None else coarse.long())
    close(logits, f"torch/pixelsnail_{level}.logits")


def snail_sizes(theirs: dict[str, Any]) -> dict[str, Any]:
    """The port's arguments by our names."""
    names = {
        "n_class": "codes",
        "channel": "width",
        "kernel_size": "kernel",
        "n_block": "blocks",
        "n_res_block": "residual_blocks",
        "res_channel": "inner",
        "attention": "attention",
        "n_cond_res_block": "condition_blocks",
        "cond_res_channel": "condition_width",
        "cond_res_kernel": "condition_kernel",
        "n_out_res_block": "out_blocks",
    }
    return {names[name]: value for name, value in theirs.items() if name in names}


# -- published checkpoints --


def published_keys(name: str) -> dict[str, Tensor]:
    """The tensors of a published checkpoint, without values."""
    listed = GOLDEN.json(f"keys_{name}.json.gz")
    listed = listed.get("keys", listed)
    return {
        key: torch.empty(shape, device="meta", dtype=getattr(torch, kind.removeprefix("torch.")))
        for key, (shape, kind) in listed.items()
    }


def shapes(tensors: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


@pytest.mark.parametrize("name", ["vqvae2_ffhq256", "vqvae_rithesh_d256_k512"])
def test_every_tensor_of_a_published_autoencoder_has_its_place(name: str) -> None:
    config, state = infer_autoencoder(published_keys(name))
    with torch.device("meta"):
        expected = VQVAEModel(config).autoencoder.state_dict()
    never_published = {key for key in expected if key.endswith((".steps", ".started"))}
    assert shapes(state) == {key: size for key, size in shapes(expected).items() if key not in never_published}


def test_every_tensor_of_the_published_pixelcnn_has_its_place() -> None:
    fields, state = infer_pixelcnn(published_keys("gated_pixelcnn_k512_d64_l15"))
    with torch.device("meta"):
        expected = VQVAEModel(VQVAEConfig(codes=512, **fields)).priors[0].state_dict()
    assert shapes(state) == shapes(expected)


@pytest.mark.parametrize(("name", "level"), [("pixelsnail_top32", "top"), ("pixelsnail_bottom64", "bottom")])
def test_every_tensor_of_the_published_pixelsnail_has_its_place(name: str, level: str) -> None:
    state = from_pixelsnail(published_keys(name))
    config = VQVAEConfig.published("vq-vae-2", prior="pixelsnail")
    with torch.device("meta"):
        expected = VQVAEModel(config).priors[["top", "bottom"].index(level)].state_dict()
    assert shapes(state) == shapes(expected)
