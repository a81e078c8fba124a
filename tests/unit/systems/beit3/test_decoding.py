"""Writing texts: what a plain search would find, found sooner."""

import pytest
import torch
from torch import Tensor

from koine.errors import InputError
from koine.systems.beit3.decoding import Decoding, write


def log_probabilities(model, words: list[int], **source) -> Tensor:
    """Of the next word, by the whole text at once without any cache."""
    ids = torch.tensor([[0, *words, model.config.mask_token_id]])
    return model.predict_words(ids, source.get("pixel_values"), source_ids=source.get("source_ids"))[0, -1].log_softmax(
        0
    )


def greedy(model, limit: int, **source) -> list[int]:
    words: list[int] = []
    while len(words) + 3 < limit and (word := int(log_probabilities(model, words, **source).argmax())) != 2:
        words.append(word)
    return words


def words_of(row: Tensor, mask_token: int) -> list[int]:
    found = row.tolist()
    assert found[0] == 0
    end = max(place for place, word in enumerate(found) if word == 2)
    assert found[end - 1] == mask_token and set(found[end + 1 :]) <= {1}
    return found[1 : end - 1]


@pytest.fixture
def talkative(tiny):
    """A model that ends its texts at different lengths."""
    model = tiny(vocab_size=12, mask_token_id=11)
    generator = torch.Generator().manual_seed(5)
    head = model.heads["captioning"].mlm_head
    head.weight.data = torch.randn(head.weight.shape, generator=generator)
    head.bias.data[2] += 1.5
    return model


@torch.no_grad()
def test_one_beam_takes_the_likeliest_word_each_time(talkative):
    pixels = torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(3)) * 3
    found = write(talkative, pixels, options=Decoding(beams=1, max_length=9))
    texts = [words_of(row, 11) for row in found.ids]
    assert texts == [greedy(talkative, 9, pixel_values=image[None]) for image in pixels]
    assert len({len(text) for text in texts}) > 1, "texts of one length would not try what ends early"


@torch.no_grad()
def test_scores_are_log_probabilities_by_length(talkative, pixels):
    options = Decoding(beams=3, max_length=9, length_penalty=0.6)
    found = write(talkative, pixels, options=options)
    for row, score, image in zip(found.ids, found.scores, pixels, strict=True):
        words = words_of(row, 11)
        total = sum(
            float(log_probabilities(talkative, words[:place], pixel_values=image[None])[word])
            for place, word in enumerate(words)
        )
        last = log_probabilities(talkative, words, pixel_values=image[None])
        # At the limit the likeliest word counts and is left out; otherwise the end does.
        total += float(last[2] if len(words) + 3 < 9 else last.max())
        assert float(score) == pytest.approx(total / (len(words) + 2) ** 0.6, rel=1e-4)


@torch.no_grad()
def test_more_beams_find_what_is_at_least_as_good(talkative):
    pixels = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(4)) * 3
    one, many = (write(talkative, pixels, options=Decoding(beams=beams, max_length=8)).scores for beams in (1, 8))
    assert (many >= one - 1e-5).all() and (many > one + 1e-4).any()


@torch.no_grad()
def test_each_example_is_written_as_if_it_were_alone(talkative, pixels, ids):
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0]])
    ids = ids.clamp(max=10)
    options = Decoding(beams=3, max_length=8)
    for images, texts in ((pixels, None), (None, ids), (pixels, ids)):
        together = write(
            talkative, images, source_ids=texts, source_attention_mask=None if texts is None else mask, options=options
        )
        for number, length in enumerate(mask.sum(1).tolist()):
            alone = write(
                talkative,
                None if images is None else images[number : number + 1],
                source_ids=None if texts is None else texts[number : number + 1, :length],
                options=options,
            )
            assert torch.equal(together.ids[number], alone.ids[0])
            torch.testing.assert_close(together.scores[number], alone.scores[0])


@torch.no_grad()
def test_fusion_experts_are_used_while_writing(tiny, pixels):
    model = tiny(vocab_size=12, mask_token_id=11, experts="feed-forward", fusion_layers=2)
    found = write(model, pixels, options=Decoding(beams=1, max_length=8))
    assert [words_of(row, 11) for row in found.ids] == [greedy(model, 8, pixel_values=image[None]) for image in pixels]


def test_an_image_goes_through_the_transformer_once(talkative, pixels):
    seen = []
    hook = talkative.beit3.vision_embed.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    write(talkative, pixels, options=Decoding(beams=3, max_length=8))
    hook.remove()
    assert seen == [len(pixels)]


def test_of_an_image_the_last_layer_needs_keys_and_values_only(talkative, pixels):
    layers, calls = talkative.beit3.encoder.layers, []
    for number, layer in enumerate(layers):
        layer.self_attn.k_proj.A.register_forward_hook(lambda *seen, number=number: calls.append((number, "keys")))
        layer.ffn.A.register_forward_hook(lambda *seen, number=number: calls.append((number, "expert")))
    write(talkative, pixels, options=Decoding(beams=3, max_length=8))
    assert calls == [(0, "keys"), (0, "expert"), (1, "keys"), (1, "expert"), (2, "keys")]


@torch.no_grad()
def test_a_search_takes_the_weights_as_they_are(talkative, pixels):
    options = Decoding(beams=1, max_length=8)
    before = write(talkative, pixels, options=options)
    talkative.beit3.encoder.layers[1].ffn.B.fc1.weight.neg_()
    talkative.heads["captioning"].mlm_head.bias[7] += 50
    after = write(talkative, pixels, options=options)
    assert not (before.ids == 7).any() and (after.ids[:, 1:5] == 7).all()
    found = [words_of(row, 11) for row in after.ids]
    assert found == [greedy(talkative, 8, pixel_values=image[None]) for image in pixels]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [({"beams": 0}, "beams = 0"), ({"max_length": 3}, "no room for a word")],
)
def test_searches_without_sense_are_refused(options, complaint):
    with pytest.raises(InputError, match=complaint):
        Decoding(**options)


def test_what_can_not_be_written_is_refused(tiny, pixels, ids):
    with pytest.raises(InputError, match="nothing to write from"):
        write(tiny())
    with pytest.raises(InputError, match="exceeds the 20 positions"):
        write(tiny(), pixels, options=Decoding(max_length=40))
    with pytest.raises(InputError, match="no captioning head"):
        write(tiny(heads=["vqa"]), pixels, options=Decoding(max_length=8))


@pytest.mark.parametrize("penalty", [float("nan"), float("inf"), 1e6])
def test_a_penalty_that_no_text_survives_is_refused(penalty):
    with pytest.raises(InputError, match="length_penalty = "):
        Decoding(length_penalty=penalty)
