"""The visual tokenizer."""

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from koine.systems.beit3.config import VisualTokenizerConfig
from koine.systems.beit3.vqkd import VisualTokenizer, clip_targets, to_signed

NEAR = {"atol": 1e-3, "rtol": 1e-3}
"""The mean and deviation of CLIP's pixels have four places here."""


@pytest.fixture
def tokenizer():
    torch.manual_seed(0)
    return VisualTokenizer(
        VisualTokenizerConfig(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=16,
            patch_size=4,
            num_codes=12,
            code_width=4,
            teacher_width=6,
        )
    )


def test_pixels_are_signed():
    torch.testing.assert_close(to_signed(torch.tensor([0.0, 0.5, 1.0])), torch.tensor([-1.0, 0.0, 1.0]))


@torch.no_grad()
def test_a_dark_image_is_no_other_than_in_a_bright_batch(tokenizer):
    tokenizer.eval()
    dark, bright = torch.rand(1, 3, 16, 16) / 300, torch.rand(1, 3, 16, 16)
    assert torch.equal(tokenizer.tokenize(dark)[0], tokenizer.tokenize(torch.cat((dark, bright)))[0])


def test_images_of_other_sizes_have_codes_for_all_their_patches(tokenizer):
    assert tokenizer.eval().tokenize(torch.rand(1, 3, 24, 32)).shape == (1, 6 * 8)


def test_it_starts_by_k_means_and_learns_the_teachers_features(tokenizer):
    tokenizer.train()
    images = torch.rand(8, 3, 16, 16)
    targets = images.unfold(2, 4, 4).unfold(3, 4, 4).mean((-1, -2)).flatten(2).transpose(1, 2)  # mean colours
    targets = torch.cat((targets, 1 - targets), dim=-1)
    assert not tokenizer.quantizer.started
    optimizer = torch.optim.AdamW(tokenizer.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        output = tokenizer(images, targets)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        losses.append(float(output.reconstruction_loss))
    assert tokenizer.quantizer.started
    assert losses[-1] < 0.3 * losses[0]
    assert tokenizer.encoder.patch_embed.proj.weight.grad.abs().max() > 0


def test_clip_says_what_it_sees_at_each_patch_in_the_space_of_texts():
    tower = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    clip = CLIPModel(
        CLIPConfig(
            vision_config={**tower, "image_size": 16, "patch_size": 4},
            text_config={**tower, "vocab_size": 9},
            projection_dim=6,
        )
    ).eval()
    torch.nn.init.normal_(clip.vision_model.post_layernorm.weight)
    images = torch.rand(2, 3, 16, 16)
    targets = clip_targets(clip, images)
    assert targets.shape == (2, 16, 6) and not targets.requires_grad
    mean, deviation = (
        torch.tensor(each).view(3, 1, 1) for each in ([0.4815, 0.4578, 0.4082], [0.2686, 0.2613, 0.2758])
    )
    # what the class token goes through on its way to the space of texts, here for the patches
    seen = clip.vision_model((images - mean) / deviation).last_hidden_state
    torch.testing.assert_close(targets, clip.visual_projection(clip.vision_model.post_layernorm(seen[:, 1:])), **NEAR)
    pooled = clip.visual_projection(clip.vision_model((images - mean) / deviation).pooler_output)
    torch.testing.assert_close(pooled, clip.visual_projection(clip.vision_model.post_layernorm(seen[:, 0])))


def test_it_survives_being_saved(tokenizer, tmp_path):
    images = torch.rand(2, 3, 16, 16)
    tokenizer(images, torch.rand(2, 16, 6))
    tokenizer.eval().save_pretrained(tmp_path)
    again = VisualTokenizer.from_pretrained(tmp_path).eval()
    assert bool(again.quantizer.started)
    assert torch.equal(again.tokenize(images), tokenizer.tokenize(images))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_it_tokenizes_in_half_precision(tokenizer, dtype):
    images = torch.rand(4, 3, 16, 16)
    exact = tokenizer.eval().tokenize(images)
    halved = tokenizer.to(dtype).tokenize(images.to(dtype))
    assert (halved == exact).float().mean() > 0.8
