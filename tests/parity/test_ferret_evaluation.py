"""Ferret's published scorers and data rewriting: the same results as the original code, case by case."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from koine.data import flickr30k_entities as flickr_data
from koine.data import grit, lvis_referring, refcoco
from koine.data.annotated import box_region, decode_mask, mask_region
from koine.data.pope import PopeQuestion
from koine.evaluation import ferret_bench, flickr30k_entities, pope
from koine.evaluation import lvis_referring as lvis_scoring
from koine.evaluation import refcoco as refcoco_scoring
from koine.evaluation.answers import Answer
from koine.sentence import Image, Region
from koine.systems.ferret.regions import pixels_of_region

SHIPPED = Path(__file__).parents[1] / "golden"


def golden_file(name: str) -> Path:
    """A file of the folder that `KOINE_GOLDEN` names, or of the shipped set if that folder lacks it."""
    folders = [Path(os.environ.get("KOINE_GOLDEN", SHIPPED)), SHIPPED]
    return next(path for folder in folders if (path := folder / "ferret" / name).is_file())


CASES: dict[str, Any] = json.loads(golden_file("text_cases.json").read_text(encoding="utf-8"))
BINS = 1000


def blank(width: int, height: int) -> Image:
    return Image(np.zeros((height, width, 3), dtype=np.uint8))


def coordinates(region: Region) -> str:
    """The region as Ferret writes it: whole thousandths, cut off."""
    numbers = [int(edge * BINS / region.image.size[axis % 2]) for axis, edge in enumerate(region.bounds)]
    return str(numbers[:2] if region.kind == "point" else numbers)


def question_text(parts: Any, *, with_coordinates: bool = True, with_feature: bool = True) -> str:
    text = ""
    for part in parts:
        if isinstance(part, str):
            text += part
        elif isinstance(part, Region):
            written = [coordinates(part)] * with_coordinates + ["<region_fea>"] * with_feature
            text += " ".join(written)
    return text


@pytest.mark.parametrize("case", CASES["remove_not"])
def test_denied_parts_of_an_answer_are_deleted(case: dict[str, str]) -> None:
    assert lvis_scoring.without_negations(case["text"]) == case["out"]


@pytest.mark.parametrize("case", CASES["phrases_similar"])
def test_phrases_are_compared(case: dict[str, Any]) -> None:
    assert flickr30k_entities.same_phrase(case["a"], case["b"]) is case["out"]


@pytest.mark.parametrize("case", CASES["parse"])
def test_written_boxes_are_decoded(case: dict[str, Any]) -> None:
    answer = Answer.of_written(case["text"], case["img_w"], case["img_h"])
    phrases, boxes = case["caption_decoder"].get("out", [[], []])  # where the original fails, no box counts
    assert [one.phrase for one in answer.phrases] == phrases
    assert [list(box) for box in answer.boxes] == boxes


def lvis_objects(folder: Path) -> list[lvis_referring.ReferredObject]:
    """The golden annotations as a file; the stroke of each, which the set describes by its extent, is filled in."""
    extents = {case["id"]: case for case in CASES["lvis"] if case["format"] == "free_shape"}
    lines = []
    for annotation in CASES["lvis_annotations"]:
        left, top, right, bottom = extents[annotation["id"]]["mask_bbox"]
        stroke = np.zeros((annotation["width"], annotation["height"]), dtype=int)
        stroke[left : right + 1, top : bottom + 1] = 1
        lines.append(json.dumps({**annotation, "free_shape_segment_mask": stroke.tolist()}))
    (folder / "lvis_eval.jsonl").write_text("\n".join(lines))
    return list(lvis_referring.read(folder))


def covered(region: Region) -> np.ndarray:
    """What the original marks of a box of pixel numbers, [height, width]: both ends, within the mask."""
    left, top, right, bottom = region.bounds
    marked = np.zeros((region.image.height, region.image.width), dtype=bool)
    marked[int(top) : int(bottom) + 1, int(left) : int(right) + 1] = True
    return marked if region.mask is None else marked & region.mask


@pytest.mark.parametrize("case", CASES["lvis"], ids=lambda case: f"{case['id']}-{case['format']}-{case['no_coor']}")
def test_lvis_questions(case: dict[str, Any], tmp_path: Path) -> None:
    things = lvis_objects(tmp_path)
    index = next(place for place, thing in enumerate(things) if thing.id == str(case["id"]))
    form: lvis_referring.RegionForm = "free_form" if case["format"] == "free_shape" else case["format"]
    thing = things[index]
    example = lvis_referring.example(thing, index, blank(thing.width, thing.height), form)

    text = question_text(example.prompt, with_coordinates=not case["no_coor"])
    # Without coordinates the original leaves their place empty, with a space on either side.
    assert text == case["question"].replace("  <region_fea>", " <region_fea>")
    rows, columns = np.nonzero(pixels_of_region(example.prompt.regions[0]).to_mask())
    assert [thing.width, thing.height] == case["mask_shape"]
    assert len(rows) == case["mask_sum"]
    assert [columns.min(), rows.min(), columns.max(), rows.max()] == case["mask_bbox"]


def test_lvis_scoring() -> None:
    predictions = CASES["lvis_scoring"]["predictions"]
    things = [
        lvis_referring.ReferredObject(
            id=str(number),
            image="",
            width=1,
            height=1,
            point=(0, 0),
            box=(0, 0, 1, 1),
            stroke_box=None,
            name=one["name"],
            synonyms=tuple(one["synonyms"]),
            wrong_name="",
        )
        for number, one in enumerate(predictions)
    ]
    metrics = lvis_scoring.score([Answer.of_text(one["text"]) for one in predictions], things)
    assert metrics["accuracy"] == pytest.approx(CASES["lvis_scoring"]["accuracy"])
    spoken = [lvis_scoring.spoken_synonyms(thing.synonyms) for thing in things]
    assert spoken == CASES["lvis_scoring"]["processed_synonyms"]


def test_referring_expressions(tmp_path: Path) -> None:
    file = tmp_path / "finetune_refcoco_val.json"
    file.write_text(json.dumps(CASES["refexp"]["annotations"]))
    references = list(refcoco.read_mdetr(file))
    texts = {str(one["image_id"]): one["text"] for one in CASES["refexp"]["predictions"]}
    answers = [Answer.of_written(texts[one.id], one.width, one.height) for one in references]
    metrics = refcoco_scoring.score(answers, references)
    for name, expected in CASES["refexp"]["results"].items():
        # The original prints its three figures sorted, not labelled.
        figures = sorted(metrics[f"{name}.{which}"] for which in ("top1", "mean", "upper_bound"))
        assert figures == pytest.approx(expected)


def test_pope() -> None:
    golden = CASES["pope"]
    answers = [Answer.of_text(text) for text in golden["answers_lowercased"]]
    questions = [PopeQuestion(str(number), "random", "", "", label) for number, label in enumerate(golden["labels"])]
    metrics = pope.score(answers, questions)
    names = {"Accuracy": "accuracy", "Precision": "precision", "Recall": "recall", "F1 score": "f1"}
    for published, ours in {**names, "Yes ratio": "yes_ratio"}.items():
        assert metrics[ours] == pytest.approx(golden["metrics"][published])


@pytest.mark.parametrize("case", CASES["gpt_review"]["postprocess"])
def test_answers_are_rewritten_for_the_judge(case: dict[str, str]) -> None:
    assert ferret_bench.rewritten_text(case["answer"], case["category"]) == case["out"]
    # A picture as large as the coordinates' range makes the pixels of a decoded answer equal to what was written.
    decoded = Answer.of_written(case["answer"], BINS, BINS)
    assert ferret_bench.rewritten(decoded, case["category"]) == case["out"]


@pytest.mark.parametrize("case", CASES["gpt_review"]["parse_score"])
def test_reviews_are_read(case: dict[str, Any]) -> None:
    assert list(ferret_bench.parse_scores(case["review"])) == case["out"]


def flickr_folder(folder: Path) -> list[flickr_data.GroundedCaption]:
    golden = CASES["flickr"]
    for number in {image["original_img_id"] for image in golden["annotation"]["images"]}:
        for kind, name, text in (("Sentences", "txt", "sentences"), ("Annotations", "xml", "xml")):
            (folder / kind).mkdir(exist_ok=True)
            (folder / kind / f"{number}.{name}").write_text(golden[text])
    (folder / "final_flickr_mergedGT_test.json").write_text(json.dumps(golden["annotation"]))
    return list(flickr_data.read(folder))


def test_flickr_annotations_are_parsed() -> None:
    golden = CASES["flickr"]
    for (caption, phrases), expected in zip(
        flickr_data.parse_sentences(golden["sentences"]), golden["parsed_sentences"], strict=True
    ):
        assert caption == expected["sentence"]
        assert [
            {
                "first_word_index": phrase.first_word,
                "phrase": phrase.text,
                "phrase_id": phrase.id,
                "phrase_type": list(phrase.categories),
            }
            for phrase in phrases
        ] == expected["phrases"]
    boxes, expected = flickr_data.parse_boxes(golden["xml"], "golden"), golden["parsed_boxes"]
    assert (boxes.width, boxes.height, boxes.depth) == (expected["width"], expected["height"], expected["depth"])
    assert {name: [list(box) for box in found] for name, found in boxes.boxes.items()} == expected["boxes"]
    assert (list(boxes.not_visible), list(boxes.scene)) == (expected["nobox"], expected["scene"])


def test_flickr_recall(tmp_path: Path) -> None:
    golden = CASES["flickr"]
    captions = flickr_folder(tmp_path)
    answers = [
        Answer.of_written(prediction["text"], caption.width, caption.height)
        for prediction, caption in zip(golden["predictions"], captions, strict=True)
    ]
    metrics = flickr30k_entities.score(answers, captions, truth="merged" if golden["merge_boxes"] else "any")
    for rank, expected in golden["recall"].items():
        name = "all" if rank == "-1" else rank
        assert {category: metrics[f"recall@{name}.{category}"] for category in expected} == pytest.approx(expected)


def grit_record(folder: Path) -> grit.GritRecord:
    (folder / "grit.json").write_text(json.dumps([CASES["dataset_sample"]]))
    (record,) = grit.read(folder / "grit.json")
    return record


@pytest.mark.parametrize("case", CASES["dataset"], ids=lambda case: case["name"])
def test_training_conversations_are_rewritten(case: dict[str, Any], tmp_path: Path) -> None:
    record = grit_record(tmp_path)
    options = grit.RegionOptions(answers="as_asked" if case["options"].get("rpp") else "box")
    image = blank(record.width, record.height)
    for seed in range(1000):  # until the coin falls as it did in the original
        example = grit.example(record, image, np.random.default_rng(seed), options)
        exchanges = [*example.history, (example.prompt, example.target)]
        forms = ["point" if prompt.regions[0].kind == "point" else "box" for prompt, _ in exchanges if prompt.regions]
        if forms == case["formats"]:
            break
    else:
        pytest.fail(f"no seed gives the forms {case['formats']}")

    ours, regions = [], []
    for prompt, target in exchanges:
        regions += prompt.regions
        coordinates_wanted = not case["options"].get("nc")
        ours.append(
            question_text(prompt, with_coordinates=coordinates_wanted, with_feature=case["options"].get("arf", True))
        )
        ours.append(question_text(target, with_coordinates=coordinates_wanted, with_feature=False))
    ours[0] = f"<image>\n{ours[0]}"
    point = re.compile(r"\[\d+, \d+\]")  # which of equally near pixels becomes the point is arbitrary
    theirs = case["conversation"]
    assert [point.sub("[point]", text) for text in ours] == [point.sub("[point]", text) for text in theirs]
    assert_points_as_near(record, regions, [place for text in theirs[::2] for place in point.findall(text)])


def assert_points_as_near(record: grit.GritRecord, regions: list[Region], golden_points: list[str]) -> None:
    """Every point lies on its mask and, if the rule looked at all of it, as near to the middle as the original's."""
    asked = [(turn, place) for turn in record.turns[::2] for place in range(len(turn.boxes))]
    points = iter(golden_points)
    for (turn, place), region in zip(asked, regions, strict=True):
        if region.kind != "point" or not golden_points:
            continue
        mask = decode_mask(turn.masks[place], record.width, record.height, "golden")
        x, y = (int(edge) for edge in region.bounds[:2])
        assert mask[y, x]
        golden_x, golden_y = (int(number) for number in next(points)[1:-1].split(","))
        if mask.sum() <= grit.NEAREST_OF:
            left, top, right, bottom = turn.boxes[place]
            middle_x, middle_y = (left + right) // 2, (top + bottom) // 2
            # What was written was cut off, so the pixel is the next whole one.
            original = -(-golden_x * record.width // BINS), -(-golden_y * record.height // BINS)
            distances = [(px - middle_x) ** 2 + (py - middle_y) ** 2 for px, py in ((x, y), original)]
            assert distances[0] == distances[1]


@pytest.mark.parametrize(
    "case", [case for case in CASES["train_masks"] if len(case["coor"]) == 4], ids=lambda case: case["name"]
)
def test_training_boxes_cover_the_same_pixels(case: dict[str, Any]) -> None:
    with safe_open(golden_file("cases.safetensors"), framework="numpy") as tensors:
        expected = tensors.get_tensor(case["key"]).T != 0
    image = blank(case["raw_w"], case["raw_h"])
    if case["mask_rle"] is None:
        region = box_region(image, case["box"])
    else:
        mask = decode_mask(case["mask_rle"], case["raw_w"], case["raw_h"], "golden")
        region = mask_region(image, mask, case["box"])
    assert (covered(region) == expected).all()


@pytest.mark.parametrize("case", CASES["regulate_box"])
def test_boxes_are_clamped(case: dict[str, Any]) -> None:
    assert list(grit.clamped_box(case["box"], case["w"], case["h"], "golden")) == case["out"]
