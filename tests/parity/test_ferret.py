"""Ferret computes what the original computes: every case of the golden data, whatever sizes and seeds it has."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import CLIPVisionConfig, LlamaConfig

from koine.data import grit
from koine.data.annotated import decode_mask
from koine.sentence import Image, Region
from koine.systems.ferret import parsing
from koine.systems.ferret.config import PUBLISHED_SIZES, PUBLISHED_SYSTEM_PROMPT, FerretConfig
from koine.systems.ferret.model import FerretForConditionalGeneration
from koine.systems.ferret.processor import FerretProcessor
from koine.systems.ferret.prompt import (
    IMAGE_MARK,
    Turn,
    conversation,
    load_tokenizer,
    tokenize,
    tokenize_conversation,
)
from koine.systems.ferret.records import training_regions
from koine.systems.ferret.regions import (
    RegionPixels,
    RegionTable,
    inclusive_box,
    pixels_of_region,
    point_window,
    training_pixels,
)
from koine.systems.ferret.sampler import (
    AverageRegionPooling,
    GeoRegionSampler,
    farthest_points,
    nearest_neighbours,
    read_features,
    squared_distances,
)
from koine.systems.ferret.weights import build, convert_state, our_name, our_shape

FORMULATIONS = ["direct", "factored"]


@pytest.fixture(scope="module")
def ferret(golden):
    return golden("ferret")


@pytest.fixture(scope="module")
def cases(ferret) -> dict[str, Tensor]:
    return ferret.tensors("cases.safetensors")


@pytest.fixture(scope="module")
def full(ferret) -> dict[str, Tensor]:
    return ferret.tensors("cases_full.safetensors")


@pytest.fixture(scope="module")
def texts(ferret) -> dict[str, Any]:
    return ferret.json("text_cases.json")


@pytest.fixture(scope="module")
def weights(ferret) -> dict[str, Tensor]:
    return ferret.tensors("weights.safetensors")


@pytest.fixture(scope="module")
def config(ferret) -> FerretConfig:
    """The tiny model of the golden data, as its manifest describes it."""
    manifest = ferret.manifest
    options = manifest["full_model"]
    return FerretConfig(
        vision_config=CLIPVisionConfig(
            **manifest["clip"], hidden_act=options["clip_hidden_act"], layer_norm_eps=options["clip_layer_norm_eps"]
        ),
        text_config=LlamaConfig(
            **manifest["llama"],
            vocab_size=manifest["vocab"],
            hidden_act=options["hidden_act"],
            rms_norm_eps=options["rms_norm_eps"],
            rope_parameters={"rope_type": "default", "rope_theta": options["rope_theta"]},
            tie_word_embeddings=options["tie_word_embeddings"],
            pad_token_id=options["pad_token_id"],
            bos_token_id=options["bos"],
            eos_token_id=options["eos"],
        ),
        feature_layer=options["mm_vision_select_layer"],
        select_feature=options["select_feature"],
        image_token_id=options["image_placeholder_id"],
        region_token_id=manifest["region_fea_token_id"],
        region_orientation="published",
        region_alignment="corners",
        sampler_points=options["sampler"]["num_init_point"],
        sampler_anchors=options["sampler"]["num_sub_point"],
        sampler_neighbours=options["sampler"]["num_neighbor"],
        sampler_pooling=options["sampler"]["pooler"],
    )


@pytest.fixture(scope="module")
def model(config, weights) -> FerretForConditionalGeneration:
    published = {key: tensor for key, tensor in weights.items() if key.startswith(("model.", "lm_head."))}
    return build(config, convert_state(published))


@pytest.fixture(scope="module")
def tokenizer(ferret):
    return load_tokenizer(ferret.path("tokenizer.model"))


@pytest.fixture(scope="module")
def close(ferret) -> Callable[[Tensor, Tensor], None]:
    atol, rtol = ferret.tolerance("default", "atol"), ferret.tolerance("default", "rtol")

    def check(found: Tensor, expected: Tensor) -> None:
        torch.testing.assert_close(found.detach(), expected, atol=atol, rtol=rtol)

    return check


@pytest.fixture(scope="module")
def close_logits(ferret) -> Callable[[Tensor, Tensor], None]:
    atol = ferret.tolerance("logits", "")

    def check(found: Tensor, expected: Tensor) -> None:
        torch.testing.assert_close(found.detach(), expected, atol=atol, rtol=0)

    return check


def names_of(tensors: dict[str, Tensor], ending: str) -> list[str]:
    """What stands before `.ending` in the keys that end so."""
    found = sorted(key[: -len(ending) - 1] for key in tensors if key.endswith(f".{ending}"))
    assert found, f"the golden data has no {ending}"
    return found


def stages_of(tensors: dict[str, Tensor], case: str, name: str) -> list[Tensor]:
    """[case.name_0, case.name_1, ...] as far as they go."""
    found = []
    while f"{case}.{name}_{len(found)}" in tensors:
        found.append(tensors[f"{case}.{name}_{len(found)}"])
    return found


def images_of_counts(counts: Tensor) -> Tensor:
    return torch.repeat_interleave(torch.arange(len(counts)), counts)


# ----------------------------------------------------------------------------------------------------------- sampler


def sampler_of(ferret, weights: dict[str, Tensor], name: str, formulation: str) -> GeoRegionSampler:
    """The stand-alone sampler whose weights are called `name`."""
    sizes = ferret.manifest["sampler"]
    sampler = GeoRegionSampler(
        sizes["input_dim"],
        sizes["output_dim"],
        anchors=sizes["num_sub_point"],
        neighbours=sizes["num_neighbor"],
        pooling=name.removeprefix("sampler_"),
        orientation="published",
        alignment="corners",
        formulation=formulation,
    )
    published = {
        f"model.region_geo_sampler.{key.removeprefix(name + '.')}": tensor
        for key, tensor in weights.items()
        if key.startswith(f"{name}.")
    }
    state = {key.removeprefix("region_sampler."): tensor for key, tensor in convert_state(published).items()}
    sampler.load_state_dict(state)
    return sampler.eval()


@pytest.mark.parametrize("formulation", FORMULATIONS)
@pytest.mark.parametrize("gradients", [False, True])
def test_sampler_features_with_the_given_geometry(ferret, cases, weights, close, formulation, gradients):
    for case in names_of(cases, "flatten_out"):
        sampler = sampler_of(ferret, weights, case.split(".")[0], formulation)
        with torch.set_grad_enabled(gradients):
            trace = sampler.trace(
                cases["sampler.feature_maps"],
                cases[f"{case}.points"],
                images_of_counts(cases[f"{case}.counts"]),
                anchors=stages_of(cases, case, "fps_idx"),
                neighbours=stages_of(cases, case, "knn_idx"),
            )
        close(trace.point_features, cases[f"{case}.point_feats"])
        for found, expected in zip(trace.stage_features, stages_of(cases, case, "stage_feats"), strict=True):
            close(found, expected)
        close(trace.flat, cases[f"{case}.flatten_out"])
        close(trace.output, cases[f"{case}.out"])


def test_sampler_geometry(ferret, cases, weights, close):
    for case in names_of(cases, "flatten_out"):
        sampler = sampler_of(ferret, weights, case.split(".")[0], "factored")
        points = cases[f"{case}.points"]
        trace = sampler.trace(
            cases["sampler.feature_maps"],
            points,
            images_of_counts(cases[f"{case}.counts"]),
            starts=torch.stack(stages_of(cases, case, "fps_start"), dim=1),
        )
        rows = torch.arange(len(points))[:, None]
        stages = zip(trace.neighbours, stages_of(cases, case, "knn_idx"), strict=True)
        for number, (neighbours, expected) in enumerate(stages):
            anchors = stages_of(cases, case, "fps_idx")[number]
            assert torch.equal(trace.anchors[number], anchors)
            distances = squared_distances(points[rows, anchors], points)
            found, given = distances.gather(2, neighbours), distances.gather(2, expected.long())
            # Among equally near points of a pixel grid any may be chosen: the distances must agree.
            close(found.sort(dim=-1).values, given.sort(dim=-1).values)
            if case.endswith(".continuous"):
                assert torch.equal(neighbours.sort(dim=-1).values, expected.long().sort(dim=-1).values)
            points = points[rows, anchors]
        if case.endswith(".continuous"):
            close(trace.output, cases[f"{case}.out"])


def test_single_functions_of_the_sampler(cases, close):
    points, starts = cases["fn.points"], cases["fn.fps_start"]
    chosen = farthest_points(points, cases["fn.fps_idx"].shape[1], starts)
    assert torch.equal(chosen, cases["fn.fps_idx"])
    anchors = points[torch.arange(len(points))[:, None], chosen]
    close(squared_distances(anchors, points), cases["fn.sqdist"])
    expected = cases["fn.knn_idx_sorted_set"]
    neighbours = nearest_neighbours(anchors, points, expected.shape[2])
    assert torch.equal(neighbours.sort(dim=-1).values, expected)
    tokens = cases["fn.gs_map"].flatten(2).transpose(1, 2)
    read = read_features(tokens, points, torch.arange(len(points)), orientation="corrected", alignment="corners")
    close(read.transpose(1, 2), cases["fn.gs_out"])


def test_the_published_orientation_is_the_transposed_one(cases, close):
    points, feature_map, image = cases["probe.points"][None], cases["probe.feature_map"], torch.tensor([0])
    read = read_features(feature_map, points, image, orientation="published", alignment="corners")
    close(read[0], cases["probe.sampled"])
    corrected = read_features(feature_map, points, image, orientation="corrected", alignment="corners")
    close(corrected[0], cases["probe.sampled"].flip(-1))


def test_average_pooling_without_sampler(cases, weights, close):
    counts = cases["adapter.n_points"]
    points = torch.zeros(len(counts), int(counts.max()), 2)
    points[torch.arange(points.shape[1]) < counts[:, None]] = cases["adapter.points"]
    images = images_of_counts(cases["adapter.counts"])
    output_width, width = weights["region_fea_adapter.weight"].shape
    pooling = AverageRegionPooling(width, output_width, orientation="published", alignment="corners")
    pooling.project.load_state_dict({name: weights[f"region_fea_adapter.{name}"] for name in ("weight", "bias")})
    close(pooling(cases["sampler.feature_maps"], points, images, counts=counts), cases["adapter.out"])


# ----------------------------------------------------------------------------------------------------------- regions


def blank(width: int, height: int) -> Image:
    return Image(np.zeros((height, width, 3), dtype=np.uint8))


def mask_of(tensor: Tensor) -> np.ndarray:
    """A golden mask [width, height] as ours, [height, width] bool."""
    return tensor.bool().numpy().T


def test_evaluation_masks(texts, cases, full):
    tensors = cases | full
    for case in texts["eval_masks"] + texts["full_masks"]:
        expected, coordinates = mask_of(tensors[case["key"]]), case["coor"]
        image = blank(case["raw_w"], case["raw_h"])
        if case["type"] == "point":
            found = point_window(image.size, *coordinates)
            region = Region.point(image, *coordinates)
        else:
            found = inclusive_box(image.size, coordinates)
            edges = (*coordinates[:2], coordinates[2] + 1, coordinates[3] + 1)
            region = Region.box(image, *edges)
        if case["type"] == "free_shape":
            # The golden data has the result only; a mask that reaches beyond the box must be cut to it.
            spilling = expected.copy()
            spilling[: coordinates[1]] = True
            found = found.within(spilling)
            region = Region.scribble(image, spilling, edges)
        np.testing.assert_array_equal(found.to_mask(), expected)
        np.testing.assert_array_equal(pixels_of_region(region).to_mask(), expected)


def test_training_masks(texts, cases):
    for case in texts["train_masks"]:
        size, encoded = (case["raw_w"], case["raw_h"]), case["mask_rle"]
        segment = None if encoded is None else decode_mask(encoded, *size, "golden")
        kind = "point" if len(case["coor"]) == 2 else "box"
        found = training_pixels(kind, case["coor"], case["box"], segment, size)
        np.testing.assert_array_equal(found.to_mask(), mask_of(cases[case["key"]]))


def test_drawn_points(ferret, cases):
    """Points come from the mask, all of them in order where there are few, different ones where there are many."""
    width, height = ferret.manifest["region_raw_size_wh"]
    size = torch.tensor([width, height])
    whole = RegionPixels((width, height), (0, 0, width, height))
    masks = [mask_of(tensor) for key, tensor in cases.items() if key.startswith("mask.")]
    for case in (name for name in names_of(cases, "points") if name.endswith(".grid")):
        expected = cases[f"{case}.points"]
        drawn_from = [smallest_mask(masks, (points * size).round().long()) for points in expected]
        table = RegionTable.pack([whole.within(mask) for mask in drawn_from])
        drawn = table.draw(expected.shape[1], torch.arange(len(table)))
        for mask, ours, theirs in zip(drawn_from, drawn, expected, strict=True):
            pixels = (ours * size).round().long()
            assert mask[pixels[:, 1], pixels[:, 0]].all()
            fixed = min(int(mask.sum()), len(ours))
            assert len(ours[:fixed].unique(dim=0)) == len(theirs[:fixed].unique(dim=0)) == fixed
            if mask.sum() <= len(ours):
                torch.testing.assert_close(ours[:fixed], theirs[:fixed])


def smallest_mask(masks: list[np.ndarray], pixels: Tensor) -> np.ndarray:
    """The mask that pixels [n, 2] (x, y) were drawn from: of those that hold all of them, the smallest."""
    return min((mask for mask in masks if mask[pixels[:, 1], pixels[:, 0]].all()), key=np.sum)


# -------------------------------------------------------------------------------------------------------- whole model


def case_names(full: dict[str, Tensor]) -> list[str]:
    return names_of(full, "last_hidden")


def inputs_of(model: FerretForConditionalGeneration, full: dict[str, Tensor], case: str) -> dict[str, Tensor]:
    """The tensors that `embed` takes, for one case, which has one image per row."""
    inputs = {"input_ids": full[f"{case}.input_ids"], "pixel_values": full[f"{case}.images"]}
    if f"{case}.region_points" in full:
        in_rows = (inputs["input_ids"] == model.config.region_token_id).sum(dim=1)
        inputs |= {"region_points": full[f"{case}.region_points"], "region_images": images_of_counts(in_rows)}
    if f"{case}.attention_mask_in" in full:
        inputs |= {"attention_mask": full[f"{case}.attention_mask_in"], "labels": full[f"{case}.labels_in"]}
    return inputs


@pytest.fixture
def with_geometry(model, full, monkeypatch) -> Callable[[str], None]:
    """Makes the model use a case's own farthest points and neighbours: pixel grids have ties."""

    def use(case: str) -> None:
        anchors, neighbours = stages_of(full, case, "fps_idx"), stages_of(full, case, "knn_idx")

        def forward(features: Tensor, points: Tensor, images: Tensor, *, starts: Tensor | None = None) -> Tensor:
            trace = model.region_sampler.trace(features, points, images, anchors=anchors, neighbours=neighbours)
            return trace.output

        monkeypatch.setattr(model.region_sampler, "forward", forward)

    return use


