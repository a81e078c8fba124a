"""A prior that is told the captions of pictures of one's own, through a CLIP of any folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as pil
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from koine import InputError
from koine.foundations.clip import Clip
from koine.registry import shipped_weights
from koine.systems.vqvae.captions_recipe import CaptionedViews, CaptionsRecipe
from koine.systems.vqvae.system import VQVAE
from koine.systems.vqvae.text_encoder import TextEncoder
from koine.training import run
from tests.unit.systems.vqvae.conftest import TINY

SMALL: dict[str, Any] = {name: TINY[name] for name in TINY if name != "prior_labels"}
TEXTS = ["a red cube", "a large ball on a table", "b"]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A CLIP in transformers' form with CLIP's own kind of tokenizer, whose end is the last id, which also pads."""
    folder = tmp_path / "clip"
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(1)
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2}
    ids = {"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1, "pad_token_id": len(words) - 1}
    text = {**sizes, **ids, "vocab_size": len(words), "max_position_embeddings": 12}
    config = CLIPConfig(text_config=text, vision_config={**sizes, "image_size": 8, "patch_size": 4}, projection_dim=6)
    CLIPModel(config).save_pretrained(folder)
    return folder


def write_captions(folder: Path) -> Path:
    folder.mkdir()
    lines = []
    for number, text in enumerate(TEXTS):
        pixels = np.random.default_rng(number).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        pil.fromarray(pixels).save(folder / f"{number}.png")
        lines.append(json.dumps({"file_name": f"{number}.png", "captions": [text, "c"]}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder


def test_texts_become_the_vectors_of_their_clip(clip: Path) -> None:
    encoder = TextEncoder.load(str(clip))
    vectors = encoder.embed_texts(TEXTS, batch_size=2)
    assert encoder.width == 6 and vectors.shape == (3, 6)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(3), atol=1e-5)
    model, tokenizer = CLIPModel.from_pretrained(clip).eval(), CLIPTokenizer.from_pretrained(clip)
    for text, vector in zip(TEXTS, vectors, strict=True):  # alone, so that nothing is padded
        given = tokenizer([text], truncation=True, max_length=12, return_tensors="pt")
        with torch.no_grad():
            alone = model.get_text_features(**given).pooler_output[0]
        assert torch.allclose(vector, alone / alone.norm(), atol=1e-5), text


@pytest.mark.parametrize("source", ["nano", str(shipped_weights("clip"))])
def test_the_nano_clip_is_known_by_its_name_and_its_folder(source: str) -> None:
    found = TextEncoder.load(source).embed_texts(TEXTS)
    assert torch.allclose(found, Clip.load().embed_texts(TEXTS), atol=1e-5)


def test_views_come_with_one_of_their_captions_or_none(tmp_path: Path, clip: Path) -> None:
    folder = write_captions(tmp_path / "pictures")
    recipe = CaptionsRecipe((str(folder),), text_encoder=str(clip), options=SMALL, nothing_said=0.5)
    data = recipe.data(recipe.stages[1])
    assert isinstance(data, CaptionedViews) and len(data) == 3
    batch = data.batch(torch.zeros(60, dtype=torch.long), torch.Generator().manual_seed(0))
    assert batch["pixels"].shape == (60, 3, 16, 16) and -0.5 <= batch["pixels"].min() < batch["pixels"].max() <= 0.5
    assert 15 < batch["said"].sum() < 45
    possible = {tuple(row) for row in TextEncoder.load(str(clip)).tokens([TEXTS[0], "c"]).tolist()}
    assert {tuple(row) for row in batch["ids"].tolist()} == possible


def test_the_prior_is_told_a_caption_unless_it_is_left_away(tmp_path: Path, clip: Path) -> None:
    folder = write_captions(tmp_path / "pictures")
    recipe = CaptionsRecipe((str(folder),), text_encoder=str(clip), options=SMALL)
    model = recipe.build_model().eval()
    batch = recipe.data(recipe.stages[1]).batch(torch.arange(3), torch.Generator().manual_seed(0))
    grids, text = model.encode(batch["pixels"]), TextEncoder.load(str(clip)).vectors(batch["ids"])
    for said, told in ((True, text), (False, None)):
        found = recipe.loss(model, {**batch, "said": torch.full((3, 1), said)})["loss"]
        assert torch.allclose(found, model.prior_nats(grids, text=told).mean(), atol=1e-6), said
    assert not torch.allclose(model.prior_nats(grids, text=text).mean(), model.prior_nats(grids).mean(), atol=1e-6)


def test_both_stages_are_trained_and_texts_are_drawn(tmp_path: Path, clip: Path) -> None:
    folder = write_captions(tmp_path / "pictures")
    recipe = CaptionsRecipe((str(folder),), text_encoder=str(clip), options=SMALL)
    overrides = {"steps": "2", "batch_size": "4"}
    vqvae = VQVAE.load(str(run(recipe, tmp_path / "run", overrides=overrides, quiet=True)))
    assert vqvae.model.config.prior_text_width == 6 and vqvae.model.config.prior_text_encoder == str(clip)
    drawn = vqvae.respond("a red cube", seed=2)
    assert drawn.image is not None and drawn.image.size == (16, 16)
    assert drawn == vqvae.respond("a red cube", seed=2)


def test_what_is_missing_is_bad_input(tmp_path: Path, clip: Path) -> None:
    with pytest.raises(InputError, match="folder of a CLIP with --set text_encoder=FOLDER"):
        CaptionsRecipe().build_model()
    with pytest.raises(InputError, match="name a list of them with captions with --data"):
        recipe = CaptionsRecipe(text_encoder=str(clip), options=SMALL)
        recipe.data(recipe.stages[0])
    with pytest.raises(InputError, match=r"CLIP weights .*nowhere are not there"):
        TextEncoder.load(str(tmp_path / "nowhere"))
    (clip / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="has no tokenizer"):
        TextEncoder.load(str(clip))
    for name in ("tokenizer.json", "vocab.json"):
        (clip / name).unlink(missing_ok=True)
    with pytest.raises(InputError, match="has no tokenizer that can be read: put its files there"):
        TextEncoder.load(str(clip))
