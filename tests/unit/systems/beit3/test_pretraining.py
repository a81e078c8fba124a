"""Masked data modelling."""

import torch

from koine.systems.beit3.pretraining import MaskedImages, MaskedTexts, Masking, masked_data_losses


def test_the_papers_shares_are_hidden(tiny):
    config, generator = tiny().config, torch.Generator().manual_seed(0)
    masking = Masking()
    assert masking.patches(5, 14, generator).sum(1).tolist() == [78] * 5
    ids = torch.full((200, 20), 5)
    real = torch.ones(200, 20)
    _, alone = masking.words(ids, real, config, paired=False, generator=generator)
    _, paired = masking.words(ids, real, config, paired=True, generator=generator)
    assert alone.sum(1).tolist() == [3] * 200 and paired.sum(1).tolist() == [10] * 200


def test_random_words_are_none_of_the_rows_that_stand_for_nothing(tiny):
    config, generator = tiny(mask_token_id=9).config, torch.Generator().manual_seed(0)
    assert config.vocab_size == 40
    ids = torch.full((200, 20), 5)
    hidden, _ = Masking(masked=0.0, kept=0.0).words(ids, torch.ones(200, 20), config, paired=True, generator=generator)
    assert set(hidden.flatten().tolist()) == set(range(3, 10))


def test_blocks_shrink_with_the_grid():
    assert Masking().blocks(14).smallest == 16
    assert Masking().blocks(8).smallest == 5 and Masking().blocks(8).hidden == 25


def test_streams_add_up_and_reach_the_whole_model(tiny, pixels, ids):
    model = tiny(heads=["pretraining"])
    patches = torch.tensor([[1, 0, 0, 1]] * 3).bool()
    images = MaskedImages(pixels, patches, torch.arange(12).view(3, 4) % 7)
    words = torch.zeros_like(ids).bool()
    words[:, 1] = True
    texts = MaskedTexts(ids.masked_fill(words, 39), words, ids, (ids != 1).long())
    losses = masked_data_losses(model, images=images, texts=texts, pairs=(images, texts))
    assert list(losses) == ["image", "text", "pair_image", "pair_text", "loss"]
    torch.testing.assert_close(losses["loss"], sum(losses[name] for name in losses if name != "loss"))
    losses["loss"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert list(masked_data_losses(model, texts=texts)) == ["text", "loss"]


def test_training_learns_what_is_hidden(tiny, pixels, ids):
    model = tiny(heads=["pretraining"]).train()
    patches = torch.tensor([[1, 0, 0, 1]] * 3).bool()
    images = MaskedImages(pixels, patches, torch.arange(12).view(3, 4) % 7)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss = masked_data_losses(model, images=images)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.2 < 1.5 < losses[0]
