"""The network: loss, generation, saving, and what it does with text-only rows and ablations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from koine.errors import InputError
from koine.systems.ferret.model import FerretForConditionalGeneration, grid_waves
from tests.unit.systems.ferret.conftest import tiny_model

IMAGE, REGION = -200, 380


def batch() -> dict[str, torch.Tensor]:
    """Two regions in one image; a padded text-only row; an image without region."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 380, (3, 10), generator=generator)
    mask = torch.ones_like(ids)
    ids[0, 1], ids[0, 4], ids[0, 6], ids[2, 2] = IMAGE, REGION, REGION, IMAGE
    ids[1, 6:] = mask[1, 6:] = 0
    labels = ids.masked_fill((mask == 0) | (ids < 0) | (torch.arange(10) < 7), -100)
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": labels,
        "pixel_values": torch.randn(2, 3, 16, 16, generator=generator),
        "region_points": torch.rand(2, 16, 2, generator=generator),
        "region_images": torch.tensor([0, 0]),
        "region_starts": torch.tensor([[1, 2], [3, 0]]),
    }


def without(tensors: dict[str, torch.Tensor], *names: str) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name not in names}


def test_the_loss_is_the_mean_over_supervised_tokens(model):
    inputs = batch()
    merged = model.embed(**inputs)
    logits = model(**without(inputs, "labels")).logits
    expected = F.cross_entropy(logits[:, :-1].flatten(0, 1), merged.labels[:, 1:].flatten(), ignore_index=-100)
    torch.testing.assert_close(model(**inputs).loss, expected)


def test_nothing_to_learn_is_no_loss(model):
    inputs = batch()
    inputs["labels"] = torch.full_like(inputs["labels"], -100)
    assert model.train()(**inputs).loss == 0


def test_a_text_row_s_image_is_not_looked_at(model):
    inputs = batch()
    per_row = inputs["pixel_values"][[0, 0, 1]]
    per_row[1] = torch.nan
    given = {**inputs, "pixel_values": per_row}
    torch.testing.assert_close(model(**given).loss, model(**inputs).loss)


def test_features_may_be_computed_beforehand(model):
    inputs = batch()
    features = model.encode_images(inputs.pop("pixel_values"))
    torch.testing.assert_close(model(**inputs, vision_features=features).loss, model(**batch()).loss)


def test_regions_reach_the_answer(model):
    inputs = without(batch(), "labels")
    moved = {**inputs, "region_points": inputs["region_points"].flip(0)}
    assert not torch.allclose(model(**inputs).logits[0], model(**moved).logits[0], atol=1e-4)
    torch.testing.assert_close(model(**inputs).logits[1:], model(**moved).logits[1:])


def test_every_weight_gets_a_gradient_even_from_a_text_only_batch(model):
    model.train()
    ids = torch.tensor([[1, 5, 6, 7]])
    model(ids, labels=ids).loss.backward()
    lacking = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert lacking == []
    assert not any(weight.grad.any() for weight in model.projector.parameters())


def test_a_frozen_tower_keeps_no_activations(model):
    pixels = batch()["pixel_values"]
    assert model.encode_images(pixels).requires_grad
    model.vision_tower.requires_grad_(False)
    assert not model.encode_images(pixels).requires_grad


def test_batched_generation_equals_each_prompt_alone(model):
    inputs = without(batch(), "labels")
    together = model.generate(**inputs, max_new_tokens=7, eos_token_id=None)
    alone = [
        model.generate(
            inputs["input_ids"][:1],
            **{name: inputs[name] for name in ("region_points", "region_images", "region_starts")},
            pixel_values=inputs["pixel_values"][:1],
            max_new_tokens=7,
            eos_token_id=None,
        ),
        model.generate(inputs["input_ids"][1:2, :6], max_new_tokens=7, eos_token_id=None),
        model.generate(
            inputs["input_ids"][2:], pixel_values=inputs["pixel_values"][1:], max_new_tokens=7, eos_token_id=None
        ),
    ]
    assert torch.equal(together, torch.cat(alone))


