"""The transformer: which token goes where, what sees what."""

import math

import pytest
import torch
from transformers import set_seed

from koine.errors import InputError
from koine.systems.beit3.backbone import join_texts, resize_positions, sequence_to_sequence_mask, trim_padding
from koine.systems.beit3.multiway import MultiwayLayer

MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0]])
EXPERTS = [{"experts": "decoupled"}, {"experts": "feed-forward", "fusion_layers": 1}, {"experts": "none"}]


@pytest.mark.parametrize("experts", EXPERTS)
@torch.no_grad()
def test_padding_changes_nothing(tiny, pixels, ids, experts):
    model = tiny(**experts)
    together = model.answer(pixels, ids, MASK)
    for number, length in enumerate(MASK.sum(1).tolist()):
        alone = model.answer(pixels[number : number + 1], ids[number : number + 1, :length])
        torch.testing.assert_close(together[number], alone[0], atol=1e-5, rtol=1e-5)
    texts = model.embed_texts(ids, MASK)
    torch.testing.assert_close(texts[2:], model.embed_texts(ids[2:, :3]), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_each_modality_has_its_experts(tiny, pixels, ids):
    """Texts alone do not depend on image experts, nor images on those of texts; pairs depend on both."""
    model = tiny()
    before = model.embed_images(pixels), model.embed_texts(ids, MASK), model.answer(pixels, ids, MASK)
    for layer in model.beit3.encoder.layers:
        layer.ffn.B.fc1.weight.mul_(2)
    after = model.embed_images(pixels), model.embed_texts(ids, MASK), model.answer(pixels, ids, MASK)
    assert torch.equal(before[0], after[0])
    assert not torch.allclose(before[1], after[1])
    assert not torch.allclose(before[2], after[2])


@torch.no_grad()
def test_fusion_experts_are_for_pairs_only(tiny, pixels, ids):
    model = tiny(experts="feed-forward", fusion_layers=1)
    before = model(pixels).last_hidden_state, model(None, ids).last_hidden_state, model(pixels, ids).last_hidden_state
    top = model.beit3.encoder.layers[-1].ffn
    assert model.beit3.encoder.layers[-2].ffn.C is None
    top.C.fc1.weight.mul_(2)
    after = model(pixels).last_hidden_state, model(None, ids).last_hidden_state, model(pixels, ids).last_hidden_state
    assert [torch.equal(*pair) for pair in zip(before, after, strict=True)] == [True, True, False]


def test_without_experts_both_modalities_share_all_but_positions(tiny):
    names = [name for name, _ in tiny(experts="none").beit3.named_parameters()]
    assert [name for name in names if ".B." in name] == ["encoder.embed_positions.B.weight"]


@torch.no_grad()
def test_a_hidden_patch_is_not_seen(tiny, pixels):
    model = tiny()
    hidden = torch.tensor([[True, False, False, False]]).expand(3, -1)
    other = pixels.clone()
    other[:, :, :4, :4] = 5.0
    assert torch.equal(
        model.predict_masked(pixels, patch_mask=hidden).image_logits,
        model.predict_masked(other, patch_mask=hidden).image_logits,
    )
    assert not torch.allclose(model(pixels).last_hidden_state, model(other).last_hidden_state)


@torch.no_grad()
def test_masked_predictions_are_those_of_the_masked_places_in_order(tiny, pixels, ids):
    model = tiny()
    patches = torch.tensor([[1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]]).bool()
    words = torch.tensor([[0, 1, 0, 1, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]]).bool()
    found = model.predict_masked(pixels, ids, attention_mask=MASK, patch_mask=patches, token_mask=words)
    assert found.image_logits.shape == (3, 7) and found.text_logits.shape == (3, 40)
    hidden = model(pixels, ids, attention_mask=MASK, patch_mask=patches).last_hidden_state
    head = model.heads["pretraining"]
    torch.testing.assert_close(found.image_logits[2], head.mim_head(hidden[2, 1 + 1]))
    torch.testing.assert_close(found.text_logits[2], head.mlm_head(hidden[1, 5 + 2]))


@torch.no_grad()
def test_a_statement_is_read_with_each_image(tiny, pixels, ids):
    model = tiny()
    # At first this head says next to nothing.
    torch.nn.init.normal_(model.heads["nlvr2"].head.dense1.weight)
    torch.nn.init.normal_(model.heads["nlvr2"].head.dense2.weight)
    both = model.judge(pixels, pixels.flip(0), ids, MASK)
    assert both.shape == (3, 2)
    alone = model.judge(pixels[:1], pixels[2:], ids[:1], MASK[:1])
    torch.testing.assert_close(both[:1], alone, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(both[:1], model.judge(pixels[2:], pixels[:1], ids[:1], MASK[:1])), "order counts"


def test_vectors_have_length_one(tiny, pixels, ids):
    model = tiny()
    for vectors in (model.embed_images(pixels), model.embed_texts(ids, MASK)):
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(3))


@torch.no_grad()
def test_a_written_word_sees_only_what_is_before_it(tiny, pixels, ids):
    model = tiny()
    changed = ids.clone()
    changed[:, 3] = 20
    before, after = model.predict_words(ids, pixels), model.predict_words(changed, pixels)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3:], after[:, 3:])
    assert not torch.allclose(before, model.predict_words(ids, pixels.flip(0)))


@torch.no_grad()
def test_a_source_text_is_seen_as_a_whole_and_its_padding_is_not(tiny, pixels, ids):
    model = tiny()
    for images in (pixels, None):
        found = model.predict_words(ids, images, source_ids=ids, source_attention_mask=MASK)
        alone = model.predict_words(ids[2:], None if images is None else images[2:], source_ids=ids[2:, :3])
        torch.testing.assert_close(found[2:], alone, atol=1e-5, rtol=1e-5)
        changed = ids.clone()
        changed[:, 1] = 20
        assert not torch.allclose(found, model.predict_words(ids, images, source_ids=changed))
    with pytest.raises(InputError, match="nothing to write from"):
        model.predict_words(ids)


