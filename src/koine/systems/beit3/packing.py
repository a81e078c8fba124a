"""Several texts about one picture in one pass: the picture is encoded once, and the texts look back at it.

In BEiT-3's fusion a picture's tokens see the text, too, so that each text has the picture computed anew, four fifths of
the work at nano size. Here a picture sees only itself, as in captioning, and a text sees it and itself. A question or
statement brings a class token of its own, which takes the place of the picture's, since the heads read there. A model
trained so mostly, and now and then in the published way, works in the published way.
"""

from __future__ import annotations

import torch
from torch import Tensor

from koine.systems.beit3.backbone import Backbone
from koine.systems.beit3.config import POSITION_OFFSET
from koine.systems.beit3.multiway import Route


class Pictures:
    """Keys and values of pictures in all layers, as they are computed (a `KeyValueStore`)."""

    def __init__(self) -> None:
        self.held: dict[int, tuple[Tensor, Tensor]] = {}

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keeps both, [pictures, heads, tokens, d]."""
        self.held[layer] = (keys, values)
        return keys, values


class _Behind:
    """Puts each text behind its picture: `times` texts in a row have the same one."""

    def __init__(self, pictures: Pictures, times: int) -> None:
        self.pictures, self.times = pictures, times

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """[texts, heads, tokens, d] to [texts, heads, picture's tokens + tokens, d]."""
        before = (held.repeat_interleave(self.times, dim=0) for held in self.pictures.held[layer])
        return tuple(torch.cat(pair, dim=2) for pair in zip(before, (keys, values), strict=True))  # type: ignore[return-value]


def encode_pictures(backbone: Backbone, pixel_values: Tensor) -> tuple[Tensor, Pictures]:
    """Features [pictures, 1 + patches, width] of pictures [pictures, 3, size, size], and what texts need of them.

    The features are those of pictures alone, as retrieval takes them.
    """
    pictures = Pictures()
    tokens = backbone.embed_images(pixel_values)
    route = Route(tokens.shape[1], fused=True)
    return backbone.encoder(tokens, route, store=pictures).last_hidden_state, pictures


def encode_questions(backbone: Backbone, pictures: Pictures, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Features [pictures, texts, 1 + tokens, width] of texts about pictures, a class token before each.

    Args:
        input_ids, attention_mask: [pictures, texts, tokens].
    """
    count, times, _ = input_ids.shape
    ids, real = input_ids.flatten(0, 1), attention_mask.flatten(0, 1).bool()
    first = backbone.vision_embed.cls_token + backbone.encoder.embed_positions["A"](
        torch.tensor([POSITION_OFFSET]).to(ids.device)
    )
    texts = backbone.embed_texts(ids)
    tokens = torch.cat((first.expand(len(ids), -1, -1).to(texts.dtype), texts), dim=1)
    places = pictures.held[0][0].shape[2] + 1
    mask = torch.nn.functional.pad(real, (places, 0), value=True)[:, None, None]
    hidden = backbone.encoder(tokens, Route(1, fused=True), mask=mask, store=_Behind(pictures, times))
    return hidden.last_hidden_state.unflatten(0, (count, times))


def encode_placeholders(backbone: Backbone, pictures: Pictures, input_ids: Tensor, mask_token: int) -> Tensor:
    """Features [pictures, texts, tokens, width] of mask tokens, one at each place of captions, as decoding sees them.

    Place i looks at the picture and at the words before i, all of which are there: what decoding does word by word is
    done for all words at once. The published training hides 70 % of the words instead, so that what stands before a
    hidden word is mostly hidden, too.

    Args:
        input_ids: [pictures, texts, tokens], padding on the right is seen by nothing before it.
    """
    images, times, count = input_ids.shape
    texts = input_ids.flatten(0, 1)
    ids = torch.cat((texts, torch.full_like(texts, mask_token)), dim=1)
    places = torch.arange(count, device=ids.device)
    before = places[:, None] > places
    itself = places[:, None] == places
    words = torch.cat((before | itself, torch.zeros_like(itself)), dim=1)
    holders = torch.cat((before, itself), dim=1)
    mask = torch.nn.functional.pad(torch.cat((words, holders)), (pictures.held[0][0].shape[2], 0), value=True)
    tokens = backbone.embed_texts(ids, positions=places.repeat(2))
    hidden = backbone.encoder(tokens, Route(0, fused=True), mask=mask, store=_Behind(pictures, times))
    return hidden.last_hidden_state[:, count:].unflatten(0, (images, times))
