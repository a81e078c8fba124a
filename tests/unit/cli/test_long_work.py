"""The commands that hand work to a system's rooms: what they pass on, and what they refuse beforehand."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest

from koine import Image, InputError, Reply, Sentence
from koine.cli import main
from koine.report import Answer, Section


@pytest.fixture
def rooms(echo, monkeypatch, tmp_path):
    """The rooms of the system "echo"; tests put in what they need. Work happens in an empty folder."""
    made = {}
    for name in ("recipe", "claims", "weights"):
        made[name] = ModuleType(f"koine.systems.echo.{name}")
        monkeypatch.setitem(sys.modules, f"koine.systems.echo.{name}", made[name])
    made["system"] = sys.modules["koine.systems.echo.system"]
    monkeypatch.chdir(tmp_path)
    return SimpleNamespace(**made)


class TestTour:
    @pytest.fixture(autouse=True)
    def pages(self, rooms, monkeypatch, tmp_path):
        def page(system, seed: int) -> Section:
            picture = Image(np.full((8, 8, 3), seed, np.uint8))
            reply = system.respond(picture, "hello")
            right = Answer("repeats", Sentence(picture, "hello"), reply, Sentence("you said hello"), True)
            wrong = Answer("repeats", Sentence(picture, "hello"), Reply("no"), Sentence("you said hello"), False)
            return Section("Echo", "It repeats.", answers=[right, wrong])

        pages = ModuleType("koine.report.pages.echo")
        pages.page = page
        monkeypatch.setitem(sys.modules, "koine.report.pages.echo", pages)
        (tmp_path / "weights").mkdir()
        monkeypatch.setattr("koine.registry.weights_folder", lambda name: tmp_path / "weights")

    def test_the_page_and_the_table_are_made(self, capsys, tmp_path):
        assert main(["tour", "--seed", "3", "--out", "somewhere"]) == 0
        page = (tmp_path / "somewhere" / "index.html").read_text()
        assert "you said" in page and "✓ right" in page and "✗ wrong" in page and "<dd>3</dd>" in page
        shown = capsys.readouterr().out
        assert "1 of 2" in shown and (tmp_path / "somewhere" / "index.html").as_uri() in shown

    def test_a_full_disk_is_one_line_and_no_half_page(self, capsys, tmp_path, full_disk):
        (tmp_path / "tour").mkdir()
        (tmp_path / "tour" / "index.html").write_text("the old page")
        full_disk(tmp_path / "tour" / "index.html")
        assert main(["tour"]) == 2
        shown = capsys.readouterr()
        assert shown.err.startswith("error: cannot write tour/index.html: No space left on device: free some space")
        assert shown.err.count("\n") == 1 and "1 of 2" not in shown.out
        assert [(path.name, path.read_text()) for path in (tmp_path / "tour").iterdir()] == [
            ("index.html", "the old page")
        ]

    def test_missing_weights_stop_it_before_it_starts(self, monkeypatch, capsys, tmp_path):
        def missing(name: str) -> Path:
            raise InputError("the nano weights of 'echo' are missing at x: train them")

        monkeypatch.setattr("koine.registry.shipped_weights", missing)
        assert main(["tour"]) == 2
        assert capsys.readouterr().err.startswith("error: the nano weights of 'echo' are missing")
        assert [path.name for path in tmp_path.iterdir()] == ["weights"]

    def test_a_seed_that_no_scene_has_is_refused(self, capsys, tmp_path):
        assert main(["tour", "--seed", "-1"]) == 2
        assert "'--seed'" in capsys.readouterr().err and not (tmp_path / "tour").exists()

    def test_what_was_measured_on_many_scenes_stands_beside_the_few_shown(self, tmp_path):
        (tmp_path / "weights" / "manifest.json").write_text(
            json.dumps({"figures": {"repeats": [0.987, 0.98, 0.99, 500]}})
        )
        assert main(["tour"]) == 0
        assert "0.987  (95 %: 0.98 to 0.99, n = 500)" in (tmp_path / "tour" / "index.html").read_text()


@dataclass
class OwnData:
    """A recipe that trains on the user's records."""

    data_files: tuple[str, ...] = ()
    images: str | None = None
    lora: int | None = None
    form: Literal["point", "box"] = "box"
    options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0