def test_vision_features_and_projection(model, full, close):
    for case in case_names(full):
        features = model.encode_images(full[f"{case}.images"])
        close(features, full[f"{case}.vision_features"])
        close(model.projector(features), full[f"{case}.projected"])


def test_region_features(model, full, close, with_geometry):
    for case in names_of(full, "region_features"):
        with_geometry(case)
        inputs = inputs_of(model, full, case)
        features = model.encode_images(inputs["pixel_values"])
        found = model.embed_regions(features, inputs["region_points"], inputs["region_images"])
        close(found, full[f"{case}.region_features"])


def test_farthest_points_of_the_whole_model(model, full):
    for case in names_of(full, "region_features"):
        points, rows = full[f"{case}.region_points"], torch.arange(len(full[f"{case}.region_points"]))[:, None]
        starts = stages_of(full, case, "fps_start")
        for start, expected in zip(starts, stages_of(full, case, "fps_idx"), strict=True):
            assert torch.equal(farthest_points(points, expected.shape[1], start), expected.long())
            points = points[rows, expected.long()]


def test_merged_sequence_hidden_states_and_logits(model, full, close, close_logits, with_geometry):
    for case in case_names(full):
        with_geometry(case)
        merged = model.embed(**inputs_of(model, full, case), padding="tokens")
        close(merged.inputs_embeds, full[f"{case}.inputs_embeds"])
        for name, found in (("attention_mask", merged.attention_mask), ("labels", merged.labels)):
            if f"{case}.{name}_out" in full:
                assert torch.equal(found, full[f"{case}.{name}_out"])
        output = model(
            inputs_embeds=merged.inputs_embeds,
            attention_mask=merged.attention_mask,
            position_ids=merged.position_ids,
            output_hidden_states=True,
        )
        real = merged.attention_mask.bool()
        close(output.hidden_states[-1][real], full[f"{case}.last_hidden"][real])
        logits = output.logits
        close_logits(logits.logsumexp(-1)[real], full[f"{case}.logits_logsumexp"][real])
        assert torch.equal(logits.argmax(-1)[real], full[f"{case}.logits_argmax"].long()[real])
        last = full[f"{case}.logits_last16"]
        place = real[:, -last.shape[1] :]
        close_logits(logits[:, -last.shape[1] :][place], last[place])


