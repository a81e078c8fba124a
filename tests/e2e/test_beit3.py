"""BEiT-3 from the command line, with tiny untrained weights: files in, reply out, and what users get wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image as pil
from pyarrow import parquet

from koine import registry
from koine.cli import main
from koine.images import encode_png

from ..unit.systems.beit3 import speaking


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    beit3 = speaking.system(folder)
    beit3.model.save_pretrained(folder)
    beit3.processor.save_pretrained(folder)
    return folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pictures, in which commands run; BEiT-3 is in the registry."""
    built = replace(registry.SYSTEMS["beit3"], status="verified", entry="koine.systems.beit3.system:Beit3")
    monkeypatch.setitem(registry.SYSTEMS, "beit3", built)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KOINE_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    Path("pictures").mkdir()
    for number in range(4):
        pil.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(f"pictures/{number}.png")
    return tmp_path


def test_each_use_from_the_command_line(place: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = (["--image", f"pictures/{number}.png"] for number in (0, 1))
    asked = {
        "answer": [*one, "--ask", "what colour is the ball?"],
        "caption": one,
        "judge": [*one, *two, "--ask", "both pictures show a ball."],
        "rank": [*one, "--text", "a red cube", "--text", "a blue ball"],
    }
    for use, arguments in asked.items():
        assert main(["run", "beit3", "--weights", str(weights), *arguments, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["details"]["use"] == use


def test_a_folder_is_searched_twice_but_encoded_once(
    place: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("pictures/broken.png").write_bytes(Path("pictures/0.png").read_bytes()[:200])
    arguments = ["run", "beit3", "--weights", str(weights), "--search", "a red cube", "--folder", "pictures"]
    assert main(arguments) == 0
    first = capsys.readouterr()
    assert len(first.out.splitlines()) == 4 and "1 of 5 pictures could not be read" in first.err
    assert main([*arguments, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)["details"]
    assert again["encoded"] == 0 and again["found"][0][0] == first.out.splitlines()[0].split("  ")[1]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            ["--image", "pictures/0.png", "--ask", "there are two balls."],
            "judged on a left and a right picture, 1 given",
        ),
        (["--ask", "what?"], "give at least one"),
        (["--search", "a cube", "--folder", "empty"], "holds no pictures"),
        (["--search", "a cube", "--folder", "nowhere"], "no folder nowhere"),
        (["--search", "a cube"], "--folder DIR"),
        (["--image", "pictures/0.png", "--ask", "what?", "--weights", "wrong"], "beit3.spm is no sentencepiece model"),
        (["--image", "pictures/0.png", "--ask", "what?", "--weights", "gone"], "there is no folder gone"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    place: Path, weights: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    Path("empty").mkdir()
    Path("wrong").mkdir()
    for file in weights.iterdir():
        if file.suffix != ".model":
            (Path("wrong") / file.name).write_bytes(file.read_bytes())
    Path("wrong/beit3.spm").write_text("nothing")
    given = [] if "--weights" in arguments else ["--weights", str(weights)]
    assert main(["run", "beit3", *arguments, *given]) == 2
    output = capsys.readouterr()
    complaint = output.err.splitlines()[-1]
    assert output.out == "" and complaint.startswith("error: ") and reason in complaint


def test_it_is_measured_by_the_published_protocols(
    place: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sentences = [{"raw": f"{colour} {shape}"} for colour in ("red", "blue") for shape in ("cube", "ball")]
    images = [
        {"filename": f"{number}.png", "split": "test", "sentences": sentences, "imgid": number} for number in range(4)
    ]
    Path("pictures/dataset_flickr30k.json").write_text(json.dumps({"images": images}))
    lines = [
        {"identifier": f"dev-{number}-0-0", "sentence": "both show a ball.", "label": str(number % 2 == 0)}
        for number in range(4)
    ]
    Path("pictures/dev.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for number in range(4):
        for side in (0, 1):
            pil.open(f"pictures/{side}.png").save(f"pictures/dev-{number}-0-img{side}.png")
    for benchmark, metric in (
        ("flickr30k-retrieval", "text_to_image.r1"),
        ("flickr30k-captioning", "cider"),
        ("nlvr2", "consistency"),
    ):
        arguments = ["--weights", str(weights), "--benchmark", benchmark, "--data", "pictures", "--json"]
        assert main(["evaluate", "beit3", *arguments, "--out", "answers.jsonl"]) == 0
        assert metric in json.loads(capsys.readouterr().out)["metrics"]
        assert len(Path("answers.jsonl").read_text().splitlines()) == 4


def test_drawings_are_judged_by_weights_that_answer_true_or_false(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    beit3 = speaking.system(tmp_path, heads=["vqa"], num_answers=2)
    beit3.processor.answers = ("false", "true")
    beit3.model.save_pretrained(tmp_path / "nlvr")
    beit3.processor.save_pretrained(tmp_path / "nlvr")
    drawings = [[encode_png(np.full((10, 40, 3), level, np.uint8))] for level in (0, 200)]
    columns = {
        "identifier": ["1-0", "2-0"],
        "sentence": ["There is a tower.", "All are blue."],
        "label": [True, False],
        "images": drawings,
    }
    parquet.write_table(pa.table(columns), "nlvr_hidden.parquet")
    arguments = ["--weights", "nlvr", "--benchmark", "nlvr", "--data", ".", "--json"]
    assert main(["evaluate", "beit3", *arguments]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert metrics["majority"] == 0.5 and metrics["accuracy_low"] <= metrics["accuracy"] <= metrics["accuracy_high"]


def test_answers_that_only_a_server_can_score_are_written(
    place: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("pictures/0.png").rename("pictures/COCO_test2015_000000000007.jpg")
    question = {"image_id": 7, "question": "what colour is the ball?", "question_id": 7001}
    file = Path("pictures/v2_OpenEnded_mscoco_test-dev2015_questions.json")
    file.write_text(json.dumps({"questions": [question]}))
    arguments = ["evaluate", "beit3", "--weights", str(weights), "--benchmark", "vqav2", "--data", "pictures"]
    arguments += ["--set", "split=test-dev2015"]
    assert main(arguments) == 2
    assert "only a server can score vqav2's test-dev2015: give --out FILE" in capsys.readouterr().err
    assert main([*arguments, "--out", "answers.json"]) == 0
    assert "1 answers are in answers.json" in capsys.readouterr().out
    [sent] = json.loads(Path("answers.json").read_text())
    assert sent["question_id"] == 7001 and sent["answer"] in speaking.ANSWERS
