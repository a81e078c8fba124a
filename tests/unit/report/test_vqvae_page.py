"""VQ-VAE's page: reconstructions beside their originals, and drawings, all of them the model's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from koine.report.pages import vqvae as room
from koine.report.pages.vqvae import ASKED, REBUILT, SAMPLES, SIDE, page, strip
from koine.sentence import Image
from koine.systems.vqvae.model import VQVAEModel
from koine.systems.vqvae.processor import VQVAEProcessor
from koine.systems.vqvae.recipe import LABELS, nano_config
from koine.systems.vqvae.system import VQVAE
from koine.world.things import HELD_OUT
from tests.unit.systems.vqvae.conftest import TINY


@pytest.fixture
def vqvae() -> VQVAE:
    torch.manual_seed(0)
    sizes = {name: TINY[name] for name in TINY if name not in ("image_size", "prior_labels")}
    model = VQVAEModel(nano_config(**sizes)).eval()
    return VQVAE(model, VQVAEProcessor(model.config))


def test_originals_stand_beside_what_their_codes_keep(vqvae: VQVAE) -> None:
    section = page(vqvae, seed=3)
    assert len(section.figures) == len(REBUILT) + len(ASKED)
    pair = section.figures[0].picture.pixels
    left, right = pair[:, :SIDE], pair[:, -SIDE:]
    assert np.abs(left.astype(int) - right).mean() > 1  # an untrained model doesn't give the original back
    [table] = section.tables
    assert [row[0] for row in table.rows] == list(REBUILT) and table.rows[0][1] == "8 x 16"


def test_the_seed_decides_what_is_shown(vqvae: VQVAE) -> None:
    first, again, other = page(vqvae, 1), page(vqvae, 1), page(vqvae, 2)
    assert first == again
    assert all(one.picture != two.picture for one, two in zip(first.figures, other.figures, strict=True))


def test_the_prior_knows_what_is_asked_and_has_seen_it(vqvae: VQVAE) -> None:
    for words in ASKED:
        classes = vqvae.processor.classes(words)
        assert classes is not None
        _, colour, shape = classes[0].tolist()
        assert (LABELS[1][colour], LABELS[2][shape]) not in HELD_OUT


def test_pictures_stand_side_by_side_with_a_gap() -> None:
    dark = Image(np.zeros((64, 64, 3), np.uint8))
    row = strip([dark] * SAMPLES).pixels
    assert row.shape == (SIDE, SAMPLES * SIDE + (SAMPLES - 1) * (SIDE // 32), 3)
    assert (row[:, SIDE : SIDE + SIDE // 32] == 255).all() and (row[:, :SIDE] == 0).all()
    assert room.PAPER.endswith("1711.00937")