class TestTrain:
    @pytest.fixture
    def runs(self, rooms, monkeypatch):
        """What the runner was called with."""
        calls = []

        def run(recipe, folder, **options):
            calls.append((recipe, Path(folder), options))
            if recipe == "endless":
                from koine.training import TrainingStopped

                raise TrainingStopped("stage align stopped at step 7")
            return Path(folder) / "final"

        monkeypatch.setattr("koine.training.run", run)
        rooms.recipe.RECIPES = {"nano": lambda: "small", "published": lambda: "large", "endless": lambda: "endless"}
        return calls

    def test_a_systems_recipe_is_run_with_all_that_was_said(self, runs, capsys):
        words = ["--recipe", "published", "--stage", "align", "--set", "steps=5", "--no-resume", "--quiet"]
        assert main(["train", "echo", *words]) == 0
        options = {"stage": "align", "overrides": {"steps": "5"}, "resume": False, "quiet": True}
        assert runs == [("large", Path("runs/echo-published"), options)]
        assert capsys.readouterr().out == "runs/echo-published/final\n"

    @pytest.mark.parametrize(
        ("settings", "field", "value", "overrides"),
        [
            (["lora=64"], "lora", 64, {}),
            (["lora=none", "steps=5"], "lora", None, {"steps": "5"}),
            (["form=point", "tune.batch_size=16"], "form", "point", {"tune.batch_size": "16"}),
            (["seed=3"], "seed", 3, {"seed": "3"}),  # recipe and stages have one each
        ],
    )
    def test_settings_find_the_recipe_or_its_stages(self, runs, rooms, settings, field, value, overrides):
        rooms.recipe.RECIPES["own"] = OwnData
        words = [word for setting in settings for word in ("--set", setting)]
        assert main(["train", "echo", "--recipe", "own", *words]) == 0
        assert getattr(runs[0][0], field) == value and runs[0][2]["overrides"] == overrides

    def test_records_and_pictures_find_the_recipe(self, runs, rooms):
        rooms.recipe.RECIPES["own"] = OwnData
        words = ["--data", "a.json", "--data", "b.json=0.2", "--images", "there"]
        assert main(["train", "echo", "--recipe", "own", *words]) == 0
        assert runs[0][0] == OwnData(data_files=("a.json", "b.json=0.2"), images="there")

    def test_foundations_are_trained_by_the_same_command(self, runs, monkeypatch):
        monkeypatch.setattr("koine.foundations.RECIPES", {"clip": lambda: "a clip"})
        assert main(["train", "clip", "--out", "here"]) == 0
        assert runs[0][:2] == ("a clip", Path("here"))

    def test_shipping_puts_the_finished_model_into_the_package(self, runs, monkeypatch, tmp_path):
        shipped = []
        monkeypatch.setattr("koine.training.shipping.ship", lambda *arguments: shipped.append(arguments))
        monkeypatch.setattr("koine.registry.weights_folder", lambda name: tmp_path / name)
        assert main(["train", "echo", "--ship"]) == 0
        assert shipped == [("small", Path("runs/echo-nano/final"), tmp_path / "echo")]

    def test_of_several_processes_one_ships(self, runs, monkeypatch, capsys):
        shipped = []
        monkeypatch.setattr("koine.training.shipping.ship", lambda *arguments: shipped.append(arguments))
        monkeypatch.setattr("accelerate.PartialState", lambda: SimpleNamespace(is_main_process=False))
        assert main(["train", "echo", "--ship"]) == 0
        assert len(runs) == 1
        assert shipped == []
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            (["ecco"], "did you mean 'echo'"),
            (["spae"], "planned"),
            (["echo", "--recipe", "naon"], "did you mean 'nano'"),
            (["echo", "--set", "steps"], "key=value"),
            (["echo", "--set", "stepz=5"], "did you mean 'steps'"),
            (["echo", "--data", "a.json"], "this recipe makes its own data"),
            (["echo", "--images", "there"], "this recipe makes its own data"),
            (["echo", "--recipe", "own", "--set", "lroa=64"], "did you mean 'lora'"),
            (["echo", "--recipe", "own", "--set", "lora=much"], "give a whole number or none"),
            (["echo", "--recipe", "own", "--set", "form=circle"], "give point or box"),
            (["echo", "--recipe", "own", "--set", "options=1"], "no setting of this recipe 'options'"),
        ],
    )
    def test_bad_input(self, runs, rooms, capsys, arguments, reason):
        rooms.recipe.RECIPES["own"] = OwnData
        assert main(["train", *arguments]) == 2
        assert reason in capsys.readouterr().err and runs == []

    def test_a_stopped_training_says_where(self, runs, capsys):
        assert main(["train", "echo", "--recipe", "endless"]) == 130
        assert capsys.readouterr().err == "stopped: stage align stopped at step 7\n"


