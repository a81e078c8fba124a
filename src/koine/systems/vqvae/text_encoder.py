"""The frozen text tower of a CLIP, the nano one or a published one, whose vectors tell a prior what to draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from koine.errors import InputError

if TYPE_CHECKING:
    from transformers import CLIPModel


class TextEncoder:
    """Texts to unit vectors, in two steps, so that a training can tokenize here and encode on its device.

    Args:
        model: a CLIP, of which the text tower is used.
        tokens: texts to ids [b, length] long, padded after their end and cut at the model's length.
    """

    def __init__(self, model: CLIPModel, tokens: Callable[[Sequence[str]], Tensor]) -> None:
        self.model, self.tokens = model.requires_grad_(False), tokens

    @classmethod
    def load(cls, source: str) -> TextEncoder:
        """
        Args:
            source: "nano", or a folder of a CLIP in transformers' form with its tokenizer.
        Raises:
            InputError: there is none, or it is damaged.
        """
        from transformers import AutoTokenizer, CLIPModel

        from koine.foundations.clip import Clip, encode_texts
        from koine.foundations.reading import read_model
        from koine.foundations.tokenizer import FILE

        if source == "nano" or (Path(source) / FILE).is_file():
            clip = Clip.load(source)
            return cls(clip.model, lambda texts: encode_texts(clip.tokenizer, texts))
        model = read_model(CLIPModel, Path(source), "CLIP")
        try:
            # Without its files transformers makes a tokenizer that knows no words.
            if not any((Path(source) / name).is_file() for name in ("tokenizer.json", "vocab.json")):
                raise FileNotFoundError
            tokenizer: Any = AutoTokenizer.from_pretrained(source)
        except Exception as error:  # damaged files end in KeyErrors, ValueErrors, TypeErrors, ...
            raise InputError(f"the CLIP at {source} has no tokenizer that can be read: put its files there") from error
        limits = {"truncation": True, "max_length": model.config.text_config.max_position_embeddings}
        return cls(
            model, lambda texts: tokenizer(list(texts), padding=True, return_tensors="pt", **limits)["input_ids"]
        )

    @property
    def width(self) -> int:
        """Of a vector."""
        return int(self.model.config.projection_dim)  # type: ignore[arg-type]

    @torch.no_grad()  # not inference_mode, so that a prior can learn from the vectors
    def vectors(self, ids: Tensor) -> Tensor:
        """Unit vectors float32 [b, width] of token ids, on their device.

        What follows a text's end needs no mask: the tower is causal, and its vector is taken at the end.
        """
        features: Any = self.model.to(ids.device).get_text_features(input_ids=ids)  # type: ignore[arg-type]
        return F.normalize(features.pooler_output.float(), dim=-1)

    def embed_texts(self, texts: Sequence[str], *, batch_size: int = 256) -> Tensor:
        """Unit vectors float32 [b, width] of texts."""
        parts = [texts[start : start + batch_size] for start in range(0, len(texts), batch_size)]
        return torch.cat([self.vectors(self.tokens(part)) for part in parts])
