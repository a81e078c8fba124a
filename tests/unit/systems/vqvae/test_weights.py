"""Published checkpoints become folders that load, and what is none of them is refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pytest import CaptureFixture
from torch import Tensor

from koine.errors import InputError
from koine.systems.vqvae.config import VQVAEConfig
from koine.systems.vqvae.model import VQVAEModel
from koine.systems.vqvae.published_names import from_pixelcnn, from_pixelsnail, from_sonnet, from_vqvae2
from koine.systems.vqvae.system import VQVAE
from koine.systems.vqvae.weights import build, convert, load_folder
from tests.parity.conftest import SHIPPED, Golden
from tests.unit.systems.vqvae.conftest import TINY

pytestmark = pytest.mark.skipif(not (SHIPPED / "vqvae").is_dir(), reason="golden data isn't there")


def published(prefix: str) -> dict[str, Tensor]:
    tensors = Golden("vqvae").tensors("weights.safetensors")
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def saved(state: dict[str, Tensor], path: Path) -> Path:
    torch.save(state, path)
    return path


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_published_vqvae2_becomes_a_folder_that_loads(tmp_path: Path, prefix: str) -> None:
    state = {prefix + name: tensor for name, tensor in published("torch/vqvae2.").items()}
    vqvae = VQVAE.load(convert(saved(state, tmp_path / "some.pt"), tmp_path / "ours"))
    assert vqvae.model.config.levels == 2 and not vqvae.model.config.skip_after_relu
    assert [grid.shape for grid in vqvae.model.encode(torch.zeros(1, 3, 16, 16))] == [(1, 2, 2), (1, 4, 4)]


def test_the_published_faces_are_known_by_their_name(tmp_path: Path) -> None:
    file = saved(published("torch/vqvae2."), tmp_path / "vqvae_560.pt")
    assert load_folder(convert(file, tmp_path / "by-name")).config.skip_after_relu
    assert not load_folder(convert(file, tmp_path / "told", skip_after_relu=False)).config.skip_after_relu


def test_a_prior_joins_the_autoencoder_whose_codes_it_draws(tmp_path: Path) -> None:
    autoencoder = published("torch/vae.")
    convert(saved(autoencoder, tmp_path / "vae.pt"), tmp_path / "vae")
    codes = len(autoencoder["codebook.embedding.weight"])
    prior = published("torch/pixelcnn.")
    width = prior["embedding.weight"].shape[1]
    prior["embedding.weight"] = torch.randn(codes, width)
    prior["output_conv.2.weight"] = torch.randn(codes, 512, 1, 1)
    prior["output_conv.2.bias"] = torch.randn(codes)
    file = saved({"model": prior, "args": {"dim": width}}, tmp_path / "prior.pt")  # type: ignore[dict-item]
    with pytest.raises(InputError, match="prior alone: name the folder"):
        convert(file, tmp_path / "both")
    vqvae = VQVAE.load(convert(file, tmp_path / "both", base=tmp_path / "vae"))
    classes = len(prior["layers.0.class_cond_embedding.weight"])
    assert vqvae.model.config.prior_labels == [[str(number) for number in range(classes)]]
    [grid] = vqvae.model.sample(2, classes=vqvae.processor.classes("1").expand(2, -1), grid=[3, 5])  # type: ignore[union-attr]
    assert grid.shape == (2, 3, 5)


def test_a_codebook_of_another_size_than_the_priors_is_bad_input(tmp_path: Path) -> None:
    convert(saved(published("torch/vae."), tmp_path / "vae.pt"), tmp_path / "vae")
    file = saved(published("torch/pixelcnn."), tmp_path / "prior.pt")  # of 13 codes; the autoencoder has 15
    with pytest.raises(InputError, match=r"does not fit this VQ-VAE: it has priors\.0\..* of shape"):
        convert(file, tmp_path / "both", base=tmp_path / "vae")


def test_what_is_none_of_the_layouts_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no VQ-VAE that koine knows"):
        convert(saved({"weight": torch.zeros(1)}, tmp_path / "a.pt"), tmp_path / "out")
    with pytest.raises(InputError, match="there is no checkpoint"):
        convert(tmp_path / "nothing.pt", tmp_path / "out")
    (tmp_path / "broken.pt").write_bytes(b"no weights")
    with pytest.raises(InputError, match="no readable checkpoint"):
        convert(tmp_path / "broken.pt", tmp_path / "out")
    for read in (from_sonnet, from_pixelcnn, from_vqvae2, from_pixelsnail):
        with pytest.raises(InputError, match=r"'fc\.weight'"):
            read({"fc.weight": torch.zeros(1)})


def test_a_missing_and_a_foreign_tensor_are_bad_input() -> None:
    config = VQVAEConfig(width=8, first_width=8, block_width=4, blocks=1, codes=4, code_width=4)
    state = VQVAEModel(config).state_dict()
    build(config, state)
    without = {name: tensor for name, tensor in state.items() if name != "autoencoder.projection.bias"}
    with pytest.raises(InputError, match=r"lacks autoencoder\.projection\.bias"):
        build(config, without)
    with pytest.raises(InputError, match="has more, which this size has not"):
        build(config, {**state, "more": torch.zeros(1)})


def test_averages_that_training_needs_are_not_made_up(tmp_path: Path) -> None:
    """Without its counts, a codebook whose averages aren't debiased would be lost at the next step of training."""
    state = published("torch/vqvae2.")
    del state["quantize_b.cluster_size"]
    with pytest.raises(InputError, match=r"lacks autoencoder\.bottom_quantizer\.counts"):
        convert(saved(state, tmp_path / "some.pt"), tmp_path / "ours")


