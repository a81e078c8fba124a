"""The foundations' weights: the package's own load, and what isn't theirs is refused, not filled up at random."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from koine.errors import InputError
from koine.foundations import clip, language_model
from koine.foundations.clip import Clip
from koine.foundations.language_model import load_language_model

Load = Callable[[str | Path], object]
LOADERS = [(Clip.load, clip.NANO_WEIGHTS, "CLIP"), (load_language_model, language_model.NANO_WEIGHTS, "language model")]


@pytest.mark.parametrize(("load", "nano", "thing"), LOADERS)
class TestFolders:
    def test_of_the_other_foundation(self, load: Load, nano: Path, thing: str) -> None:
        (other,) = {place for _, place, _ in LOADERS} - {nano}
        with pytest.raises(InputError, match=rf"holds a model of type '\w+', not a {thing}"):
            load(other)

    def test_that_are_not_there(self, load: Load, nano: Path, thing: str, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=rf"{thing} weights .*gone are not there"):
            load(tmp_path / "gone")

    @pytest.mark.parametrize("damaged", ["model.safetensors", "config.json"])
    def test_with_half_a_file(self, load: Load, nano: Path, thing: str, damaged: str, tmp_path: Path) -> None:
        folder = shutil.copytree(nano, tmp_path / "mine")
        whole = (folder / damaged).read_bytes()
        (folder / damaged).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(InputError, match=rf"{thing} weights .*mine can't be read") as complaint:
            load(folder)
        assert "\n" not in str(complaint.value)

    def test_with_a_tensor_missing_or_of_another_shape(
        self,
        load: Load,
        nano: Path,
        thing: str,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)  # what it says comes to caplog
        folder = shutil.copytree(nano, tmp_path / "mine")
        weights = load_file(folder / "model.safetensors")
        name = sorted(weights)[-1]
        tensor = weights.pop(name)
        for content in (weights, weights | {name: torch.zeros(*tensor.shape, 2)}):
            save_file(content, folder / "model.safetensors", metadata={"format": "pt"})
            with pytest.raises(InputError, match=rf"lack {name} in the config's shape \(1 such tensors\)"):
                load(folder)
        assert "REPORT" not in caplog.text


def test_the_language_model_knows_the_worlds_words() -> None:
    model, tokenizer = load_language_model()
    shown = json.loads((language_model.NANO_WEIGHTS / "config.json").read_text())
    assert len(tokenizer) == shown["vocab_size"] == model.config.vocab_size
    sense, nonsense = (
        model(input_ids=ids, labels=ids).loss.item()
        for text in ("there is a red cube", "cube a red is there")
        if (ids := tokenizer(text, return_tensors="pt")["input_ids"]) is not None
    )
    assert sense < nonsense
