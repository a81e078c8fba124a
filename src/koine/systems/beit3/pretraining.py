"""Masked data modelling: images, texts and pairs with parts of them hidden, and what was hidden (section 2.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from koine.parts.masking import Blocks, WordMasking, block_masks, mask_words
from koine.systems.beit3.config import Beit3Config
from koine.systems.beit3.losses import masked_loss
from koine.systems.beit3.model import Beit3Model


@dataclass(frozen=True)
class Masking:
    """How much is hidden; the defaults are the paper's.

    Attributes:
        image: share of an image's patches, alone and in pairs; in rectangles.
        text: share of a text's tokens if it is alone.
        pair_text: share of its tokens if it comes with an image.
        smallest_block: patches in the smallest rectangle, by default 16 of 196 and as much of other grids.
        masked, kept: what becomes of a chosen word, see `WordMasking`. The paper names no shares; these are those of
            the original's fine-tuning code.
    """

    image: float = 0.4
    text: float = 0.15
    pair_text: float = 0.5
    smallest_block: int | None = None
    masked: float = 0.8
    kept: float = 0.1

    def blocks(self, grid: int) -> Blocks:
        """The rectangles for images of `grid` x `grid` patches."""
        smallest = self.smallest_block or max(1, round(16 / 196 * grid**2))
        return Blocks((grid, grid), int(self.image * grid**2), smallest=smallest)

    def patches(self, images: int, grid: int, generator: torch.Generator) -> Tensor:
        """[images, patches] bool, row by row: which are hidden."""
        seed = int(torch.randint(2**62, (), generator=generator))
        masks = block_masks(self.blocks(grid), images, np.random.default_rng(seed))
        return torch.from_numpy(masks).flatten(1)

    def words(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        config: Beit3Config,
        *,
        paired: bool,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Masked texts and which of their tokens were chosen, both [texts, tokens]."""
        how = WordMasking(
            config.mask_token_id,
            config.mask_token_id + 1,  # rows of the word table behind the mask token stand for nothing
            first_word=config.unk_token_id,
            masked=self.masked,
            kept=self.kept,
        )
        share = self.pair_text if paired else self.text
        return mask_words(input_ids, attention_mask.long().sum(1), share, how, generator=generator)


@dataclass(frozen=True)
class MaskedImages:
    """Images with what is hidden of them.

    Attributes:
        pixel_values: [images, 3, size, size].
        patch_mask: [images, patches] bool, hidden ones.
        codes: [images, patches] long, of the visual tokenizer.
    """

    pixel_values: Tensor
    patch_mask: Tensor
    codes: Tensor

    @property
    def targets(self) -> Tensor:
        """[hidden patches] long."""
        return self.codes[self.patch_mask.bool()]


@dataclass(frozen=True)
class MaskedTexts:
    """Texts with what is hidden of them, each [texts, tokens].

    Attributes:
        input_ids: as the model sees them.
        token_mask: bool, tokens that are to be predicted.
        labels: the tokens as they were.
        attention_mask: 0 for padding.
    """

    input_ids: Tensor
    token_mask: Tensor
    labels: Tensor
    attention_mask: Tensor | None = None

    @property
    def targets(self) -> Tensor:
        """[predicted tokens] long."""
        return self.labels[self.token_mask.bool()]


def masked_data_losses(
    model: Beit3Model,
    *,
    images: MaskedImages | None = None,
    texts: MaskedTexts | None = None,
    pairs: tuple[MaskedImages, MaskedTexts] | None = None,
) -> dict[str, Tensor]:
    """The losses of one mixed batch, any stream of which may be missing.

    Returns:
        "image", "text", "pair_image" and "pair_text", as far as there are such, and "loss", their sum. How the paper
        weighs them is not known; here they count alike.
    """
    losses: dict[str, Tensor] = {}
    if images is not None:
        prediction = model.predict_masked(images.pixel_values, patch_mask=images.patch_mask)
        losses["image"] = masked_loss(_given(prediction.image_logits), images.targets)
    if texts is not None:
        prediction = model.predict_masked(
            input_ids=texts.input_ids, attention_mask=texts.attention_mask, token_mask=texts.token_mask
        )
        losses["text"] = masked_loss(_given(prediction.text_logits), texts.targets)
    if pairs is not None:
        pictures, captions = pairs
        prediction = model.predict_masked(
            pictures.pixel_values,
            captions.input_ids,
            attention_mask=captions.attention_mask,
            patch_mask=pictures.patch_mask,
            token_mask=captions.token_mask,
        )
        losses["pair_image"] = masked_loss(_given(prediction.image_logits), pictures.targets)
        losses["pair_text"] = masked_loss(_given(prediction.text_logits), captions.targets)
    return {**losses, "loss": torch.stack(list(losses.values())).sum()}


def _given(logits: Tensor | None) -> Tensor:
    assert logits is not None, "a masked stream always has its mask"
    return logits