class TestEvaluate:
    @pytest.fixture(autouse=True)
    def benchmarks(self, rooms, monkeypatch):
        """One benchmark of two questions, whose metric is the share of answers that repeat the question."""
        from koine.data.annotated import AnnotatedExample
        from koine.evaluation.benchmark import Benchmark

        def examples(data_set, path, *, images=None, split):
            picture = Image(np.zeros((4, 4, 3), np.uint8))
            for text in ("one", "two"):
                said = Sentence(f"you said {text} of {split}")
                yield AnnotatedExample(Sentence(picture, f"{text} of {split}"), said, id=text, annotation=said.text)

        def score(answers, annotations):
            right = [
                answer.parts[0] + answer.parts[1] == wanted for answer, wanted in zip(answers, annotations, strict=True)
            ]
            return {"accuracy": sum(right) / len(right), "questions": float(len(right))}

        choices = {"split": ("val", "test")}
        echoing = Benchmark("echoing", "does it repeat?", "nowhere", "accuracy", "none", score, choices=choices)
        monkeypatch.setattr("koine.data.examples", examples)
        monkeypatch.setattr("koine.evaluation.BENCHMARKS", {"echoing": lambda: echoing})

    def test_without_a_benchmark_it_says_which_there_are(self, capsys):
        assert main(["evaluate", "echo"]) == 0
        assert capsys.readouterr().out == "echoing: does it repeat?\n    nowhere  --set split=val|test\n"

    def test_figures_are_printed_and_answers_written(self, tmp_path, capsys):
        words = ["--data", str(tmp_path), "--set", "split=test", "--out", "answers.jsonl"]
        assert main(["evaluate", "echo", "--benchmark", "echoing", *words, "--json"]) == 0
        written = json.loads(capsys.readouterr().out)
        assert written == {"system": "echo", "benchmark": "echoing", "metrics": {"accuracy": 1.0, "questions": 2.0}}
        rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
        assert [row["id"] for row in rows] == ["one", "two"]
        assert rows[0]["answer"] == ["you said ", "one of test", [0, 0, 2, 2]]

    def test_the_headline_is_marked_and_the_number_of_questions_limited(self, tmp_path, capsys):
        assert main(["evaluate", "echo", "--benchmark", "echoing", "--data", str(tmp_path), "--limit", "1"]) == 0
        first, second = capsys.readouterr().out.splitlines()
        assert first.split() == ["accuracy", "1.0000", "<-", "headline"] and second.split() == ["questions", "1.0000"]

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            (["--benchmark", "echoeing"], "did you mean 'echoing'"),
            (
                ["--benchmark", "echoing", "--data", "gone"],
                "there is no folder gone: give the published files of echoing",
            ),
            (["--benchmark", "echoing"], "give --data DIR"),
            (["--benchmark", "echoing", "--data", ".", "--set", "split=train"], "no split of the benchmark"),
            (["--benchmark", "echoing", "--data", ".", "--set", "spilt=val"], "did you mean 'split'"),
        ],
    )
    def test_bad_input(self, echo, capsys, arguments, reason):
        assert main(["evaluate", "echo", *arguments]) == 2
        assert reason in capsys.readouterr().err and echo.loaded == []


class TestClaims:
    @pytest.fixture
    def calls(self, rooms):
        from koine.evaluation.claims import Claim, judge

        claims = {
            name: Claim(f"{name} helps", "section 1", "none", "with", "without", ("accuracy",))
            for name in ("hybrid", "sampler")
        }
        made = []

        def run_claims(names, seeds, out):
            made.append((names, seeds, out))
            return [
                judge(name, claims[name], range(seeds), lambda arm, seed: {"accuracy": 0.9 - 0.5 * (arm == "without")})
                for name in names
            ]

        rooms.claims.CLAIMS, rooms.claims.run_claims = claims, run_claims
        return made

    def test_all_claims_of_all_built_systems_by_default(self, calls, capsys):
        assert main(["claims"]) == 0
        assert calls == [(["hybrid", "sampler"], 3, Path("docs/claims"))]
        shown = capsys.readouterr().out
        assert "hybrid helps" in shown and "holds" in shown and "0.5 [0.5, 0.5]" in shown

    def test_one_claim_with_more_seeds(self, calls):
        assert main(["claims", "echo", "--claim", "sampler", "--seeds", "5", "--out", "there"]) == 0
        assert calls == [(["sampler"], 5, Path("there"))]

    def test_an_unknown_claim(self, calls, capsys):
        assert main(["claims", "echo", "--claim", "simpler"]) == 2
        assert "did you mean 'sampler'" in capsys.readouterr().err and calls == []


class TestConvert:
    def test_what_was_given_is_passed_on(self, rooms, capsys):
        calls = []
        rooms.weights.convert = lambda source, out, **options: calls.append((source, out, options)) or out
        assert main(["convert", "echo", "--from", "delta", "--base", "vicuna", "--to", "new"]) == 0
        assert calls == [("delta", Path("new"), {"base": "vicuna"})] and capsys.readouterr().out == "new\n"

    def test_options_of_one_system_are_set_by_name(self, rooms):
        calls = []

        def convert(source, out, *, head=None, image_size=None):
            calls.append((head, image_size))
            return out

        rooms.weights.convert = convert
        given = ["--set", "head=vqa", "--set", "image_size=480"]
        assert main(["convert", "echo", "--from", "file", "--to", "new", *given]) == 0
        assert calls == [("vqa", 480)]

    @pytest.mark.parametrize("option", [["--set", "heads=vqa"], ["--vision-tower", "clip"]])
    def test_options_that_a_system_has_not_are_refused(self, rooms, capsys, option):
        rooms.weights.convert = lambda source, out, *, head=None: pytest.fail("called")
        assert main(["convert", "echo", "--from", "file", "--to", "new", *option]) == 2
        assert "option of converting echo" in capsys.readouterr().err

    def test_a_folder_with_something_in_it_is_not_overwritten(self, rooms, tmp_path, capsys):
        (tmp_path / "old").mkdir()
        (tmp_path / "old" / "model.safetensors").write_text("precious")
        assert main(["convert", "echo", "--from", "delta", "--to", "old"]) == 2
        assert "isn't an empty folder" in capsys.readouterr().err
