"""A paper's claim as an experiment: one arm against another, the same data and budget, several seeds, a verdict.

A system's `claims.py` names its arms and says how one is trained and measured; this room compares the measurements,
keeps them on disk so that a stopped study goes on where it was, and writes the findings down.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    """That one arm does better than another, or hardly worse.

    Attributes:
        statement: the claim, in words.
        source: where the paper says so.
        published: the paper's own figures.
        ours, baseline: the arms compared.
        metrics: what they are compared by; the first decides.
        lower_is_better: whether a smaller value is the better one.
        budget: data and steps of an arm, for the table.
        margin: how much worse ours may be, in units of the first metric, and the claim still hold (non-inferiority).
            It is fixed before anything is measured. The other metrics have none: for them ours has to be better.
    """

    statement: str
    source: str
    published: str
    ours: str
    baseline: str
    metrics: tuple[str, ...]
    lower_is_better: bool = False
    budget: str = ""
    margin: float = 0.0


@dataclass(frozen=True)
class Reading:
    """An arm that isn't trained by itself: its figures are among those of another one.

    Attributes:
        of: the arm that is measured.
        metrics: this arm's metrics -> what they are called in that measurement.
    """

    of: str
    metrics: Mapping[str, str]


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
    mixed with these. What it has under "arms" says of each arm how it differs: another arm, or a change of one, leaves
    the measurements of the others as they are.
    """

    def __init__(self, path: Path, settings: Mapping[str, object]) -> None:
        self.path, self.settings = path, json.loads(json.dumps(settings))
        self._found: dict[str, dict[str, float]] = {}
        if path.is_file():
            stored = json.loads(path.read_text())
            (shared, arms), (stored_shared, stored_arms) = _by_arm(self.settings), _by_arm(stored["settings"])
            if shared == stored_shared:
                self._found = {
                    key: found
                    for key, found in stored["measurements"].items()
                    if arms.get(_arm(key)) == stored_arms.get(_arm(key))
                }

    def get(self, arm: str, seed: int) -> Measurement:
        """A measurement that `collect` has seen to."""
        return self._found[_key(arm, seed)]

    def has(self, arm: str, seed: int) -> bool:
        """Whether this measurement is stored."""
        return _key(arm, seed) in self._found

    def collect(self, wanted: Iterable[tuple[str, int]], measure: Measure, *, jobs: int = 1) -> None:
        """Measures each wanted (arm, seed) that isn't stored yet.

        Args:
            measure: with several jobs a function of a module, since other processes call it.
            jobs: processes that work side by side, each with its share of the cores.
        """
        missing = [pair for pair in dict.fromkeys(wanted) if _key(*pair) not in self._found]
        if jobs == 1 or len(missing) < 2:
            for arm, seed in missing:
                self._keep(arm, seed, measure(arm, seed))
            return
        from concurrent.futures import ProcessPoolExecutor, as_completed
        from multiprocessing import get_context

        threads = max(1, usable_cores() // jobs)
        own = os.getpid()
        with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_begin, initargs=(threads, own)) as pool:
            running = {pool.submit(measure, arm, seed): (arm, seed) for arm, seed in missing}
            for done in as_completed(running):
                self._keep(*running[done], done.result())

    def _keep(self, arm: str, seed: int, measurement: Measurement) -> None:
        self._found[_key(arm, seed)] = {name: float(value) for name, value in measurement.items()}
        content = {"settings": self.settings, "measurements": self._found}
        with write_atomically(self.path) as temporary:
            temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def usable_cores() -> int:
    """Cores that this process may use, which `taskset` or a container can limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _key(arm: str, seed: int) -> str:
    return f"{arm}/{seed}"


def _arm(key: str) -> str:
    return key.rpartition("/")[0]


def _by_arm(settings: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """What all arms share, and what each of them has of its own."""
    shared = dict(settings)
    arms = shared.pop("arms", {})
    assert isinstance(arms, dict)
    return shared, arms


def _begin(threads: int, study: int) -> None:
    """What a process that measures does first. `study`: the process that it works for."""
    import threading

    import torch

    torch.set_num_threads(threads)
    threading.Thread(target=_leave_with, args=(study,), daemon=True).start()


def _leave_with(study: int) -> None:
    """Ends this process when the study's is gone: killed, it would leave arms behind that train on for nobody."""
    while os.getppid() == study:
        time.sleep(0.5)
    os._exit(1)


