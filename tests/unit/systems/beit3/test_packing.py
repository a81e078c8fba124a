"""Packed passes: a text sees its picture and itself, and a placeholder sees what decoding shows it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from koine.systems.beit3.decoding import BeamSearch, Decoding
from koine.systems.beit3.model import Beit3Model
from koine.systems.beit3.packing import encode_pictures, encode_placeholders, encode_questions

Make = Callable[..., Beit3Model]
OPTIONS = {"heads": ["captioning", "retrieval"], "experts": "feed-forward"}


def test_pictures_are_encoded_as_for_retrieval(tiny: Make, pixels: Tensor) -> None:
    model = tiny(**OPTIONS)
    hidden, _ = encode_pictures(model.beit3, pixels)
    assert torch.allclose(hidden, model(pixels).last_hidden_state, atol=1e-6)


def test_a_text_depends_on_its_picture_and_itself_alone(tiny: Make, pixels: Tensor, ids: Tensor) -> None:
    model = tiny(**OPTIONS)
    real = (ids != 1).long()

    def encoded(images: Tensor, texts: Tensor, mask: Tensor) -> Tensor:
        return encode_questions(model.beit3, encode_pictures(model.beit3, images)[1], texts, mask)

    # picture i has texts 0 and 1, and texts 1 and 2
    texts, mask = torch.stack((ids[:2], ids[1:])), torch.stack((real[:2], real[1:]))
    together = encoded(pixels[:2], texts, mask)
    assert together.shape == (2, 2, 7, 16)
    for picture in range(2):
        for text in range(2):
            length = int(mask[picture, text].sum())
            alone = encoded(
                pixels[picture : picture + 1],
                texts[picture : picture + 1, text : text + 1, :length],
                mask[picture : picture + 1, text : text + 1, :length],
            )
            assert torch.allclose(together[picture, text, : 1 + length], alone[0, 0], atol=1e-5)
    other = encoded(pixels[1:], texts, mask)
    assert not torch.allclose(other[0, 0, 0], together[0, 0, 0], atol=1e-3)


def test_its_first_token_is_the_pictures_class_token(tiny: Make, pixels: Tensor) -> None:
    # In the first layer the class token of a text differs from the picture's own only by what it sees.
    model = tiny(**OPTIONS, num_hidden_layers=1)
    hidden, pictures = encode_pictures(model.beit3, pixels)
    nothing = torch.ones(3, 1, 1, dtype=torch.long)
    about = encode_questions(model.beit3, pictures, nothing, torch.zeros_like(nothing))
    keys, _ = pictures.held[0]
    # a copy of the class token beside the picture's doubles its weight and nothing else
    assert keys.shape[2] == hidden.shape[1] == 5
    assert about.shape == (3, 1, 2, 16)
    assert torch.cosine_similarity(about[:, 0, 0], hidden[:, 0], dim=-1).min() > 0.9


def test_placeholders_see_what_decoding_shows_them(tiny: Make, pixels: Tensor) -> None:
    model = tiny(**OPTIONS)
    words = torch.tensor([[0, 7, 8, 9, 2, 1], [0, 11, 12, 13, 14, 2], [0, 5, 6, 7, 8, 9]])
    mask_token = model.config.mask_token_id
    pictures = encode_pictures(model.beit3, pixels)[1]
    both = torch.stack((words, words.roll(1, dims=0)), dim=1)
    hidden, other = encode_placeholders(model.beit3, pictures, both, mask_token).unbind(1)
    alone = encode_placeholders(model.beit3, pictures, both[:, 1:], mask_token)[:, 0]
    assert torch.allclose(other, alone, atol=1e-5)  # captions of a picture don't see each other
    with torch.inference_mode():
        search = BeamSearch(model, Decoding(beams=1, max_length=8), pixels, None, None)
        for place in range(1, 5):
            search.ids[:, 0, :place] = words[:, :place]
            feature = search.features()[:, 1]
            assert torch.allclose(feature, hidden[:, place], atol=1e-5), place
            search.cache.advance()
            search.length += 1
