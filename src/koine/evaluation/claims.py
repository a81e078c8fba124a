"""A paper's claim as an experiment: one arm against another, the same data and budget, several seeds, a verdict.

A system's `claims.py` names its arms and says how one is trained and measured; this room compares the measurements,
keeps them on disk so that a stopped study goes on where it was, and writes the findings down.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from koine.errors import InputError
from koine.evaluation.statistics import Interval, Verdict, paired_difference, verdict
from koine.files import write_atomically

Measurement = Mapping[str, float]
Measure = Callable[[str, int], Measurement]
"""(arm, seed) -> metrics."""


@dataclass(frozen=True)
class Claim:
    """That one arm does better than another.

    Attributes:
        statement: the claim, in words.
        source: where the paper says so.
        published: the paper's own figures.
        ours, baseline: the arms compared.
        metrics: what they are compared by; the first decides.
        lower_is_better: whether a smaller value is the better one.
        budget: data and steps of an arm, for the table.
    """

    statement: str
    source: str
    published: str
    ours: str
    baseline: str
    metrics: tuple[str, ...]
    lower_is_better: bool = False
    budget: str = ""


@dataclass(frozen=True)
class Effect:
    """One metric of a claim: the values of both arms, seed by seed, and how much better ours is."""

    metric: str
    ours: tuple[float, ...]
    baseline: tuple[float, ...]
    better_by: Interval
    verdict: Verdict


@dataclass(frozen=True)
class Finding:
    """What came out; the first effect decides the verdict."""

    name: str
    claim: Claim
    seeds: tuple[int, ...]
    effects: tuple[Effect, ...]

    @property
    def verdict(self) -> Verdict:
        return self.effects[0].verdict


class Measurements:
    """Measured arms by (arm, seed), kept in a JSON file as they come in.

    `settings` describes what every arm shares (data, steps, code version); measurements of other settings are not
    mixed with these.
    """

    def __init__(self, path: Path, settings: Mapping[str, object]) -> None:
        self.path, self.settings = path, json.loads(json.dumps(settings))
        self._found: dict[str, dict[str, float]] = {}
        if path.is_file():
            stored = json.loads(path.read_text())
            if stored["settings"] == self.settings:
                self._found = stored["measurements"]

    def get(self, arm: str, seed: int, measure: Measure) -> Measurement:
        """The stored measurement, or a new one."""
        key = f"{arm}/{seed}"
        if key not in self._found:
            self._found[key] = {name: float(value) for name, value in measure(arm, seed).items()}
            content = {"settings": self.settings, "measurements": self._found}
            with write_atomically(self.path) as temporary:
                temporary.write_text(json.dumps(content, indent=1) + "\n")
        return self._found[key]


def judge(name: str, claim: Claim, seeds: Sequence[int], measure: Measure) -> Finding:
    """Measure both arms with every seed and compare them in pairs (Student's t over seeds, 95 %).

    Raises:
        InputError: fewer than two seeds, from which no interval follows.
    """
    if len(seeds) < 2:
        raise InputError(f"claim {name}: {len(seeds)} seed gives no interval: use at least 2")
    ours = [measure(claim.ours, seed) for seed in seeds]
    baseline = [measure(claim.baseline, seed) for seed in seeds]
    effects = []
    for metric in claim.metrics:
        first, second = [m[metric] for m in ours], [m[metric] for m in baseline]
        better_by = paired_difference(*((second, first) if claim.lower_is_better else (first, second)))
        effects.append(Effect(metric, tuple(first), tuple(second), better_by, verdict(better_by)))
    return Finding(name, claim, tuple(seeds), tuple(effects))


def write_findings(system: str, findings: Sequence[Finding], folder: Path, *, setting: str) -> None:
    """Write `<system>.json` (everything) and `<system>.md` (tables for people) into a folder.

    `setting`: a sentence on data, budget and machine.
    """
    with write_atomically(folder / f"{system}.json") as temporary:
        content = [{**asdict(finding), "verdict": finding.verdict} for finding in findings]
        temporary.write_text(json.dumps({"system": system, "setting": setting, "findings": content}, indent=1) + "\n")
    lines = [f"# Claims of {system}, run again", "", setting, ""]
    for finding in findings:
        lines += _paragraph(finding)
    with write_atomically(folder / f"{system}.md") as temporary:
        temporary.write_text("\n".join(lines))


def _paragraph(finding: Finding) -> list[str]:
    claim = finding.claim
    lines = [
        f"## {claim.statement}: {finding.verdict}",
        "",
        f"Paper: {claim.source}. Published: {claim.published}. {claim.budget}".strip(),
        "",
        f"| metric | {claim.ours} | {claim.baseline} | better by (95 %) | verdict |",
        "|---|---|---|---|---|",
    ]
    for effect in finding.effects:
        ours, baseline = (" / ".join(f"{value:.3f}" for value in values) for values in (effect.ours, effect.baseline))
        interval = f"{effect.better_by.estimate:+.3f} [{effect.better_by.low:+.3f}, {effect.better_by.high:+.3f}]"
        lines.append(f"| {effect.metric} | {ours} | {baseline} | {interval} | {effect.verdict} |")
    return [*lines, ""]
