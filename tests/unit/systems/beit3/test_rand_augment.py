"""RandAugment: what is drawn how often, and what each operation does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from koine.systems.beit3 import rand_augment as module
from koine.systems.beit3.rand_augment import OPERATIONS, rand_augment


def picture() -> torch.Tensor:
    """[3, 40, 40] of whole 255ths from 40 to 200."""
    drawn = torch.randint(40, 200, (3, 5, 5), generator=torch.Generator().manual_seed(1))
    return drawn.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2) / 255


def changed(name: str, sign: int = 1) -> np.ndarray:
    pixels = (picture() * 255).round().byte().permute(1, 2, 0).numpy()
    return np.asarray(OPERATIONS[name](Image.fromarray(pixels), sign), np.int64)


def before() -> np.ndarray:
    return changed("identity")


def test_the_same_seed_draws_the_same_and_another_one_something_else() -> None:
    views = [rand_augment(picture(), torch.Generator().manual_seed(seed)) for seed in (3, 3, 4, 5, 6)]
    assert views[0].shape == (3, 40, 40) and views[0].dtype == torch.float32
    assert torch.equal(views[0], views[1])
    assert any(not torch.equal(views[0], other) for other in views[2:])
    assert all(view.min() >= 0 and view.max() <= 1 for view in views)


def test_two_of_ten_are_drawn_and_each_happens_every_other_time(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[str, int]] = []

    def noting(name: str):
        return lambda picture, sign: done.append((name, sign)) or picture

    assert len(OPERATIONS) == 10
    monkeypatch.setattr(module, "OPERATIONS", {name: noting(name) for name in OPERATIONS})
    generator = torch.Generator().manual_seed(0)
    view = picture()
    for _ in range(2000):
        assert torch.equal(rand_augment(view, generator), view)
    assert len(done) / 2000 == pytest.approx(2 * 0.5, abs=0.05)
    for name in OPERATIONS:
        signs = [sign for other, sign in done if other == name]
        assert len(signs) / len(done) == pytest.approx(0.1, abs=0.03)
        assert np.mean(signs) == pytest.approx(0, abs=0.25)


def test_brightness_multiplies_and_contrast_reaches_both_ends() -> None:
    assert np.abs(changed("brightness") - np.clip(before() * 1.36, 0, 255)).max() <= 1
    for name in ("auto contrast", "equalize"):
        ends = changed(name)
        assert (ends.min(axis=(0, 1)) == 0).all() and (ends.max(axis=(0, 1)) == 255).all()


def test_sharpness_changes_edges_only() -> None:
    difference = np.abs(changed("sharpness") - before()).max(axis=-1)
    inside = difference.reshape(5, 8, 5, 8)[:, 2:6, :, 2:6]
    assert not inside.any() and difference.any()


def test_shifts_are_of_seven_pixels_and_leave_grey_behind() -> None:
    old = before()
    for name, axis in (("shift across", 1), ("shift down", 0)):
        for sign in (1, -1):
            new = changed(name, sign)
            kept = np.take(new, range(33) if sign > 0 else range(7, 40), axis)
            assert (kept == np.take(old, range(7, 40) if sign > 0 else range(33), axis)).all()
            assert (np.take(new, range(33, 40) if sign > 0 else range(7), axis) == 128).all()


def test_shears_and_rotations_have_their_size() -> None:
    stripe = np.zeros((101, 101, 3), np.uint8)
    stripe[:, 50] = 255

    def column(name: str, row: int) -> float:
        seen = np.asarray(OPERATIONS[name](Image.fromarray(stripe), 1), np.float64)[row, :, 0]
        seen[seen == 128] = 0
        return float((seen * np.arange(101)).sum() / seen.sum())

    assert abs(column("shear across", 90) - column("shear across", 10)) / 80 == pytest.approx(0.21, abs=0.02)
    slope = abs(column("rotate", 70) - column("rotate", 30)) / 40
    assert np.degrees(np.arctan(slope)) == pytest.approx(21, abs=1.5)
    assert column("shear down", 50) == 50
