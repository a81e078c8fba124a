"""A tiny BEiT-3 that reads and writes: untrained weights, and a tokenizer of a few words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from koine.systems.beit3.config import Beit3Config
from koine.systems.beit3.model import Beit3Model
from koine.systems.beit3.processor import Beit3Processor
from koine.systems.beit3.system import Beit3
from koine.systems.beit3.tokenizer import Beit3Tokenizer, train_pieces

PIECES = 220
WORDS = (
    "what colour is the cube ball ring cone arch cylinder red blue green orange yellow cyan purple white "
    "there are two both pictures show a of and picture"
)
ANSWERS = ("yes", "no", "red", "blue")
HEADS = ["vqa", "nlvr2", "captioning", "retrieval"]


def config(**options: Any) -> Beit3Config:
    sizes = {
        "heads": HEADS,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "image_size": 16,
        "patch_size": 8,
        "vocab_size": PIECES + 2,
        "mask_token_id": PIECES + 1,
        "max_text_tokens": 24,
        "num_answers": len(ANSWERS),
        "num_image_codes": 7,
        "experts": "feed-forward",
        "initialization": "sub-ln",
    }
    return Beit3Config(**{**sizes, **options})


def pieces_file(folder: Path, name: str = "tokenizer.model", pieces: int = PIECES) -> Path:
    if not (folder / name).is_file():
        train_pieces([WORDS] * 20, folder / name, pieces=pieces)
    return folder / name


def tokenizer(folder: Path, **options: Any) -> Beit3Tokenizer:
    pieces_file(folder)
    return Beit3Tokenizer.from_folder(folder, config(**options))


def system(folder: Path, **options: Any) -> Beit3:
    torch.manual_seed(0)
    model = Beit3Model(config(**options)).eval()
    with torch.no_grad():  # the published start of this head says nothing at all
        if "nlvr2" in model.heads:
            for parameter in model.heads["nlvr2"].parameters():
                parameter.normal_()
    names = ANSWERS if len(ANSWERS) == model.config.num_answers else ()
    return Beit3(model, Beit3Processor(tokenizer(folder), model.config, answers=names))
