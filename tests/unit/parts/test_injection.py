"""Segments of embeddings take the places of their placeholders, whatever the lengths, modalities and padding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from koine.errors import InputError
from koine.parts.injection import Segments, inject

WIDTH, IMAGE, REGION = 4, -200, 9


@pytest.fixture
def embed() -> nn.Embedding:
    torch.manual_seed(0)
    return nn.Embedding(10, WIDTH)


def merged_by_hand(row: list[int], embed: nn.Embedding, segments: dict[int, list[Tensor]]) -> Tensor:
    """One unpadded row, token by token: the plainest way to write what `inject` does."""
    parts = [segments[token].pop(0) if token in segments else embed.weight[token][None] for token in row]
    return torch.cat(parts)


@pytest.mark.parametrize("padding_side", ["left", "right"])
@pytest.mark.parametrize("padded_on_the_left", [False, True])
def test_rows_of_unequal_length_with_two_modalities(embed, padding_side, padded_on_the_left):
    rows = [[1, IMAGE, 2, REGION, 3], [4, 5], [IMAGE, REGION, REGION, 6, IMAGE, 7, 8]]
    images = [torch.randn(3, WIDTH), torch.randn(1, WIDTH), torch.randn(0, WIDTH)]
    regions = list(torch.randn(3, 1, WIDTH))
    tokens = max(map(len, rows))
    ids, mask = torch.zeros(3, tokens, dtype=torch.long), torch.zeros(3, tokens, dtype=torch.long)
    for number, row in enumerate(rows):
        place = slice(tokens - len(row), None) if padded_on_the_left else slice(len(row))
        ids[number, place], mask[number, place] = torch.tensor(row), 1
    labels = ids.masked_fill(mask == 0, -100)

    result = inject(
        ids,
        embed,
        [Segments.ragged(IMAGE, images, "image"), Segments.uniform(REGION, torch.stack(regions), "region")],
        attention_mask=mask,
        labels=labels,
        padding_side=padding_side,
    )

    waiting = {IMAGE: list(images), REGION: list(regions)}
    expected = [merged_by_hand(row, embed, waiting) for row in rows]
    length = max(map(len, expected))
    assert result.inputs_embeds.shape == (3, length, WIDTH)
    for number, (row, merged) in enumerate(zip(rows, expected, strict=True)):
        place = slice(length - len(merged), None) if padding_side == "left" else slice(len(merged))
        torch.testing.assert_close(result.inputs_embeds[number, place], merged)
        assert result.attention_mask[number].sum() == result.attention_mask[number, place].sum() == len(merged)
        assert result.inputs_embeds[number][result.attention_mask[number] == 0].count_nonzero() == 0
        assert result.position_ids[number, place].tolist() == list(range(len(merged)))
        text = [token for token in row if token not in (IMAGE, REGION)]
        assert [label for label in result.labels[number].tolist() if label != -100] == text


def test_labels_stay_with_their_tokens(embed):
    result = inject(
        torch.tensor([[1, IMAGE, 2, 3]]),
        embed,
        [Segments.uniform(IMAGE, torch.randn(1, 2, WIDTH))],
        labels=torch.tensor([[-100, 5, -100, 3]]),
    )
    assert result.labels.tolist() == [[-100, -100, -100, -100, 3]]


def test_without_segments_it_only_embeds(embed):
    ids = torch.tensor([[1, 2, 3]])
    torch.testing.assert_close(inject(ids, embed).inputs_embeds, embed(ids))


def test_padding_tokens_may_be_embedded_like_text(embed):
    ids, mask = torch.tensor([[1, 2, 0], [3, IMAGE, 4]]), torch.tensor([[1, 1, 0], [1, 1, 1]])
    image = Segments.uniform(IMAGE, torch.randn(1, 2, WIDTH))
    result = inject(ids, embed, [image], attention_mask=mask, padding="tokens")
    torch.testing.assert_close(result.inputs_embeds[0], torch.cat((embed.weight[[1, 2, 0]], torch.zeros(1, WIDTH))))
    assert result.attention_mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]


def test_gradients_reach_segments_and_text_but_not_padding(embed):
    image = torch.randn(1, 2, WIDTH, requires_grad=True)
    ids, mask = torch.tensor([[1, IMAGE, 2], [3, 0, 0]]), torch.tensor([[1, 1, 1], [1, 0, 0]])
    inject(ids, embed, [Segments.uniform(IMAGE, image)], attention_mask=mask).inputs_embeds.sum().backward()
    torch.testing.assert_close(image.grad, torch.ones_like(image))
    assert embed.weight.grad.sum(dim=1).tolist() == [0, WIDTH, WIDTH, WIDTH, 0, 0, 0, 0, 0, 0]


def test_segments_take_the_type_of_the_text():
    embed = nn.Embedding(10, WIDTH, dtype=torch.bfloat16)
    result = inject(torch.tensor([[IMAGE, 1]]), embed, [Segments.uniform(IMAGE, torch.randn(1, 2, WIDTH))])
    assert result.inputs_embeds.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([Segments.uniform(IMAGE, torch.zeros(2, 1, WIDTH), "image")], "hold 1 image placeholders .* but 2 image seg"),
        ([], "id -200 is a placeholder that no segment replaces"),
        ([Segments.uniform(IMAGE, torch.zeros(1, 2, WIDTH + 1), "image")], "width 5 but the language model's have 4"),
        ([Segments(IMAGE, torch.zeros(3, WIDTH), torch.tensor([2]), "image")], "sum to 2 but there are 3 embeddings"),
    ],
)
def test_disagreements_are_named(embed, segments, message):
    with pytest.raises(InputError, match=message):
        inject(torch.tensor([[1, IMAGE, 2]]), embed, segments)


def test_batched_generation_with_the_cache_equals_each_row_alone():
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=30, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
            pad_token_id=0, eos_token_id=None,
        )
    ).eval()  # fmt: skip
    sound = torch.randn(5, 16)
    rows = [[1, IMAGE, 7, 8, 9], [3, 4]]
    ids, mask = torch.tensor([rows[0], [*rows[1], 0, 0, 0]]), torch.tensor([[1] * 5, [1, 1, 0, 0, 0]])

    def continued(ids: Tensor, mask: Tensor | None, segments: list[Segments]) -> list[list[int]]:
        merged = inject(ids, model.get_input_embeddings(), segments, attention_mask=mask, padding_side="left")
        return model.generate(
            inputs_embeds=merged.inputs_embeds, attention_mask=merged.attention_mask, max_new_tokens=8, do_sample=False
        ).tolist()

    together = continued(ids, mask, [Segments.ragged(IMAGE, [sound])])
    assert together == [
        continued(ids[:1], None, [Segments.ragged(IMAGE, [sound])])[0],
        continued(torch.tensor(rows[1:]), None, [])[0],
    ]
