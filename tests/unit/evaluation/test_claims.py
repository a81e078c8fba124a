"""Claims: paired comparison over seeds, a study that resumes, findings on paper."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from koine.errors import InputError
from koine.evaluation.claims import Claim, Measurements, Reading, judge, study, write_findings

FINDINGS = Path(__file__).parents[3] / "docs" / "claims"

ENDLESS = """
import sys, time
from pathlib import Path
from koine.evaluation.claims import Measurements

def measure(arm, seed):
    (Path(sys.argv[1]) / f"{arm}.running").write_text(str(__import__("os").getpid()))
    time.sleep(120)

if __name__ == "__main__":
    Measurements(Path(sys.argv[1]) / "found.json", {}).collect([("a", 0), ("b", 0)], measure, jobs=2)
"""


def claim(**changes):
    fields = {
        "statement": "A beats B",
        "source": "table 1",
        "published": "90 against 80",
        "ours": "a",
        "baseline": "b",
        "metrics": ("share", "other"),
    }
    return Claim(**{**fields, **changes})


def arms(ours, baseline):
    values = {"a": ours, "b": baseline}
    return lambda arm, seed: {"share": values[arm][seed], "other": 0.5}


def test_a_clear_difference_holds_and_its_contrary_does_not():
    assert judge("c", claim(), range(3), arms([0.9, 0.91, 0.9], [0.8, 0.8, 0.81])).verdict == "holds"
    assert judge("c", claim(), range(3), arms([0.8, 0.8, 0.81], [0.9, 0.91, 0.9])).verdict == "does not hold"
    assert judge("c", claim(), range(3), arms([0.9, 0.7, 0.8], [0.8, 0.8, 0.8])).verdict == "undecided"


def test_lower_can_be_better():
    finding = judge("c", claim(lower_is_better=True), range(3), arms([0.1, 0.1, 0.11], [0.3, 0.3, 0.31]))
    assert finding.verdict == "holds" and finding.effects[0].better_by.estimate == pytest.approx(0.2)


@pytest.mark.parametrize("lower", (False, True))
@pytest.mark.parametrize(("margin", "verdict"), ((0.15, "holds"), (0.1, "undecided"), (0.05, "does not hold")))
def test_with_a_margin_ours_may_be_a_little_worse(lower, margin, verdict):
    """Ours is 0.1 worse, give or take 0.025."""
    values = arms([0.79, 0.8, 0.81], [0.9, 0.9, 0.9]) if not lower else arms([0.91, 0.9, 0.89], [0.8, 0.8, 0.8])
    found = judge("c", claim(lower_is_better=lower, margin=margin), range(3), values)
    assert found.verdict == verdict and found.effects[0].better_by.estimate == pytest.approx(-0.1)


def test_the_margin_is_the_first_metrics_only():
    """By the other one both arms are alike, which is within any margin but not better."""
    first, second = judge("c", claim(margin=0.15), range(3), arms([0.79, 0.8, 0.81], [0.9] * 3)).effects
    assert (first.verdict, second.verdict) == ("holds", "does not hold")


def test_one_seed_gives_no_interval():
    with pytest.raises(InputError, match="at least 2"):
        judge("c", claim(), range(1), arms([0.9], [0.8]))


def test_a_study_goes_on_where_it_was_and_starts_anew_with_other_settings(tmp_path):
    asked = []

    def measure(arm, seed):
        asked.append((arm, seed))
        return {"share": 0.5}

    path = tmp_path / "found.json"
    first = Measurements(path, {"steps": 10})
    first.collect([("a", 0), ("a", 0)], measure)
    assert first.get("a", 0) == {"share": 0.5}
    again = Measurements(path, {"steps": 10})
    again.collect([("a", 0), ("b", 0)], measure)
    assert again.get("a", 0) == {"share": 0.5} and asked == [("a", 0), ("b", 0)]
    Measurements(path, {"steps": 20}).collect([("a", 0)], measure)
    assert asked == [("a", 0), ("b", 0), ("a", 0)]


def test_measurements_of_other_arms_survive_a_change_of_one(tmp_path):
    path, asked = tmp_path / "found.json", []

    def measure(arm, seed):
        asked.append(arm)
        return {"share": 0.5}

    wanted = [("a", 0), ("b / c", 0), ("of no settings", 0)]
    Measurements(path, {"steps": 10, "arms": {"a": {"beta": 1}, "b / c": {}}}).collect(wanted, measure)
    asked.clear()
    changed = {"steps": 10, "arms": {"a": {"beta": 2}, "b / c": {}, "new": {}}}
    Measurements(path, changed).collect([*wanted, ("new", 0)], measure)
    assert asked == ["a", "new"]
    asked.clear()
    Measurements(path, changed).collect([*wanted, ("new", 0)], measure)
    assert not asked
    Measurements(path, {**changed, "steps": 20}).collect(wanted, measure)
    assert asked == ["a", "b / c", "of no settings"]


@pytest.mark.parametrize("path", sorted(FINDINGS.glob("*.measurements.json")), ids=lambda path: path.name)
def test_measurements_of_the_repository_are_read_again_under_their_settings(path, tmp_path):
    stored = json.loads(path.read_text())
    copy = tmp_path / path.name
    copy.write_text(path.read_text())
    settings = {**stored["settings"], "arms": {**stored["settings"]["arms"], "another": {}}}
    found = Measurements(copy, settings)
    assert stored["measurements"]
    for key, measurement in stored["measurements"].items():
        arm, _, seed = key.rpartition("/")
        assert found.get(arm, int(seed)) == measurement


def measure_elsewhere(arm, seed):
    return {"share": len(arm) + seed, "process": os.getpid()}


def test_several_processes_measure_what_one_would(tmp_path):
    found = Measurements(tmp_path / "found.json", {})
    found.collect([("a", 0), ("bb", 1), ("a", 2)], measure_elsewhere, jobs=2)
    assert [found.get(*pair)["share"] for pair in (("a", 0), ("bb", 1), ("a", 2))] == [1, 3, 3]
    assert os.getpid() not in {found.get(*pair)["process"] for pair in (("a", 0), ("bb", 1), ("a", 2))}


def test_findings_are_written_for_people_and_for_machines(tmp_path):
    finding = judge("c", claim(), range(3), arms([0.9, 0.91, 0.9], [0.8, 0.8, 0.81]))
    write_findings("toy", [finding], tmp_path, setting="Three seeds.")
    stored = json.loads((tmp_path / "toy.json").read_text())
    assert stored["findings"][0]["verdict"] == "holds" and stored["findings"][0]["effects"][0]["ours"] == [
        0.9,
        0.91,
        0.9,
    ]
    page = (tmp_path / "toy.md").read_text()
    assert "## A beats B: holds" in page and "| share | 0.900 / 0.910 / 0.900 | 0.800 / 0.800 / 0.810 |" in page


def test_a_margin_is_said_beside_the_table(tmp_path):
    values = arms([0.79, 0.8, 0.81], [0.9, 0.9, 0.9])
    for margin, sentence in (
        (0.0, ""),
        (0.15, "Holds if *a* is less than 0.15 worse by share, a margin set beforehand"),
    ):
        write_findings("toy", [judge("c", claim(margin=margin), range(3), values)], tmp_path, setting="Three seeds.")
        page = (tmp_path / "toy.md").read_text()
        assert ("margin" in page) == bool(margin) and sentence in page


def measure_by_name(arm, seed):
    return {"share": {"a": 0.9, "b": 0.8, "c": 0.7}[arm] + seed / 100, "other": 0.5}


def test_a_study_measures_what_is_asked_and_keeps_what_is_known(tmp_path):
    claims = {"first": claim(), "second": claim(statement="B beats C", ours="b", baseline="c")}
    options = {"measure": measure_by_name, "settings": {"steps": 3}, "setting": "Toys."}
    [first] = study("toy", claims, ["first"], 2, tmp_path, **options)
    assert (first.name, first.verdict) == ("first", "holds")
    assert "B beats C" not in (tmp_path / "toy.md").read_text()
    [second] = study("toy", claims, ["second"], 2, tmp_path, **options)
    assert second.effects[0].better_by.estimate == pytest.approx(0.1)
    page = (tmp_path / "toy.md").read_text()
    assert "A beats B" in page and "B beats C" in page
    assert len(json.loads((tmp_path / "toy.measurements.json").read_text())["measurements"]) == 6


def test_an_arm_can_be_read_off_the_measurement_of_another(tmp_path, monkeypatch):
    monkeypatch.setattr("koine.evaluation.claims.usable_cores", lambda: 1)
    asked = []

    def measure(arm, seed):
        asked.append((arm, seed))
        return measure_by_name(arm, seed)

    claims = {"halves": claim(ours="a", baseline="half of a"), "parts": claim(ours="half of a", baseline="c")}
    settings = {
        "measure": measure,
        "settings": {},
        "setting": "Toys.",
        "readings": {"half of a": Reading("a", {"share": "other", "other": "share"})},
    }
    [first] = study("toy", claims, ["halves"], 2, tmp_path, **settings)
    assert (first.effects[0].ours, first.effects[0].baseline) == ((0.9, 0.91), (0.5, 0.5))
    assert asked == [("a", 0), ("a", 1)]
    [_] = study("toy", claims, ["parts"], 2, tmp_path, **settings)
    assert asked[2:] == [("c", 0), ("c", 1)]


def test_a_killed_study_leaves_no_arm_behind(tmp_path):
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS)
    running = subprocess.Popen([sys.executable, str(script), str(tmp_path)])
    try:
        numbers = wait_for(lambda: len(found := written(tmp_path)) == 2 and found, seconds=120)
        workers = [psutil.Process(number) for number in numbers]
    finally:
        running.kill()
        running.wait()
    wait_for(lambda: all(not one.is_running() or one.status() == psutil.STATUS_ZOMBIE for one in workers), seconds=30)


def written(folder):
    return [int(text) for file in folder.glob("*.running") if (text := file.read_text())]


def wait_for(happened, *, seconds):
    end = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < end, f"did not happen within {seconds} s"
        time.sleep(0.1)
    return found