def test_training_loss(model, full, close, with_geometry):
    for case in names_of(full, "loss"):
        with_geometry(case)
        close(model(**inputs_of(model, full, case)).loss.reshape(1), full[f"{case}.loss"])


def test_generation(model, full, close_logits):
    for case in names_of(full, "new_ids"):
        prompt, expected = full[f"{case}.input_ids"], full[f"{case}.new_ids"]
        asked = next(name for name in case_names(full) if torch.equal(full[f"{name}.input_ids"], prompt))
        inputs = inputs_of(model, full, asked) | {"region_points": full[f"{case}.region_points"]}
        generated = model.generate(
            **inputs,
            region_starts=torch.stack(stages_of(full, case, "fps_start"), dim=1),
            max_new_tokens=expected.shape[1],
            eos_token_id=None,
            output_logits=True,
            return_dict_in_generate=True,
        )
        assert torch.equal(generated.sequences, expected)
        close_logits(torch.stack(generated.logits, dim=1), full[f"{case}.scores"])


def test_image_preprocessing(ferret, cases, config, tokenizer):
    processor = FerretProcessor(tokenizer, config)
    found = processor.pixel_values([Image(cases["image.uint8_hwc"].numpy())])[0]
    atol = ferret.tolerance("default", "image.pixel_values")
    torch.testing.assert_close(found, cases["image.pixel_values"], atol=atol, rtol=0)


