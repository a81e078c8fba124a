"""The nano CLIP: transformers' `CLIPModel` at a size that trains on a laptop, and how to ask it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from koine.errors import InputError
from koine.foundations.reading import read_model
from koine.foundations.tokenizer import END_OF_TEXT, VOCABULARY, load_tokenizer

if TYPE_CHECKING:
    from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerBase

    from koine.sentence import Image

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
END_ID = 3
NANO_WEIGHTS = Path(__file__).parent.parent / "weights" / "clip"
TEXT_LENGTH = 64


def nano_config() -> CLIPConfig:
    """64x64 pictures in 8x8 patches, width 128, five vision and three text layers."""
    from transformers import CLIPConfig

    width = {"hidden_size": 128, "intermediate_size": 384, "num_attention_heads": 4, "hidden_act": "gelu"}
    return CLIPConfig(
        vision_config={**width, "num_hidden_layers": 5, "image_size": 64, "patch_size": 8, "projection_dim": 128},
        text_config={
            **width,
            "num_hidden_layers": 3,
            "vocab_size": VOCABULARY,
            "max_position_embeddings": TEXT_LENGTH,
            "bos_token_id": 1,
            "eos_token_id": END_ID,
            "pad_token_id": 0,
            "projection_dim": 128,
        },
        projection_dim=128,
    )


def pixel_values(images: Tensor | np.ndarray) -> Tensor:
    """uint8 [b, H, W, 3] -> float32 [b, 3, H, W], normalised as CLIP's."""
    pixels = torch.as_tensor(images).permute(0, 3, 1, 2).to(torch.float32) / 255.0
    return (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def encode_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Tensor:
    """Token ids int64 [b, length]: <s> text <end>, padded with <unk>; longer texts are cut at `TEXT_LENGTH`."""
    rows = [[*ids[: TEXT_LENGTH - 1], END_ID] for ids in tokenizer(list(texts))["input_ids"]]
    encoded = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)
    for row, ids in enumerate(rows):
        encoded[row, : len(ids)] = torch.tensor(ids)
    return encoded


@dataclass
class Clip:
    """A CLIP model with its tokenizer: pictures and texts to unit vectors."""

    model: CLIPModel
    tokenizer: PreTrainedTokenizerBase

    @classmethod
    def load(cls, weights: str | Path = "nano") -> Clip:
        """The nano CLIP of the package, or one from a folder.

        Raises:
            InputError: there is no such folder, it does not hold a CLIP with the nano tokenizer, or it is damaged.
        """
        from transformers import CLIPModel

        folder = NANO_WEIGHTS if weights == "nano" else Path(weights)
        model = read_model(CLIPModel, folder, "CLIP")
        tokenizer = load_tokenizer(folder)
        if tokenizer.convert_tokens_to_ids(END_OF_TEXT) != END_ID:
            raise InputError(f"tokenizer of {folder} has no {END_OF_TEXT} at id {END_ID}: train it with this recipe")
        return cls(model, tokenizer)

    @torch.inference_mode()
    def embed_pixels(self, images: Tensor | np.ndarray, *, batch_size: int = 256) -> Tensor:
        """uint8 [b, H, W, 3] at the model's size -> unit vectors float32 [b, width]."""
        features = [
            self.model.get_image_features(pixel_values=pixel_values(images[start : start + batch_size])).pooler_output
            for start in range(0, len(images), batch_size)
        ]
        return torch.nn.functional.normalize(torch.cat(features), dim=-1)

    def embed_images(self, images: Sequence[Image]) -> Tensor:
        """Pictures of any size (resized bicubically to the model's square) -> unit vectors float32 [b, width]."""
        from PIL.Image import Resampling

        side = int(self.model.config.vision_config.image_size)  # type: ignore[union-attr,arg-type]
        resized = [np.asarray(image.to_pil().resize((side, side), Resampling.BICUBIC)) for image in images]
        return self.embed_pixels(np.stack(resized))

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str], *, batch_size: int = 256) -> Tensor:
        """Texts -> unit vectors float32 [b, width]."""
        features = [
            self.model.get_text_features(
                input_ids=(ids := encode_texts(self.tokenizer, texts[start : start + batch_size])),
                attention_mask=(ids != 0).long(),
            ).pooler_output
            for start in range(0, len(texts), batch_size)
        ]
        return torch.nn.functional.normalize(torch.cat(features), dim=-1)

    def classify(self, image_vectors: Tensor, prompts: Sequence[Sequence[str]]) -> Tensor:
        """Zero-shot classes int64 [b]: the class whose averaged prompt vectors are nearest (CLIP, section 3.1.4).

        Args:
            image_vectors: unit vectors [b, width].
            prompts: for each class its prompts.
        """
        centres = torch.stack([self.embed_texts(texts).mean(dim=0) for texts in prompts])
        return (image_vectors @ torch.nn.functional.normalize(centres, dim=-1).T).argmax(dim=-1)
