"""Training: codes first, then the prior over them; on the world and on folders of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as pil

from koine import InputError
from koine.foundations.clip import Clip
from koine.systems.vqvae.config import VQVAEConfig
from koine.systems.vqvae.model import VQVAEModel
from koine.systems.vqvae.pixelcnn import UNSAID
from koine.systems.vqvae.published_recipe import CroppedPictures, FacesRecipe, PicturesRecipe
from koine.systems.vqvae.recipe import (
    LABELS,
    RECIPES,
    CaptionedCodes,
    Codes,
    NanoRecipe,
    TextsRecipe,
    classes_of,
    encode_all,
    prior_bits,
    start_from_codebook,
)
from koine.systems.vqvae.system import VQVAE
from koine.training import run
from tests.unit.systems.vqvae.conftest import TINY, noise_scenes

SMALL: dict[str, Any] = {name: TINY[name] for name in TINY if name not in ("image_size", "prior_labels")}


@pytest.fixture
def scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("koine.systems.vqvae.recipe.rendered_scenes", noise_scenes)


@pytest.mark.usefixtures("scenes")
def test_the_nano_recipe_trains_codes_and_then_their_prior(tmp_path: Path) -> None:
    recipe = NanoRecipe(options=SMALL)
    overrides = {"steps": "2", "batch_size": "8"}
    run(recipe, tmp_path, stage="features", overrides=overrides, quiet=True)
    codes = run(recipe, tmp_path, stage="codes", overrides=overrides, quiet=True)
    trained = VQVAE.load(str(codes)).model
    finished = VQVAE.load(str(run(recipe, tmp_path, overrides=overrides, quiet=True)))
    for name, tensor in trained.state_dict().items():
        same = torch.equal(tensor, finished.model.state_dict()[name])
        assert same or not name.startswith("autoencoder."), name  # the second stage leaves the codes alone
    assert finished.respond("a large red cube").image is not None


@pytest.mark.usefixtures("scenes")
def test_the_prior_learns_the_codes_of_the_trained_autoencoder(tmp_path: Path) -> None:
    recipe = NanoRecipe(options=SMALL, features_first=False)
    folder = run(recipe, tmp_path, stage="codes", overrides={"steps": "1", "batch_size": "4"}, quiet=True)
    model = recipe.build_model()
    recipe.load(model, folder)
    data = recipe.data(recipe.stages[1])
    assert isinstance(data, Codes)
    images = torch.from_numpy(noise_scenes("train", recipe.single_scenes, kind="single").images)
    assert torch.equal(data.grids, encode_all(VQVAE.load(str(folder)).model, images))


def test_muon_moves_the_kernels_of_the_priors_stacks() -> None:
    recipe = NanoRecipe(options=SMALL)
    assert [stage.name for stage in recipe.stages if stage.optimizer == "muon"] == ["prior"]
    named = dict(recipe.build_model().named_parameters())
    hidden = {id(parameter) for parameter in recipe.hidden(named)}
    names = {name for name, parameter in named.items() if id(parameter) in hidden}
    assert {name.split(".")[-2] for name in names} == {
        "vertical",
        "vertical_to_horizontal",
        "horizontal",
        "horizontal_out",
    }
    assert all(name.startswith("priors.0.layers.") and name.endswith(".weight") for name in names)


def test_classes_are_those_of_the_only_thing_and_sometimes_unsaid() -> None:
    scenes = noise_scenes("train", 24, kind="single")
    classes = classes_of(scenes)
    for row, number in zip(classes.tolist(), range(len(scenes)), strict=True):
        thing = scenes.scene(number).things[0]
        words = [known[place] for known, place in zip(LABELS, row, strict=True)]
        assert words == [thing.size, thing.colour, thing.shape]
    data = Codes(torch.zeros(24, 8, 8, dtype=torch.long), classes, (1.0, 0.0, 0.5))
    drawn = data.batch(torch.arange(24), torch.Generator().manual_seed(0))["classes"]
    assert (drawn[:, 0] == UNSAID).all() and torch.equal(drawn[:, 1], classes[:, 1])
    assert 0 < (drawn[:, 2] == UNSAID).sum() < 24
    data = Codes(torch.zeros(24, 8, 8, dtype=torch.long), classes, (0.0, 0.0, 0.0), nothing_said=0.5)
    drawn = data.batch(torch.arange(24), torch.Generator().manual_seed(0))["classes"]
    silent = (drawn == UNSAID).all(dim=1)
    assert 0 < silent.sum() < 24 and torch.equal(drawn[~silent], classes[~silent])


def test_codes_that_look_alike_begin_alike(vqvae: VQVAE) -> None:
    prior, codebook = vqvae.model.priors[0], torch.randn(12, 4)
    codebook[1] = codebook[0]
    start_from_codebook(prior, codebook)  # type: ignore[arg-type]
    embedding = prior.embedding.weight  # type: ignore[union-attr]
    assert torch.equal(embedding[0], embedding[1])  # type: ignore[index]
    assert not torch.equal(embedding[0], embedding[2])  # type: ignore[index]


def write_pictures(folder: Path, classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    for number, name in enumerate(classes * 3):
        (folder / name).mkdir(parents=True, exist_ok=True)
        pil.new("RGB", (40 + number, 30), (40 * number, 0, 0)).save(folder / name / f"{number}.png")
    return folder


def test_pictures_of_ones_own_are_cropped_to_squares(tmp_path: Path) -> None:
    files = (str(write_pictures(tmp_path)),)
    recipe = PicturesRecipe(files, nothing_said=0.5, options={**SMALL, "image_size": 16})
    data = recipe.data(recipe.stages[0])
    assert isinstance(data, CroppedPictures) and len(data) == 6
    generator = torch.Generator().manual_seed(0)
    batches = [data.batch(torch.tensor([0, 5]), generator) for _ in range(20)]
    assert batches[0]["pixels"].shape == (2, 3, 16, 16)
    classes = torch.stack([batch["classes"] for batch in batches])[..., 0]
    assert set(classes[:, 0].tolist()) == {0, -1} and set(classes[:, 1].tolist()) == {1, -1}, "half are unsaid"
    assert recipe.build_model().config.prior_labels == [["cat", "dog"]]


def test_pictures_of_ones_own_train_both_stages(tmp_path: Path) -> None:
    files = (str(write_pictures(tmp_path / "pictures")),)
    recipe = PicturesRecipe(data_files=files, options={**SMALL, "image_size": 16})
    overrides = {"steps": "1", "batch_size": "4"}
    vqvae = VQVAE.load(str(run(recipe, tmp_path / "run", overrides=overrides, quiet=True)))
    assert len(vqvae.sample(2, "dog")) == 2


def test_faces_train_two_grids_and_two_priors(tmp_path: Path) -> None:
    snail = {"width": 16, "inner": 4, "blocks": 1, "residual_blocks": 1}
    options = {
        **{name: SMALL[name] for name in ("width", "first_width", "blocks", "block_width", "codes", "code_width")},
        "image_size": 16,
        "snail_top": snail,
        "snail_bottom": {**snail, "attention": False, "condition_blocks": 1, "condition_width": 4},
    }
    recipe = FacesRecipe(data_files=(str(write_pictures(tmp_path / "pictures")),), options=options)
    finished = run(recipe, tmp_path / "run", overrides={"steps": "1", "batch_size": "2"}, quiet=True)
    vqvae = VQVAE.load(str(finished))
    assert vqvae.model.config.levels == 2 and vqvae.sample(1)[0].size == (16, 16)


def test_without_pictures_the_published_recipes_say_what_they_need() -> None:
    with pytest.raises(InputError, match="name a folder or parquet file of them with --data"):
        PicturesRecipe().build_model()
    assert set(RECIPES) == {"nano", "texts", "imagenet", "captions", "ffhq", "speech"}


@pytest.mark.usefixtures("scenes")
def test_a_prior_learns_captions_of_the_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[torch.Tensor] = []
    nats = VQVAEModel.prior_nats

    def noted(self: VQVAEModel, grids: Any, **conditions: Any) -> torch.Tensor:
        told.append(conditions["text"])
        return nats(self, grids, **conditions)

    monkeypatch.setattr(VQVAEModel, "prior_nats", noted)
    recipe = TextsRecipe(options=SMALL, features_first=False, captions_per_scene=2)
    vqvae = VQVAE.load(str(run(recipe, tmp_path, overrides={"steps": "2", "batch_size": "8"}, quiet=True)))
    config = vqvae.model.config
    assert config.prior_labels == [] and config.prior_text_width == 128 and config.prior_text_encoder == "nano"
    lengths = torch.cat([texts.norm(dim=1) for texts in told])  # of the batches, and of the evaluation
    assert ((lengths - 1).abs() < 1e-5).any() and ((lengths < 1e-5) | ((lengths - 1).abs() < 1e-5)).all()
    red, blue, free = (vqvae.respond(*words, seed=1) for words in (["a red cube"], ["a blue ball"], []))
    assert red.image is not None and len({str(reply.details["codes"]) for reply in (red, blue, free)}) == 3
    assert torch.allclose(vqvae.text_vectors(["a red cube"]), Clip.load().embed_texts(["a red cube"]), atol=1e-5)
    assert red == vqvae.respond("a red cube", seed=1)


def test_each_time_one_of_a_pictures_captions_is_drawn_or_none() -> None:
    grids, vectors = torch.arange(6)[:, None, None], 1 + torch.arange(18.0).view(6, 3, 1)
    data = CaptionedCodes(grids, vectors, nothing_said=0.3)
    batch = data.batch(torch.arange(6).repeat(50), torch.Generator().manual_seed(0))
    found = [{int(text) for text in batch["text"][number::6, 0]} for number in range(6)]
    assert found == [{0, 3 * number + 1, 3 * number + 2, 3 * number + 3} for number in range(6)]
    assert 60 < (batch["text"] == 0).sum() < 120 and torch.equal(batch["grids"][:6], grids)


def test_bits_under_a_prior_depend_on_what_it_is_told() -> None:
    model = VQVAEModel(VQVAEConfig(**{**TINY, "prior_labels": [], "prior_text_width": 3})).eval()
    grids, text = torch.randint(12, (5, 4, 4)), 5 * torch.randn(5, 3)
    told = prior_bits(model, grids, None, text=text, batch_size=2)
    assert told == pytest.approx(model.prior_nats([grids], text=text).mean().item() / np.log(2), abs=1e-5)
    assert told != pytest.approx(prior_bits(model, grids, None), abs=1e-4)