def test_all_variables_of_sonnets_averages_are_known() -> None:
    state = from_sonnet(
        {
            f"vqvae/ema_{average}/{part}": torch.ones(1) if part == "counter" else torch.ones(*shape)
            for average, shape in (("cluster_size", (5,)), ("dw", (3, 5)))
            for part in ("hidden", "average", "counter")
        }
    )
    assert {name: list(tensor.shape) for name, tensor in state.items()} == {
        "quantizer.counts": [5],
        "quantizer.sums": [5, 3],
        "quantizer.steps": [],
    }


def test_a_prior_takes_the_place_of_another(tmp_path: Path) -> None:
    prior = published("torch/pixelcnn.")
    codes, width = len(prior["embedding.weight"]), prior["embedding.weight"].shape[1]
    config = VQVAEConfig(**{**TINY, "codes": codes, "prior_layers": 9, "prior_width": width})
    VQVAEModel(config).save_pretrained(tmp_path / "base")
    both = load_folder(convert(saved(prior, tmp_path / "prior.pt"), tmp_path / "both", base=tmp_path / "base"))
    assert torch.equal(both.priors[0].embedding.weight, prior["embedding.weight"])  # type: ignore[union-attr]


def test_an_autoencoder_needs_no_base(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no prior"):
        convert(saved(published("torch/vae."), tmp_path / "vae.pt"), tmp_path / "out", base=tmp_path / "vae")


def test_a_folder_of_another_model_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(InputError, match="a model of type 'clip', no VQ-VAE"):
        load_folder(tmp_path)


def test_folders_whose_config_is_another_models(model: VQVAEModel, tmp_path: Path, capfd: CaptureFixture[str]) -> None:
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "code_width": 5}))
    capfd.readouterr()
    with pytest.raises(InputError, match=r"has the shape \[.*\], and \[.*\] by its config"):
        load_folder(tmp_path)
    assert "REPORT" not in capfd.readouterr().err, "an error is one line"
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(InputError, match="a model of type None, no VQ-VAE"):
        load_folder(tmp_path)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"quantize_t.embed": torch.zeros(4)}, "other shapes"),
        ({"codebook.embedding.weight": torch.zeros(4, 8), "encoder.0.weight": torch.zeros(3)}, "other shapes"),
        ({"codebook.embedding.weight": torch.zeros(4, 8)}, r"lacks 'encoder\.0\.weight'"),
        ({1: torch.zeros(4)}, "holds no state dict"),
    ],
)
def test_checkpoints_that_are_cut_or_strange_leave_nothing_behind(
    state: dict[str, Tensor], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        convert(saved(state, tmp_path / "some.pt"), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["some.pt"]


def test_a_vqvae2_without_its_decoder(tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in published("torch/vqvae2.").items() if not name.startswith("dec.")}
    with pytest.raises(InputError, match="lacks blocks of a VQ-VAE"):
        convert(saved(state, tmp_path / "some.pt"), tmp_path / "out")
