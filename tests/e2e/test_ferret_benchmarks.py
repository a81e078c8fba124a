"""Every benchmark of Ferret's paper from the command line: published files in, figures and answers out."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pil

from koine.cli import main
from koine.world.render import render
from koine.world.scene import sample_scene

SENTENCES = "[/EN#1/people A man] holds [/EN#2/other a cup] .\n"
XML = """<annotation><size><width>96</width><height>96</height><depth>3</depth></size>
<object><name>1</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>40</xmax><ymax>60</ymax></bndbox></object>
<object><name>2</name><bndbox><xmin>20</xmin><ymin>3</ymin><xmax>30</xmax><ymax>23</ymax></bndbox></object>
</annotation>"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A picture, and beside it one question of each benchmark in its published form."""
    monkeypatch.chdir(tmp_path)
    pil.fromarray(render(sample_scene(0, split="test"), 96).image).save("7.jpg")
    stroke = np.zeros((96, 96), dtype=int)
    stroke[30:60, 40:50] = 1
    thing = {
        "id": 1,
        "image_path": "val2017/7.jpg",
        "width": 96,
        "height": 96,
        "sample_point": [48, 50],
        "bbox_norm": [0.3, 0.3, 0.7, 0.7],
        "free_shape_bbox_raw": [30, 40, 59, 49],
        "free_shape_segment_mask": stroke.tolist(),
        "name": "cube",
        "synonyms": ["cube"],
        "neg_class": "ball",
    }
    picture = {"id": 1, "file_name": "7.jpg", "width": 96, "height": 96, "caption": "the red cube"}
    expressions = {"images": [picture], "annotations": [{"image_id": 1, "bbox": [10, 5, 20, 10]}]}
    question = {"question_id": 1, "image": "7.jpg", "text": "Is there a cube in the image?", "label": "yes"}
    contents = {
        "lvis_eval.jsonl": json.dumps(thing),
        "coco_pope_random.json": json.dumps(question),
        "test.txt": "7",
        "Sentences/7.txt": SENTENCES,
        "Annotations/7.xml": XML,
    } | {f"finetune_{name}_val.json": json.dumps(expressions) for name in ("refcoco", "refcoco+", "refcocog")}
    for name, content in contents.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(content)
    return tmp_path


@pytest.mark.parametrize(
    ("benchmark", "choice", "headline"),
    [
        *[("lvis-referring", f"form={form}", "accuracy") for form in ("point", "box", "free_form")],
        *[(name, "split=val", f"{name}.top1") for name in ("refcoco", "refcoco+", "refcocog")],
        ("flickr30k-entities", "split=test", "recall@1.all"),
        ("grounded-captioning", "split=test", "f1_all"),
        ("pope", "category=random", "accuracy"),
    ],
)
def test_a_benchmark_is_asked_and_scored(folder, capsys, benchmark, choice, headline):
    words = ["--data", str(folder), "--set", choice, "--out", "answers.jsonl", "--json"]
    assert main(["evaluate", "ferret", "--benchmark", benchmark, *words]) == 0
    outcome = json.loads(capsys.readouterr().out)
    assert 0 <= outcome["metrics"][headline] <= 1
    [row] = [json.loads(line) for line in Path("answers.jsonl").read_text().splitlines()]
    assert row["answer"]


@pytest.fixture
def bench(folder: Path) -> Path:
    """Ferret-Bench with one question of each category."""
    for kind in ("refer_caption", "refer_reason", "ground_conv"):
        (folder / kind).mkdir()
        line = json.dumps({"question_id": 1, "image": "7.jpg", "text": "What is [0.1, 0.1, 0.5, 0.5]?"})
        for name in ("question", "answer", "context"):
            (folder / kind / f"{name}.jsonl").write_text(line)
    return folder


def judging(*words: str) -> int:
    return main(["evaluate", "ferret", "--benchmark", "ferret-bench", *words])


def test_a_judge_is_asked_by_one_call_and_scored_by_the_next(bench, capsys):
    assert judging("--data", str(bench), "--out", "answers.jsonl", "--prompts", "prompts.jsonl") == 0
    assert "--benchmark ferret-bench --reviews FILE" in capsys.readouterr().out
    lines = [json.loads(line) for line in Path("prompts.jsonl").read_text().splitlines()]
    answers = [json.loads(line) for line in Path("answers.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == ["refer_desc.1", "refer_reason.1", "ground_conv.1"]
    for line, answer in zip(lines, answers, strict=True):
        said = next(part.strip() for part in answer["answer"] if isinstance(part, str) and part.strip())
        assert said in line["prompt"].partition("[Assistant 2]")[2]

    reviews = [{**line, "review": f"10 {points}\nBecause."} for line, points in zip(lines, (5, 8, 2), strict=True)]
    Path("reviews.jsonl").write_text("\n".join(map(json.dumps, reviews)))
    assert judging("--reviews", "reviews.jsonl", "--json") == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert [metrics[name] for name in ("refer_desc", "refer_reason", "ground_conv")] == pytest.approx([50, 80, 20])
    assert metrics["mean"] == pytest.approx(50)


def test_what_a_judge_is_missing_is_said_before_any_question(bench, capsys):
    assert judging("--data", str(bench)) == 2
    assert "ferret-bench is scored by a judge: give either --prompts FILE" in capsys.readouterr().err
    assert main(["evaluate", "ferret", "--benchmark", "pope", "--data", str(bench), "--prompts", "p.jsonl"]) == 2
    assert "pope is scored without a judge" in capsys.readouterr().err and not Path("p.jsonl").exists()