def judge(name: str, claim: Claim, seeds: Sequence[int], measure: Measure) -> Finding:
    """Measure both arms with every seed and compare them in pairs (Student's t over seeds, 95 %).

    With a margin the first metric's verdict is that ours is less than the margin worse.

    Raises:
        InputError: fewer than two seeds, from which no interval follows.
    """
    if len(seeds) < 2:
        raise InputError(f"claim {name}: {len(seeds)} seed gives no interval: use at least 2")
    ours = [measure(claim.ours, seed) for seed in seeds]
    baseline = [measure(claim.baseline, seed) for seed in seeds]
    effects = []
    for place, metric in enumerate(claim.metrics):
        first, second = [m[metric] for m in ours], [m[metric] for m in baseline]
        better_by = paired_difference(*((second, first) if claim.lower_is_better else (first, second)))
        found = verdict(better_by, at_least=-claim.margin if place == 0 else 0.0)
        effects.append(Effect(metric, tuple(first), tuple(second), better_by, found))
    return Finding(name, claim, tuple(seeds), tuple(effects))


def study(
    system: str,
    claims: Mapping[str, Claim],
    names: Sequence[str],
    seeds: int,
    out: Path,
    *,
    measure: Measure,
    settings: Mapping[str, object],
    setting: str,
    readings: Mapping[str, Reading] | None = None,
) -> list[Finding]:
    """Measures what the named claims need, or reads what an earlier run measured, and writes the findings.

    What is known of other claims is written again, so that running one doesn't lose the others.

    Args:
        measure: a function of a module, since other processes call it, one for each core it may use: models
            this small gain little from a second thread.
        settings: what all arms share, and under "arms" what each has of its own; see `Measurements`.
        setting: a sentence on data, budget and machine.
        readings: the arms that are read off another one's measurement.
    """
    readings = readings or {}
    found = Measurements(out / f"{system}.measurements.json", settings)

    def measured(arm: str) -> str:
        return readings[arm].of if arm in readings else arm

    def read(arm: str, seed: int) -> Measurement:
        whole = found.get(measured(arm), seed)
        return {name: whole[called] for name, called in readings[arm].metrics.items()} if arm in readings else whole

    needed = {
        name: [(measured(arm), seed) for seed in range(seeds) for arm in (claim.ours, claim.baseline)]
        for name, claim in claims.items()
    }
    found.collect([pair for name in names for pair in needed[name]], measure, jobs=usable_cores())
    known = [name for name, pairs in needed.items() if all(found.has(*pair) for pair in pairs)]
    findings = {name: judge(name, claims[name], range(seeds), read) for name in known}
    write_findings(system, list(findings.values()), out, setting=setting)
    return [findings[name] for name in names]


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
        *_margin(claim),
        f"| metric | {claim.ours} | {claim.baseline} | better by (95 %) | verdict |",
        "|---|---|---|---|---|",
    ]
    for effect in finding.effects:
        ours, baseline = (" / ".join(f"{value:.3f}" for value in values) for values in (effect.ours, effect.baseline))
        interval = f"{effect.better_by.estimate:+.3f} [{effect.better_by.low:+.3f}, {effect.better_by.high:+.3f}]"
        lines.append(f"| {effect.metric} | {ours} | {baseline} | {interval} | {effect.verdict} |")
    return [*lines, ""]


def _margin(claim: Claim) -> list[str]:
    if not claim.margin:
        return []
    first, *others = claim.metrics
    strict = f"; by {' and '.join(others)} it has to be better" if others else ""
    return [
        f"Holds if *{claim.ours}* is less than {claim.margin:g} worse by {first}, a margin set beforehand{strict}.",
        "",
    ]