# --------------------------------------------------------------------------------------------------------------- text


def turns_of(messages: list[str]) -> list[Turn]:
    return [Turn(question, answer) for question, answer in zip(messages[::2], messages[1::2], strict=True)]


def test_prompts(texts, tokenizer, config):
    image = config.image_token_id
    for case in texts["prompts"]:
        turns = [Turn(f"{IMAGE_MARK}\n{case['question']}")]
        assert conversation(turns, PUBLISHED_SYSTEM_PROMPT) == case["prompt"]
        bos = tokenizer.bos_token_id
        assert [bos, *tokenize(case["prompt"], tokenizer, image)] == case["input_ids"]
        assert tokenize_conversation(turns, PUBLISHED_SYSTEM_PROMPT, tokenizer, image)[0] == case["input_ids"]
        words = [id for id in case["input_ids"] if id != image]
        assert tokenizer.convert_ids_to_tokens(words) == [piece for piece in case["pieces"] if piece != IMAGE_MARK]


def test_tokenisation_around_special_tokens(texts, tokenizer, config):
    for case in texts["raw_tokenize"]:
        found = [tokenizer.bos_token_id, *tokenize(case["text"], tokenizer, config.image_token_id)]
        assert found == case["input_ids"]
        assert tokenizer.convert_ids_to_tokens(found) == case["pieces"]


