"""Ferret's claims: which arms they need, what is kept between runs, and what is written."""

from __future__ import annotations

from koine.systems.ferret import claims


def measured(arm: str, seed: int) -> dict[str, float]:
    better = 0.1 if arm in ("hybrid", "orientation: corrected") else 0.0
    metrics = {metric for claim in claims.CLAIMS.values() for metric in claim.metrics}
    return dict.fromkeys(metrics, 0.5 + better + seed / 1000)


def test_running_one_claim_keeps_what_others_found(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "_measure", measured)
    monkeypatch.setattr("koine.evaluation.claims.usable_cores", lambda: 1)
    [first] = claims.run_claims(["sampler"], 3, tmp_path)
    [second] = claims.run_claims(["orientation"], 3, tmp_path)
    assert (first.name, second.name) == ("sampler", "orientation")
    page = (tmp_path / "ferret.md").read_text()
    assert claims.CLAIMS["sampler"].statement in page and claims.CLAIMS["orientation"].statement in page


def test_every_claim_compares_arms_that_exist():
    known = {*claims.ARMS, *(f"orientation: {name}" for name in claims.ORIENTATIONS)}
    for claim in claims.CLAIMS.values():
        assert {claim.ours, claim.baseline} <= known and claim.ours != claim.baseline
