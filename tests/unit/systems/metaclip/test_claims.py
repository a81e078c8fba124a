"""The study: each claim compares two arms that differ in what it is about, and a study that was stopped goes on."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from koine.curation.balancing import tail_share
from koine.foundations.language_model_recipe import NANO_WEIGHTS as TOKENIZER
from koine.systems.metaclip import claims, world_web
from koine.systems.metaclip.claims import ARMS, CLAIMS, CONCEPT, ONE_TAIL_SHARE, ONE_THRESHOLD, run_claims
from koine.systems.metaclip.world_web import WebOptions, counts_of, gather


@pytest.mark.parametrize("name", CLAIMS)
def test_arms_differ_in_one_thing(name: str) -> None:
    ours, baseline = ARMS[CLAIMS[name].ours], ARMS[CLAIMS[name].baseline]
    assert sum(getattr(ours, field.name) != getattr(baseline, field.name) for field in fields(ours)) == 1


def test_a_study_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[tuple[str, int]] = []

    def measure(arm: str, seed: int) -> dict[str, float]:
        trained.append((arm, seed))
        good = 0.5 if arm == "balanced" else 0.4 + 0.001 * seed
        return dict.fromkeys(CLAIMS["balancing"].metrics, good)

    monkeypatch.setattr(claims, "measure", measure)
    monkeypatch.setattr("koine.evaluation.claims.usable_cores", lambda: 1)
    (first,) = run_claims(["balancing"], 3, tmp_path)
    assert first.verdict == "holds" and len(trained) == 6
    both = run_claims(["balancing", "matching"], 3, tmp_path)
    assert len(trained) == 9  # only "raw" was new
    assert [finding.name for finding in both] == ["balancing", "matching"]
    assert both[1].verdict != "holds"
    written = json.loads((tmp_path / "metaclip.json").read_text())
    assert [finding["name"] for finding in written["findings"]] == ["balancing", "matching"]
    assert "Balancing beats more data: holds" in (tmp_path / "metaclip.md").read_text()


@pytest.fixture
def small(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOINE_CACHE", str(tmp_path_factory.getbasetemp() / "koine-cache"))
    monkeypatch.setattr(world_web, "SOURCE_SCENES", 1000)
    monkeypatch.setattr(claims, "WEB", WebOptions(scenes=1000))
    monkeypatch.setattr(claims, "GERMAN_WEB", WebOptions(scenes=500, language="de"))
    monkeypatch.setattr(claims, "STEPS", 2)
    monkeypatch.setattr(claims, "JUDGED", 100)


@pytest.mark.skipif(not TOKENIZER.is_dir(), reason="the nano tokenizer is not in this build")
def test_a_tail_share_gives_the_smaller_language_a_smaller_threshold(small: None) -> None:
    (one,), (other,) = (claims._german(ARMS[name], 0) for name in (ONE_THRESHOLD, ONE_TAIL_SHARE))
    assert one.web == other.web and one.threshold == claims.THRESHOLD > other.threshold
    english, german = (counts_of(gather(options)) for options in (WebOptions(scenes=1000, side=32), other.web))
    assert tail_share(german, one.threshold) > tail_share(english, claims.THRESHOLD)


@pytest.mark.slow
@pytest.mark.skipif(not TOKENIZER.is_dir(), reason="the nano tokenizer is not in this build")
def test_an_arm_is_trained_and_measured_in_both_languages(small: None) -> None:
    measured = claims.measure(ONE_TAIL_SHARE, 0)
    assert set(CLAIMS["languages"].metrics) <= set(measured) and CONCEPT in measured
    assert all(0 <= value <= 1 for value in measured.values())