def test_labels_of_conversations(texts, tokenizer, config):
    for case in texts["preprocess_v1"]:
        turns = turns_of([message["value"] for message in case["source"]])
        ids, labels = tokenize_conversation(turns, PUBLISHED_SYSTEM_PROMPT, tokenizer, config.image_token_id)
        assert (ids, labels) == (case["input_ids"], case["labels"])
        assert (config.image_token_id in ids) == case["has_image"]


def test_training_records(texts, cases, tokenizer, config, tmp_path):
    """The rewriting itself is the data set's affair (`test_ferret_evaluation.py`); what becomes of it is Ferret's."""
    (tmp_path / "grit.json").write_text(json.dumps([texts["dataset_sample"]]))
    (record,) = grit.read(tmp_path / "grit.json")
    image = blank(record.width, record.height)
    for case in texts["dataset"]:
        turns = turns_of(case["conversation"])
        ids, labels = tokenize_conversation(turns, PUBLISHED_SYSTEM_PROMPT, tokenizer, config.image_token_id)
        assert (ids, labels) == (case["input_ids"], case["labels"])
        assert ids.count(config.region_token_id) == case["n_masks"]
        asked = [region for turn in turns for region in regions_in(turn.question, image)]
        if len(asked) != case["n_masks"]:  # written without coordinates or without features
            continue
        for number, pixels in enumerate(training_regions(record, asked)):
            key = f"dataset.{case['name']}.mask_{number}"
            if key in cases:
                np.testing.assert_array_equal(pixels.to_mask(), mask_of(cases[key]))


