"""Claims: paired comparison over seeds, a study that resumes, findings on paper."""

import json
import os
import subprocess
import sys
import time

import psutil
import pytest

from koine.errors import InputError
from koine.evaluation.claims import Claim, Measurements, Reading, judge, study, write_findings

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
