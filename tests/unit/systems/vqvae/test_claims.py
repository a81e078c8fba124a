"""Claims that can be run: every arm is trained and measured, every claim is judged by what its arms measure."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from koine.systems.vqvae import claims
from koine.systems.vqvae.claims import CLAIMS, CODEBOOKS, CODED, COMMITMENTS, DECODED, READINGS, REVIVED, RIVALS
from tests.unit.systems.vqvae.conftest import PALETTE, TINY, noise_scenes

SMALL: dict[str, Any] = {name: TINY[name] for name in TINY if name not in ("image_size", "prior_labels")}
ARMS = [*CODEBOOKS, *COMMITMENTS, CODED, *RIVALS, *DECODED]
MEASURED = Path(__file__).parents[4] / "docs" / "claims" / "vqvae.measurements.json"


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks and budgets so small that every arm is trained within a second, on noise."""
    for room in ("recipe", "claims", "bits_experiment", "latents_experiment"):
        monkeypatch.setattr(f"koine.systems.vqvae.{room}.rendered_scenes", noise_scenes)
    for name, value in (("CODE_STEPS", 1), ("PRIOR_STEPS", 1), ("BATCH", 4), ("SMALL", SMALL), ("JUDGED", 20)):
        monkeypatch.setattr(claims, name, value)
    network = {**SMALL, "prior": "none", "codes_per_cell": 2}
    monkeypatch.setattr(claims, "BITS_BUDGET", replace(claims.BITS_BUDGET, steps=2, batch_size=4, options=network))
    budget = replace(claims.LATENTS_BUDGET, steps=2, batch_size=4, network=PALETTE)
    monkeypatch.setattr(claims, "LATENTS_BUDGET", budget)
    monkeypatch.setattr("koine.evaluation.claims.usable_cores", lambda: 1)


def metrics_of(arm: str) -> set[str]:
    """What the claims want to know of an arm, readings of it included."""
    wanted: set[str] = set()
    for claim in CLAIMS.values():
        for side in (claim.ours, claim.baseline):
            reading = READINGS.get(side)
            if reading and reading.of == arm:
                wanted |= {reading.metrics[name] for name in claim.metrics}
            elif side == arm:
                wanted |= set(claim.metrics)
    return wanted


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.usefixtures("tiny")
def test_an_arm_is_trained_and_gives_what_its_claims_compare(arm: str) -> None:
    found = claims.measure(arm, 1)
    wanted = metrics_of(arm)
    assert wanted and wanted <= found.keys()
    assert all(value == value and abs(value) < 1e9 for value in found.values())


@pytest.mark.usefixtures("tiny")
def test_the_same_seed_gives_the_same_measurement() -> None:
    for arm in ("Gumbel-softmax VAE", claims.GAUSSIAN):
        assert claims.measure(arm, 1) == claims.measure(arm, 1) != claims.measure(arm, 2)


def test_every_claim_is_judged_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("koine.evaluation.claims.usable_cores", lambda: 1)
    monkeypatch.setattr(claims, "measure", lambda arm, seed: dict.fromkeys(metrics_of(arm), 1 + seed / 100))
    found = claims.run_claims(list(CLAIMS), 2, tmp_path)
    assert [finding.claim for finding in found] == list(CLAIMS.values())
    assert {finding.name for finding in found if finding.verdict == "holds"} == {
        name for name, claim in CLAIMS.items() if claim.margin
    }  # arms that are alike: within every margin, and better than nothing
    page = (tmp_path / "vqvae.md").read_text()
    assert page.count("a margin set beforehand") == len([claim for claim in CLAIMS.values() if claim.margin])


def test_betas_differ_in_beta_only_and_are_compared_with_the_papers_own() -> None:
    for beta in (0.1, 0.5, 1.0, 2.0):
        claim = CLAIMS[f"commitment-{beta:g}"]
        assert COMMITMENTS[claim.ours] == {**CODEBOOKS[REVIVED], "commitment": beta}
        assert READINGS[claim.baseline].of == REVIVED and claim.margin > 0
    assert claims.NanoRecipe().build_model().config.commitment == 0.25


def test_what_was_measured_before_there_were_these_arms_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = tmp_path / MEASURED.name
    content = json.loads(MEASURED.read_text())
    seeds = {arm: [key for key in content["measurements"] if key.startswith(f"{arm}/")] for arm in CODEBOOKS}
    assert all(len(keys) >= 2 for keys in seeds.values())
    stored.write_text(json.dumps(content))

    def refuse(arm: str, seed: int) -> dict[str, float]:
        raise AssertionError(f"{arm} is measured again")

    monkeypatch.setattr("koine.evaluation.claims.usable_cores", lambda: 1)
    monkeypatch.setattr(claims, "measure", refuse)
    [finding] = claims.run_claims(["revived-codes"], 2, tmp_path)
    assert finding.effects[0].ours[0] == content["measurements"][f"{REVIVED}/0"]["share of codes in use"]
