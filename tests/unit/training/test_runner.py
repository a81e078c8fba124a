"""Training a recipe: stages in order, resumed anywhere with the same result, stopped with one clear line."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from koine.errors import InputError
from koine.training import DivergedError, Stage, TrainingStopped, run
from koine.training.folder import RunFolder

from . import tiny_recipe
from .tiny_recipe import TinyData, TinyModel, TinyRecipe

STEPS = 60 + 40  # of the two stages together


class Crash(Exception):
    """Stands for whatever may end a process."""


@dataclass
class Disturbed(TinyRecipe):
    """Calls `disturb` with the number of the loss call."""

    def __post_init__(self) -> None:
        self.calls = 0
        self.disturb: Any = lambda call: None

    def loss(self, model: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        self.calls += 1
        self.disturb(self.calls)
        return super().loss(model, batch)


def crash_at(step: int) -> Disturbed:
    def disturb(call: int) -> None:
        if call == step:
            raise Crash

    recipe = Disturbed()
    recipe.disturb = disturb
    return recipe


def rows(folder: Path) -> list[dict[str, Any]]:
    """The log without what the clock wrote."""
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if key not in ("seconds", "examples_per_second")}
        for line in lines
    ]


def assert_same_outcome(folder: Path, expected: Path) -> None:
    for stage in ("whole", "head"):
        assert (folder / stage / "model.safetensors").read_bytes() == (
            expected / stage / "model.safetensors"
        ).read_bytes()
    assert rows(folder) == rows(expected)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    run(TinyRecipe(), folder, quiet=True)
    return folder


def test_returns_the_last_stages_folder_which_from_pretrained_loads(undisturbed: Path) -> None:
    assert run(TinyRecipe(), undisturbed, quiet=True) == undisturbed / "head"
    data = TinyData()
    model = TinyModel.from_pretrained(undisturbed / "head").eval()
    target = data.x.sum(dim=1, keepdim=True)
    assert (model(data.x) - target).abs().mean() < 0.5 * target.abs().mean()


def test_the_log_has_each_due_step_once_with_its_figures(undisturbed: Path) -> None:
    log = [json.loads(line) for line in (undisturbed / "log.jsonl").read_text().splitlines()]
    steps = [(row["stage"], row["step"]) for row in log if "loss" in row]
    assert steps == [("whole", step) for step in range(5, 61, 5)] + [("head", step) for step in range(4, 41, 4)]
    expected = {"step", "stage", "loss", "distance", "learning_rate", "gradient_norm", "examples_per_second", "seconds"}
    assert all(set(row) == expected for row in log if "loss" in row)
    assert [row["evaluation"].keys() for row in log if "evaluation" in row] == [{"distance"}, {"distance"}]


# Before the first checkpoint, just after one, with log rows since one, in the last step, and so in stage two.
@pytest.mark.parametrize("step", [1, 3, 8, 13, 30, 60, 61, 70, 71, 100])
def test_a_training_that_crashes_and_resumes_ends_as_an_undisturbed_one(
    step: int, tmp_path: Path, undisturbed: Path
) -> None:
    with pytest.raises(Crash):
        run(crash_at(step), tmp_path, quiet=True)
    resumed = Disturbed()
    run(resumed, tmp_path, quiet=True)
    assert resumed.calls <= STEPS - step + 10  # it went on from a checkpoint, not from the beginning
    assert_same_outcome(tmp_path, undisturbed)


def script(*arguments: str) -> str:
    """What `tiny_recipe.py` prints when it runs as a program."""
    source = Path(tiny_recipe.__file__).parents[3] / "src"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(source)}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, check=True, capture_output=True, text=True, timeout=300
    ).stdout


@pytest.mark.slow
def test_killing_it_at_random_moments_changes_nothing(tmp_path: Path) -> None:
    overrides = '{"steps": 400}'
    killed = int(script(tiny_recipe.__file__, str(tmp_path / "killed"), overrides, "--kill", "6"))
    assert killed >= 3
    script(tiny_recipe.__file__, str(tmp_path / "undisturbed"), overrides)  # with as many threads
    assert_same_outcome(tmp_path / "killed", tmp_path / "undisturbed")
    assert not list(tmp_path.glob("killed/**/*partial*"))


@pytest.mark.slow
def test_two_processes_learn_what_one_process_learns_from_two_slices(tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    script(*launcher, tiny_recipe.__file__, str(tmp_path / "two"), "{}")
    run(TinyRecipe(), tmp_path / "one", overrides={"gradient_accumulation": 2}, quiet=True)
    two, one = (load_file(tmp_path / name / "whole" / "model.safetensors") for name in ("two", "one"))
    for name in one:
        # Batch statistics move once per slice: twice per step in one process, once in each of two.
        if "running" not in name and "tracked" not in name:
            torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-5, msg=name)
    logged = [[row["loss"] for row in rows(tmp_path / name) if "loss" in row][:12] for name in ("two", "one")]
    assert logged[0] == pytest.approx(logged[1], rel=1e-4)


def test_gradient_accumulation_doesnt_change_what_is_learned(tmp_path: Path) -> None:
    recipe = TinyRecipe(dropout=0.0, moving=False)
    recipe.data = lambda stage: Noiseless()  # type: ignore[method-assign]
    finals = []
    for parts in (1, 4):
        overrides = {"gradient_accumulation": parts, "precision": "fp32", "steps": 10, "log_every": 1}
        finals.append(
            load_file(run(recipe, tmp_path / str(parts), overrides=overrides, quiet=True) / "model.safetensors")
        )
    for name in finals[0]:
        torch.testing.assert_close(finals[0][name], finals[1][name], rtol=1e-4, atol=1e-5)
    # AdamW forgives a gradient of the wrong size; the log doesn't.
    norms = [[row["gradient_norm"] for row in rows(tmp_path / parts) if "loss" in row] for parts in ("1", "4")]
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)


class Noiseless(TinyData):
    def batch(self, indices: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        return {"x": self.x[indices], "y": self.x[indices].sum(dim=1, keepdim=True)}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_after_the_step_with_a_checkpoint(
    number: signal.Signals, tmp_path: Path, undisturbed: Path
) -> None:
    handler = signal.getsignal(number)
    recipe = Disturbed()
    recipe.disturb = lambda call: os.kill(os.getpid(), number) if call == 17 else None
    with pytest.raises(TrainingStopped, match=r"'whole' stopped after step 1[78] of 60"):
        run(recipe, tmp_path, quiet=True)
    assert signal.getsignal(number) == handler
    newest = sorted((tmp_path / "checkpoints" / "whole").iterdir())[-1]
    assert newest.name == f"step-{recipe.calls:08d}"
    resumed = Disturbed()
    run(resumed, tmp_path, quiet=True)
    assert recipe.calls + resumed.calls == STEPS
    assert_same_outcome(tmp_path, undisturbed)


def test_only_the_two_newest_checkpoints_are_kept_and_each_holds_a_loadable_model(tmp_path: Path) -> None:
    with pytest.raises(Crash):
        run(crash_at(30), tmp_path, quiet=True)
    names = sorted(path.name for path in (tmp_path / "checkpoints" / "whole").iterdir())
    assert names == ["step-00000021", "step-00000028"]
    TinyModel.from_pretrained(tmp_path / "checkpoints" / "whole" / names[-1] / "model")


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    tmp_path: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Crash):
        run(crash_at(30), tmp_path, quiet=True)
    damaged = tmp_path / "checkpoints" / "whole" / "step-00000028" / "training.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:100])
    run(TinyRecipe(), tmp_path)
    assert "step-00000028 can't be read" in capsys.readouterr().err
    assert_same_outcome(tmp_path, undisturbed)


def test_what_a_killed_training_left_half_written_is_swept_away(tmp_path: Path, undisturbed: Path) -> None:
    with pytest.raises(Crash):
        run(crash_at(30), tmp_path, quiet=True)
    half_written = [
        tmp_path / ".0a1b2c3d.partial.run.json",
        tmp_path / ".0a1b2c3d.partial.whole" / "config.json",
        tmp_path / "checkpoints" / "whole" / ".0a1b2c3d.partial.step-00000035" / "progress.json",
    ]
    for path in half_written:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    run(TinyRecipe(), tmp_path, quiet=True)
    assert_same_outcome(tmp_path, undisturbed)
    assert not list(tmp_path.glob("**/*partial*"))


def test_finished_stages_are_not_trained_again(undisturbed: Path) -> None:
    run(crash_at(1), undisturbed, quiet=True)  # a single step of training would crash
    assert (undisturbed / "head").is_dir()


def test_one_stage_alone_needs_the_stage_before_it(tmp_path: Path, undisturbed: Path) -> None:
    with pytest.raises(InputError, match="train 'whole' first"):
        run(TinyRecipe(), tmp_path, stage="head", quiet=True)
    assert run(TinyRecipe(), tmp_path, stage="whole", quiet=True) == tmp_path / "whole"
    assert not (tmp_path / "head").exists()
    assert run(TinyRecipe(), tmp_path, stage="head", quiet=True) == tmp_path / "head"
    assert_same_outcome(tmp_path, undisturbed)
    with pytest.raises(InputError, match="did you mean 'head'"):
        run(TinyRecipe(), tmp_path, stage="haed", quiet=True)


def test_other_settings_in_the_same_folder_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Crash):
        run(crash_at(30), tmp_path, overrides={"log_every": 10}, quiet=True)
    with pytest.raises(InputError, match=r"whole\.learning_rate was 0\.01 and is 0\.5.*resume=False"):
        run(TinyRecipe(), tmp_path, overrides={"whole.learning_rate": 0.5}, quiet=True)
    with pytest.raises(InputError, match="width was 16 and is 32"):
        run(TinyRecipe(width=32), tmp_path, quiet=True)
    # What isn't learned from may change, and so may a stage that hasn't begun.
    run(TinyRecipe(), tmp_path, overrides={"checkpoint_every": 50, "head.learning_rate": 0.5}, quiet=True)


def test_a_training_that_never_began_can_be_put_right(tmp_path: Path, undisturbed: Path) -> None:
    """Whoever mistypes where the data lie must not be asked for the mistake again."""

    class WithoutData(TinyRecipe):
        def data(self, stage: Stage) -> Any:
            raise InputError("there is no folder nowhere: give another")

    with pytest.raises(InputError, match="no folder nowhere"):
        run(WithoutData(width=32), tmp_path, quiet=True)
    run(TinyRecipe(), tmp_path, quiet=True)
    assert_same_outcome(tmp_path, undisturbed)


def test_starting_over_discards_what_was_there(tmp_path: Path, undisturbed: Path) -> None:
    run(TinyRecipe(width=32), tmp_path, overrides={"steps": 10}, quiet=True)
    run(TinyRecipe(), tmp_path, resume=False, quiet=True)
    assert_same_outcome(tmp_path, undisturbed)


def test_starting_over_leaves_a_folder_of_someone_else_alone(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "thesis.tex").touch()
    with pytest.raises(InputError, match="isn't from this training"):
        run(TinyRecipe(), tmp_path, resume=False, quiet=True)
    assert (tmp_path / "whole" / "thesis.tex").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_it_with_one_line(value: float, tmp_path: Path) -> None:
    class Diverging(Disturbed):
        def loss(self, model: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            scalars = super().loss(model, batch)
            return scalars | {"loss": scalars["loss"] * value} if self.calls == 25 else scalars

    with pytest.raises(DivergedError, match=rf"stage 'whole': loss is {value} at step 25.*step-00000021") as caught:
        run(Diverging(), tmp_path, quiet=True)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "checkpoints" / "whole" / "step-00000021").is_dir()


def test_a_full_disk_ends_it_with_one_line_and_keeps_the_checkpoints_before(tmp_path: Path) -> None:
    class FullDisk(TinyRecipe):
        saved = 0

        def save(self, model: Any, folder: Path) -> None:
            self.saved += 1
            if self.saved == 3:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            super().save(model, folder)

    with pytest.raises(InputError, match=r"cannot write .*step-00000021: No space left"):
        run(FullDisk(), tmp_path, quiet=True)
    names = sorted(path.name for path in (tmp_path / "checkpoints" / "whole").iterdir())
    assert names == ["step-00000007", "step-00000014"]


def test_a_second_training_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with RunFolder(tmp_path).locked(), pytest.raises(InputError, match="a training is running"):
        run(TinyRecipe(), tmp_path, quiet=True)


def test_a_frozen_part_doesnt_change_at_all(undisturbed: Path) -> None:
    whole, head = (load_file(undisturbed / stage / "model.safetensors") for stage in ("whole", "head"))
    changed = {name for name in whole if not torch.equal(whole[name], head[name])}
    assert changed == {name for name in whole if name.startswith("head.")}  # not even the encoder's batch statistics


def test_the_callers_generators_and_threads_are_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    with pytest.raises(Crash) as caught:  # its traceback keeps the training's frames alive
        run(crash_at(5), tmp_path, quiet=True)
    assert caught.tb is not None
    assert torch.equal(torch.rand(3), expected)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("koine-batches")]


def test_another_seed_is_another_training(tmp_path: Path, undisturbed: Path) -> None:
    final = run(TinyRecipe(), tmp_path, overrides={"seed": 1}, quiet=True)
    assert (final / "model.safetensors").read_bytes() != (undisturbed / "head" / "model.safetensors").read_bytes()


def test_the_thread_that_prepares_batches_doesnt_change_the_result(tmp_path: Path, undisturbed: Path) -> None:
    run(TinyRecipe(), tmp_path, overrides={"prefetch": 0}, quiet=True)
    assert_same_outcome(tmp_path, undisturbed)


def test_two_stages_of_one_name_are_refused(tmp_path: Path) -> None:
    recipe = TinyRecipe()
    recipe.stages = (recipe.stages[0], replace(recipe.stages[1], name="whole"))
    with pytest.raises(InputError, match="name of its own"):
        run(recipe, tmp_path, quiet=True)


def test_a_line_now_and_then_where_there_is_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = TinyRecipe()
    recipe.stages = (Stage("short", 3, 4, 1e-3),)
    run(recipe, tmp_path)
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = shown.err.splitlines()
    assert lines[0] == "short: 3 steps to go"
    assert lines[1].startswith("short: step 3 of 3, loss ")
    assert lines[2].startswith("short: after step 3: distance ")
    run(recipe, tmp_path)
    assert capsys.readouterr().err.splitlines() == ["short: finished before"]