def test_generation_with_the_cache_equals_generation_without(model):
    inputs = without(batch(), "labels", "attention_mask")
    inputs = {**inputs, "input_ids": inputs["input_ids"][:1], "pixel_values": inputs["pixel_values"][:1]}
    generated = model.generate(**inputs, max_new_tokens=6, eos_token_id=None)
    sequence = inputs.pop("input_ids")
    for token in generated[0]:
        assert model(sequence, **inputs).logits[0, -1].argmax() == token
        sequence = torch.cat((sequence, token.view(1, 1)), dim=1)


def test_a_generated_region_token_is_read_as_a_word(model):
    """Only prompts have regions; the model may write the token all the same."""
    ids = torch.tensor([[1, 5, 6]])
    generated = model.generate(ids, max_new_tokens=3, suppress_tokens=list(range(REGION)), eos_token_id=None)
    assert generated.tolist() == [[REGION] * 3]


def test_it_survives_saving(model, tmp_path):
    model.save_pretrained(tmp_path)
    again = FerretForConditionalGeneration.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(again(**batch()).loss, model(**batch()).loss)
    assert list(tmp_path.glob("*.safetensors"))


def test_half_precision(model):
    inputs = batch()
    exact = model(**inputs).loss
    assert (model.to(torch.bfloat16)(**inputs).loss - exact).abs() < 0.1


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable")  # transformers 6 will call it otherwise
def test_gradient_checkpointing_changes_nothing(model):
    model.train()
    model(**batch()).loss.backward()
    expected = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    model.gradient_checkpointing_enable()
    model(**batch()).loss.backward()
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.grad, expected[name])


def test_the_average_variant_takes_counts():
    model = tiny_model(region_features="average")
    inputs = {**batch(), "region_counts": torch.tensor([16, 1])}
    alike = batch()
    alike["region_points"][1] = alike["region_points"][1, :1]
    torch.testing.assert_close(model(**inputs).loss, model(**alike).loss)


def test_coordinates_only_takes_no_points():
    model = tiny_model(region_features="none")
    inputs = batch()
    with pytest.raises(InputError, match="takes no region points"):
        model(**inputs)
    plain = without(inputs, "region_points", "region_images", "region_starts")
    assert model(**plain).loss > 0


def test_patches_may_carry_their_places():
    plain, placed = tiny_model(image_positions=False), tiny_model(image_positions=True)
    weights = placed.state_dict()
    places = weights.pop("image_positions")
    plain.load_state_dict(weights)
    features = plain.encode_images(batch()["pixel_values"])
    torch.testing.assert_close(placed.project_images(features), plain.project_images(features) + places)
    placed(**batch()).loss.backward()
    assert placed.image_positions.grad.abs().sum() > 0


def test_the_class_token_has_no_place():
    model = tiny_model(image_positions=True, select_feature="cls_patch")
    features = model.encode_images(batch()["pixel_values"])
    projected = model.projector(features)
    torch.testing.assert_close(model.project_images(features)[:, :1], projected[:, :1])
    torch.testing.assert_close(model.project_images(features)[:, 1:], projected[:, 1:] + model.image_positions)


def test_places_on_the_grid_differ_and_neighbours_are_alike():
    places = grid_waves(8, 128).view(8, 8, 128)
    assert len(places.flatten(0, 1).unique(dim=0)) == 64
    near, far = (F.cosine_similarity(places[2, 2], places[row, 2], dim=0) for row in (3, 7))
    assert near > far


def test_the_class_token_may_be_shown_too():
    model = tiny_model(select_feature="cls_patch")
    inputs = batch()
    assert model.encode_images(inputs["pixel_values"]).shape == (2, 17, 16)
    assert model(**inputs).loss > 0


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (("region_points", "region_images", "region_starts"), "2 region placeholders .* but 0 region segments"),
        (("region_images",), "region_points came without region_images"),
        (("pixel_values", "region_points"), "-200 is a placeholder that no segment replaces|2 region placeholders"),
        (("input_ids", "labels"), "neither input_ids nor inputs_embeds"),
    ],
)
def test_missing_tensors_are_named(model, missing, message):
    with pytest.raises(InputError, match=message):
        model(**without(batch(), *missing))
