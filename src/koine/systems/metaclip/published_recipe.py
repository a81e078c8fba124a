"""MetaCLIP trained as published, on curated pairs of pictures and texts that lie on this machine.

Settings are those of the paper's section 4.1 and of the released training script. Every size sees 12.8 billion pairs,
whatever the size of the data, which was never released.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from koine.errors import InputError
from koine.foundations.clip import MEAN, STD
from koine.parts.contrastive import contrastive_loss
from koine.sentence import Image
from koine.systems.metaclip.config import SIZES, TEXT_LENGTH, TOKENIZERS, Tokens, build_config
from koine.systems.metaclip.model import (
    LARGEST_SCALE,
    image_features,
    model_class,
    text_features,
)
from koine.systems.metaclip.weights import load_tokenizer
from koine.training import Recipe, Stage, TrainingData
from koine.training.data import Batch

SEEN_PAIRS = 12_800_000_000
BATCH = 32_768
SMALLEST_CROP = 0.9
"""The least share of a picture's area that a training crop has."""
IMAGE, TEXT, UID, PROBABILITY = "image", "text", "uid", "keep_probability"
"""Columns of the files: the picture's path, its text or texts, its id, and with online curation each text's chance."""


class CuratedPictures(TrainingData):
    """Pairs from the parquet files that `koine curate run` wrote, with a column that says where each picture lies.

    Rows with the same uid are texts of one picture, of which each view draws one. If the files have `keep_probability`
    (online curation), what is drawn is kept by its probability, and else another is drawn.
    """

    def __init__(self, files: tuple[str, ...], images: str | None, tokenizer: Any, *, image_size: int) -> None:
        """
        Raises:
            InputError: a file is missing, or lacks a column.
        """
        self.folder = Path(images or ".")
        self.tokenizer = tokenizer
        self.image_size = image_size
        table = pa.concat_tables([_read(Path(file)) for file in files], promote_options="default")
        table = table.take(pc.sort_indices(table, [(IMAGE, "ascending")]))
        names = table[IMAGE].combine_chunks()
        group = names.dictionary_encode()
        self.names = group.dictionary
        self.texts = table[TEXT].combine_chunks()
        of_text = group.indices.to_numpy()
        begins = np.flatnonzero(np.diff(of_text, prepend=-1))
        self.begins, self.sizes = torch.from_numpy(begins), torch.from_numpy(np.diff(np.append(begins, len(of_text))))
        self.probabilities: Tensor | None = None
        if PROBABILITY in table.column_names:
            chances = table[PROBABILITY].combine_chunks().to_numpy(zero_copy_only=False)
            self.probabilities = torch.from_numpy(np.array(chances, np.float64))

    def __len__(self) -> int:
        return len(self.names)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """Returns pixel_values [b, 3, size, size] and input_ids [b, tokens]."""
        pictures, rows = self._drawn(indices, generator)
        paths = self.names.take(pa.array(pictures.numpy())).to_pylist()
        pixels = torch.stack([self._view(Image.open(self.folder / path), generator) for path in paths])
        texts = self.texts.take(pa.array(rows.numpy())).to_pylist()
        options = {"padding": "max_length", "truncation": True, "max_length": TEXT_LENGTH}
        ids = self.tokenizer(texts, return_tensors="pt", **options)["input_ids"]
        return {"pixel_values": pixels, "input_ids": ids}

    def _drawn(self, indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Pictures and rows; of each of `indices` one text, and another picture instead of one that is dropped."""
        pictures = indices.clone()
        rows = torch.zeros_like(pictures)
        open_places = torch.arange(len(pictures))
        while len(open_places):
            chosen = pictures[open_places]
            among = (torch.rand(len(chosen), generator=generator) * self.sizes[chosen]).long()
            rows[open_places] = self.begins[chosen] + among
            if self.probabilities is None:
                break
            chance = self.probabilities[rows[open_places]]
            dropped = chance < torch.rand(len(chance), generator=generator, dtype=torch.float64)
            open_places = open_places[dropped]
            pictures[open_places] = torch.randint(len(self.names), (len(open_places),), generator=generator)
        return pictures, rows

    def _view(self, image: Image, generator: torch.Generator) -> Tensor:
        """A random crop of almost the whole picture, resized bicubically and normalised, [3, size, size]."""
        from PIL.Image import Resampling

        area, ratio, right, down = torch.rand(4, generator=generator).tolist()
        share = SMALLEST_CROP + (1 - SMALLEST_CROP) * area
        # The ratio of the sides is drawn evenly in its logarithm, from 3:4 to 4:3.
        stretch = (4 / 3) ** (2 * ratio - 1)
        width = min(image.width, round((image.width * image.height * share * stretch) ** 0.5))
        height = min(image.height, round((image.width * image.height * share / stretch) ** 0.5))
        left, top = right * (image.width - width), down * (image.height - height)
        square = image.to_pil().resize(
            (self.image_size, self.image_size), Resampling.BICUBIC, box=(left, top, left + width, top + height)
        )
        pixels = (np.asarray(square, np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
        return torch.from_numpy(pixels).permute(2, 0, 1)


@dataclass
class PublishedRecipe(Recipe):
    """A CLIP of a published size, from nothing.

    Attributes:
        data_files: parquet files with a column `image` (paths below `images`) and one `text`.
        images: the folder of the pictures.
        size: of `config.SIZES`.
        worldwide: XLM-V's vocabulary and plain GELU, as MetaCLIP 2, in place of CLIP's and QuickGELU.
        tokenizer_source: folder or hub id of the tokenizer, by default the published one's.
    """

    data_files: tuple[str, ...] = ()
    images: str | None = None
    size: str = "ViT-B-32"
    worldwide: bool = False
    tokenizer_source: str = ""

    name = "metaclip"

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise InputError.unknown("size of MetaCLIP", self.size, SIZES)
        steps = SEEN_PAIRS // BATCH
        base = Stage(
            "pretrain",
            steps=steps,
            batch_size=BATCH,
            learning_rate=5e-4 if "-B-" in self.size else 4e-4,
            weight_decay=0.2,
            betas=(0.9, 0.98),
            warmup=2000 / steps,
            max_grad_norm=0.0,
            precision="fp16",
        )
        self.stages = (
            replace(base, betas=(0.9, 0.95), weight_decay=0.1, precision="bf16") if self.worldwide else base,
        )

    @cached_property
    def tokens(self) -> Tokens:
        return Tokens.XLM_V if self.worldwide else Tokens.CLIP

    @cached_property
    def tokenizer(self) -> Any:
        return load_tokenizer(self.tokenizer_source or TOKENIZERS[self.tokens])

    def build_model(self) -> Any:
        config = build_config(SIZES[self.size], tokens=self.tokens, quick_gelu=not self.worldwide)
        return model_class(config)(config)

    def data(self, stage: Stage) -> TrainingData:
        if not self.data_files:
            raise InputError("there is nothing to train on: give parquet files of curated pairs with --data")
        return CuratedPictures(self.data_files, self.images, self.tokenizer, image_size=224)

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        images = image_features(model, batch["pixel_values"])
        texts = text_features(model, batch["input_ids"])
        scale = model.logit_scale.clamp(0, LARGEST_SCALE).exp()
        return {"loss": contrastive_loss(images, texts, scale), "scale": scale.detach()}

    def save(self, model: Any, folder: Path) -> None:
        model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def _read(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"the pairs {path} can't be read ({' '.join(str(error).split())}): give parquet files"
        ) from error
    for column in (IMAGE, TEXT):
        if column not in table.column_names:
            raise InputError(
                f"{path} has no column {column!r} (it has {', '.join(table.column_names)}): add where each picture lies"
            )
    return table.select([name for name in (IMAGE, TEXT, PROBABILITY) if name in table.column_names])