def regions_in(question: str, image: Image) -> list[Region]:
    """The regions whose coordinates a published question holds; bins were cut off, so the pixel is the next one."""
    regions = []
    for piece in question.split("[")[1:]:
        bins = [int(number) for number in piece.split("]")[0].split(", ")]
        pixels = [-(-value * image.size[axis % 2] // 1000) for axis, value in enumerate(bins)]
        regions.append(Region.point(image, *pixels) if len(pixels) == 2 else Region.box(image, *pixels))
    return regions


READERS: dict[str, Callable[[str, tuple[int, int]], Any]] = {
    "refcoco_template": parsing.read_referring,
    "flickr_template": lambda text, size: unzipped(parsing.read_phrases(text, size)),
    "pope_template": parsing.read_numbered,
}


def unzipped(found: list[tuple[str, tuple[int, int, int, int]]]) -> tuple[list[str], list[tuple[int, ...]]]:
    return [words for words, _ in found], [box for _, box in found]


@pytest.mark.parametrize("reader", READERS)
def test_answers_are_read_alike(texts, reader):
    for case in texts["parse"]:
        size, expected = (case["img_w"], case["img_h"]), case[reader]
        if "error" in expected:
            # The original raises one of two exceptions by the kind of fault; ours is one.
            with pytest.raises(ValueError):
                READERS[reader](case["text"], size)
            continue
        words, boxes = READERS[reader](case["text"], size)
        assert [words, [list(box) for box in boxes]] == expected["out"]


def test_coordinates_are_turned_to_pixels(texts):
    for case in texts["resize_bbox"]:
        assert list(parsing.to_pixels(case["box"], (case["w"], case["h"]))) == case["out"]


# ---------------------------------------------------------------------------------------------------------- full size


@pytest.mark.parametrize("size", PUBLISHED_SIZES)
def test_every_published_key_has_its_place(ferret, size):
    published = {**ferret.json(f"keys_{size}.json.gz")["keys"], **ferret.json("keys_vision_tower.json.gz")["keys"]}
    found = {
        name: our_shape(key, tuple(entry["shape"]))
        for key, entry in published.items()
        if (name := our_name(key)) is not None
    }
    ignored = [key for key in published if our_name(key) is None]
    assert len(found) + len(ignored) == len(published)
    assert all(key.endswith((".inv_freq", ".position_ids")) for key in ignored)
    with torch.device("meta"):
        expected = FerretForConditionalGeneration(FerretConfig.published(size)).state_dict()
    assert found == {name: tuple(tensor.shape) for name, tensor in expected.items()}


def test_the_golden_folder_is_the_chosen_one(golden, tmp_path: Path, monkeypatch):
    (tmp_path / "ferret").mkdir()
    (tmp_path / "ferret" / "manifest.json").write_text('{"set": "other"}')
    monkeypatch.setenv("KOINE_GOLDEN", str(tmp_path))
    assert golden("ferret").manifest == {"set": "other"}
    assert golden("ferret").json("keys_7b.json.gz")["keys"], "what the folder lacks comes from tests/golden"
