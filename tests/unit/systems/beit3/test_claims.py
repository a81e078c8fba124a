"""The claims name arms that exist, and what they are measured by can be computed."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from koine.data.world_vision_language import plain_caption
from koine.foundations.clip import NANO_WEIGHTS
from koine.systems.beit3 import claims
from koine.systems.beit3.claims import ARMS, CLAIMS, CODEBOOKS, POSITIONS, READINGS
from koine.systems.beit3.config import HEADS
from koine.world import cache
from koine.world.facts import VALUES

from . import speaking


def test_arms_are_there_and_alike_but_for_one_thing() -> None:
    for claim in CLAIMS.values():
        ours_of, baseline_of = (READINGS[arm].of if arm in READINGS else arm for arm in (claim.ours, claim.baseline))
        for arm in (ours_of, baseline_of):
            assert arm in ARMS or arm in CODEBOOKS or arm in POSITIONS
        if ours_of in ARMS:
            ours, baseline = ARMS[ours_of], ARMS[baseline_of]
            assert ours.measured == baseline.measured and ours.tuned == baseline.tuned
            assert ours.masked + ours.contrast == baseline.masked + baseline.contrast


def test_measurements_have_the_metrics_that_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOINE_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "SHARD", 20)
    monkeypatch.setattr(claims, "JUDGED", 8)
    heads = [head for head in HEADS if head != "classification"]
    beit3 = speaking.system(tmp_path, heads=heads, image_size=64, max_text_tokens=200)
    found = claims.measure(beit3, ("statements", "retrieval"))
    assert set(CLAIMS["contrastive-for-retrieval"].metrics) <= set(found) and "statements" in found
    masked = claims.masked_colours(beit3)
    assert set(CLAIMS["half-masked"].metrics) <= set(masked)
    assert masked["gained by the picture"] == pytest.approx(
        masked["colour words with the picture"] - masked["colour words without it"]
    )


def test_the_last_colour_of_each_caption_is_hidden_and_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOINE_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "SHARD", 20)
    monkeypatch.setattr(claims, "JUDGED", 10)
    beit3 = speaking.system(tmp_path, heads=["pretraining"], image_size=64, max_text_tokens=200)
    tokenizer, config, asked = beit3.processor.tokenizer, beit3.model.config, []
    assert tokenizer is not None
    (red,) = tokenizer.segments(["red"])[0]

    def predict(pixels: object, ids: torch.Tensor, *, attention_mask: object, token_mask: torch.Tensor) -> object:
        """With a picture it always says red, without one nothing that is a word."""
        asked.append((ids, token_mask))
        said = torch.full((len(ids),), red if pixels is not None else config.pad_token_id)
        return SimpleNamespace(text_logits=torch.nn.functional.one_hot(said, config.vocab_size).float())

    monkeypatch.setattr(beit3.model, "predict_masked", predict)
    found = claims.masked_colours(beit3)
    rng, pattern = np.random.default_rng(61), "|".join(VALUES["colour"])
    captions = [plain_caption(scene, view, rng) for scene, view in cache.rendered_scenes("test", 20, kind="single")]
    last = [colours[-1] for text in captions if (colours := re.findall(rf"\b(?:{pattern})\b", text))]
    ids, hidden = asked[0]
    assert len(ids) == len(last) and (hidden.sum(dim=1) == 1).all() and (ids[hidden] == config.mask_token_id).all()
    assert found["colour words with the picture"] == pytest.approx(last.count("red") / len(last))
    assert found["colour words without it"] == 0 and last.count("red") > 0


def test_the_probe_reads_what_features_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = {}

    def told(model: object, scenes: object) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.stack([torch.randint(classes, (len(scenes),)) for classes in (2, 8, 3, 6)], dim=1)  # type: ignore[arg-type]
        features["last"] = torch.cat([torch.nn.functional.one_hot(labels[:, 1], 8), torch.randn(len(labels), 4)], 1)
        return features["last"], labels

    monkeypatch.setenv("KOINE_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "SHARD", 500)
    monkeypatch.setattr(claims, "rendered_scenes", lambda split, count, **options: range(count))
    monkeypatch.setattr(claims, "_features_and_labels", told)
    torch.manual_seed(0)
    # colours are read, the three others are guessed: (1/2 + 1 + 1/3 + 1/6) / 4
    assert claims.probe(None) == pytest.approx(0.5, abs=0.05)  # type: ignore[arg-type]


@pytest.mark.skipif(not NANO_WEIGHTS.is_dir(), reason="the nano CLIP is not in this build")
@pytest.mark.parametrize("unit", [True, False])
def test_codebooks_are_trained_and_counted(unit: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOINE_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "SHARD", 20)
    monkeypatch.setattr(claims, "SCENES", 20)
    monkeypatch.setattr(claims, "FEATURE_STEPS", 1)
    monkeypatch.setattr(claims, "TOKENIZER_STEPS", 1)
    monkeypatch.setattr(claims, "TOKENIZER_BATCH", 4)
    monkeypatch.setattr(claims, "JUDGED_CODES", 20)
    found = claims.codebook_use(unit, 0)
    assert 0 < found["usage"] <= 1 and 1 <= found["perplexity"] <= 256


@pytest.mark.parametrize(
    ("claim", "teachers"),
    [("experts", ["features"]), ("feature-codes", ["features", "pixels"]), ("unit-codes", []), ("resolution", [])],
)
def test_visual_tokenizers_are_there_before_arms_ask(
    claim: str, teachers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []
    monkeypatch.setattr(claims, "visual_tokenizer", lambda recipe: trained.append(recipe.teacher))
    claims._train_visual_tokenizers([claim])
    assert sorted(trained) == teachers