def test_who_sees_whom_from_source_to_text():
    assert sequence_to_sequence_mask(2, 4).long().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]


def test_a_second_text_counts_on_where_the_first_ends():
    first, second = torch.tensor([[0, 5, 2], [0, 2, 1]]), torch.tensor([[0, 6], [0, 7]])
    positions, joined, mask = join_texts(first, second, first_mask=torch.tensor([[1, 1, 1], [1, 1, 0]]))
    assert positions.tolist() == [[0, 1, 2, 3, 4], [0, 1, 2, 2, 3]]
    assert joined.tolist() == [[0, 5, 2, 0, 6], [0, 2, 1, 0, 7]]
    assert mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 1, 1]]


def test_padding_that_no_text_needs_is_cut_off():
    ids = torch.arange(10).view(2, 5)
    trimmed, mask = trim_padding(ids, torch.tensor([[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]]))
    assert trimmed.shape == (2, 3) and mask.tolist() == [[True, True, True], [True, True, False]]
    trimmed, mask = trim_padding(ids, torch.tensor([[1, 1, 0, 0, 0]] * 2))
    assert trimmed.shape == (2, 2) and mask is None


def test_positions_of_another_grid_are_interpolated_and_the_first_three_kept():
    table = torch.cat((torch.tensor([[7.0], [8.0], [9.0]]), torch.full((4, 1), 2.0)))
    resized = resize_positions(table, 3)
    assert resized[:3].flatten().tolist() == [7, 8, 9]
    torch.testing.assert_close(resized[3:], torch.full((9, 1), 2.0))
    assert resize_positions(table, 2) is table


@torch.no_grad()
def test_a_model_can_be_made_one_for_larger_images(tiny, pixels):
    model = tiny()
    with pytest.raises(InputError, match="16x16 pixels came to a BEiT-3 for 8x8"):
        model.classify(torch.zeros(1, 3, 16, 16))
    model.resize_images(16)
    assert model.embed_images(torch.zeros(1, 3, 16, 16)).shape == (1, 16)
    assert model.config.image_size == 16 and model.config.image_tokens == 17
    with pytest.raises(InputError, match="no multiple"):
        model.resize_images(18)


def test_fine_tuning_starts_from_pretraining(tiny, pixels):
    pretrained, model = tiny(heads=["pretraining"]), tiny(heads=["captioning"], image_size=16)
    missing = model.start_from(pretrained)
    assert missing == []
    torch.testing.assert_close(
        model.heads["captioning"].mlm_head.weight, pretrained.heads["pretraining"].mlm_head.weight
    )
    classifier = tiny(heads=["classification"])
    assert all(name.startswith("heads.classification.") for name in classifier.start_from(pretrained))
    with pytest.raises(InputError, match="no tensor that fits"):
        tiny(num_hidden_layers=4).start_from(pretrained)


def test_a_missing_head_is_named(tiny, pixels):
    with pytest.raises(InputError, match="no classification head, it has vqa, nlvr2"):
        tiny(heads=["vqa", "nlvr2"]).classify(pixels)


def test_texts_beyond_the_positions_are_refused(tiny):
    with pytest.raises(InputError, match="25 tokens is longer than the 20"):
        tiny().embed_texts(torch.zeros(1, 25, dtype=torch.long))
    with pytest.raises(InputError, match="neither an image nor a text"):
        tiny()()


def test_branches_are_dropped_more_often_the_higher_the_layer(tiny):
    layers: list[MultiwayLayer] = list(tiny(drop_path_rate=0.4).beit3.encoder.layers)
    assert [layer.drop_path for layer in layers] == pytest.approx([0, 0.2, 0.4])
    set_seed(0)
    branch = torch.ones(10_000, 1, 1)
    dropped = layers[2].train()._drop(branch)
    assert sorted(set(dropped.flatten().tolist())) == pytest.approx([0, 1 / 0.6])
    assert float(dropped.mean()) == pytest.approx(1, abs=0.03)
    assert layers[2].eval()._drop(branch) is branch


def test_the_published_start_is_cut_at_one_deviation_and_that_of_sub_ln_is_scaled(tiny):
    published = tiny(initialization="published").beit3.encoder.layers[0].ffn.A.fc1
    assert published.weight.abs().max() <= 0.02 and not published.bias.any()
    layer = tiny(hidden_size=64, intermediate_size=128).beit3.encoder.layers[0]
    gain = math.log(2 * 3) ** 0.5
    assert float(layer.ffn.A.fc1.weight.detach().abs().max()) == pytest.approx(gain / 8, rel=0.02)
    assert float(layer.self_attn.q_proj.A.weight.detach().abs().max()) == pytest.approx(1 / 8, rel=0.02)


def test_gradient_checkpointing_changes_no_gradient(tiny, pixels, ids):
    gradients = []
    for checkpointing in (False, True):
        model = tiny(heads=["vqa"]).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        model.answer(pixels, ids, MASK).sum().backward()
        gradients.append(model.beit3.encoder.layers[0].ffn.A.fc1.weight.grad)
    torch.testing.assert_close(*gradients)
    assert gradients[0].abs().max() > 0


def test_a_model_survives_being_saved(tiny, pixels, ids, tmp_path):
    model = tiny()
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    assert torch.equal(model.answer(pixels, ids, MASK), again.answer(pixels, ids, MASK))
