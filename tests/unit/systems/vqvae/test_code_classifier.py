"""What a grid shows, told from its codes, and the drawings that are chosen by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from koine.errors import InputError
from koine.systems.vqvae import recipe as recipe_module
from koine.systems.vqvae.code_classifier import CodeClassifier, agreement
from koine.systems.vqvae.config import VQVAEConfig
from koine.systems.vqvae.model import VQVAEModel
from koine.systems.vqvae.pixelcnn import UNSAID
from koine.systems.vqvae.processor import VQVAEProcessor
from koine.systems.vqvae.recipe import NanoRecipe, ShownCodes
from koine.systems.vqvae.sampling import SamplingOptions
from koine.systems.vqvae.system import CANDIDATES, GUIDANCE, VQVAE
from koine.systems.vqvae.weights import load_folder
from koine.training import run

from .conftest import TINY, noise_scenes
from .test_recipe import SMALL

CLASSES = torch.tensor([[0, 2], [UNSAID, 1]])


@pytest.fixture
def choosing() -> VQVAEModel:
    return VQVAEModel(VQVAEConfig(**TINY, classifier_width=8)).eval()


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_each_attribute_has_logits_and_codes_of_any_scale_give_the_same() -> None:
    classifier = CodeClassifier(4, codes_per_cell=2, attributes=[2, 3], width=8).eval()
    grids, codebook = torch.randint(12, (5, 3, 6)), torch.randn(12, 4)
    size, colour = classifier(grids, codebook)
    assert size.shape == (5, 2) and colour.shape == (5, 3)
    torch.testing.assert_close(classifier(grids, 10 * codebook + 3)[1], colour, atol=1e-4, rtol=1e-4)
    assert not torch.equal(classifier(grids.flip(2), codebook)[1], colour)


def test_only_what_is_said_counts() -> None:
    logits = [torch.randn(2, 2), torch.randn(2, 3)]
    sure = [each.log_softmax(dim=1) for each in logits]
    torch.testing.assert_close(agreement(logits, CLASSES), torch.stack((sure[0][0, 0] + sure[1][0, 2], sure[1][1, 1])))


def test_the_fittest_candidate_is_kept(choosing: VQVAEModel) -> None:
    [drawn] = choosing.sample(6, classes=CLASSES.repeat_interleave(3, dim=0), generator=generator())
    [kept] = choosing.sample(2, classes=CLASSES, options=SamplingOptions(candidates=3), generator=generator())
    with torch.no_grad():
        fitting = agreement(choosing.classify([drawn]), CLASSES.repeat_interleave(3, dim=0)).view(2, 3)
    assert torch.equal(kept, torch.stack([drawn[fitting[0].argmax()], drawn[3 + fitting[1].argmax()]]))
    assert len({float(each) for each in fitting.flatten()}) > 2


def test_where_nothing_is_asked_one_is_drawn(choosing: VQVAEModel) -> None:
    [plain] = choosing.sample(2, generator=generator())
    [kept] = choosing.sample(2, options=SamplingOptions(candidates=3), generator=generator())
    assert torch.equal(plain, kept)


def test_replies_choose_by_default_and_draw_one_if_told_to(choosing: VQVAEModel) -> None:
    vqvae = VQVAE(choosing, VQVAEProcessor(choosing.config))
    asked = vqvae.processor.classes("a red")
    assert asked is not None
    for given, candidates in (({}, CANDIDATES), ({"candidates": 1}, 1)):
        options = SamplingOptions(guidance=GUIDANCE, candidates=candidates)
        [expected] = choosing.sample(2, classes=asked.expand(2, -1), options=options, generator=generator())
        reply = vqvae.respond("a red", samples=2, **given)
        assert reply.details["codes"] == [[grid.tolist()] for grid in expected]
    first, second = (vqvae.respond("a red", samples=4, candidates=each).details["codes"] for each in (1, CANDIDATES))
    assert first != second


def test_a_model_without_one_does_not_choose(vqvae: VQVAE, choosing: VQVAEModel) -> None:
    with pytest.raises(InputError, match="candidates 2: a choice takes a classifier"):
        vqvae.model.sample(1, classes=CLASSES[:1], options=SamplingOptions(candidates=2))
    with pytest.raises(InputError, match="no classifier of codes"):
        vqvae.model.classify([torch.zeros(1, 4, 4, dtype=torch.long)])
    assert vqvae.candidates == 1 and VQVAE(choosing, VQVAEProcessor(choosing.config)).candidates == CANDIDATES


@pytest.mark.parametrize("wrong", [{"prior_labels": []}, {"dimensions": 1, "channels": 1}])
def test_one_that_could_tell_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="classifier_width 8"):
        VQVAEConfig(**{**TINY, "classifier_width": 8, **wrong})


def test_zero_candidates_are_refused() -> None:
    with pytest.raises(InputError, match="candidates 0"):
        SamplingOptions(candidates=0)


def test_it_learns_what_is_shown_and_nothing_else_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe_module, "rendered_scenes", noise_scenes)
    recipe = NanoRecipe(24, 24, options=SMALL)
    overrides = {"steps": "1", "batch_size": "8", "classifier.steps": "60"}
    folder = run(recipe, tmp_path, overrides=overrides, quiet=True)
    data = recipe.data(recipe.stages[-1])
    assert isinstance(data, ShownCodes)
    batch = data.batch(torch.arange(24), generator())
    assert torch.equal(batch["shown"], recipe_module.classes_of(noise_scenes("train", 24, kind="single")))
    before, after = (load_folder(each).state_dict() for each in (tmp_path / "prior", folder))
    moved = {name.split(".")[0] for name in after if not torch.equal(before[name], after[name])}
    assert moved == {"classifier"}
    model = load_folder(folder)
    assert recipe.loss(model, batch)["loss"] < recipe.loss(load_folder(tmp_path / "prior"), batch)["loss"]
