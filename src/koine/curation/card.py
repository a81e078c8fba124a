"""The data card: what was read, left out, matched and kept, and how the matches lie over the entries before and after.

One JSON file for programs and one web page for people. Both say the same, and nothing that differs between two runs of
the same recipe, such as the date.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from koine.curation.balancing import Counts, tail_share
from koine.curation.options import Sampling
from koine.curation.stages import Run, bucket_counts
from koine.files import write_atomically

_POINTS = 200
_LISTED = 20
_WIDTH, _HEIGHT, _MARGIN = 640, 320, 44


@dataclass(frozen=True)
class EntryCount:
    """One entry, and how many texts matched it."""

    entry: str
    before: int
    after: int


@dataclass(frozen=True)
class LanguageCard:
    """One list of entries."""

    language: str
    entries: int
    dead: int
    """Entries that can't match as published."""
    repaired: bool
    """Whether these were matched in their repaired spelling."""
    matched_entries: int
    """Entries with any match."""
    threshold: float
    head_entries: int
    """Entries with more matches than the threshold."""
    head_share: float
    """The share of all matches that is theirs."""
    tail_share: float
    """The share of entries with fewer matches than the threshold, p."""
    tail_share_after: float
    matches: int
    matches_after: int
    cumulative: list[tuple[float, float, float]]
    """Share of the matched entries, rarest first; of the matches before; of the matches after."""
    head: list[EntryCount]
    """The entries with the most matches."""
    tail: list[EntryCount]
    """Rare entries, evenly from those below the threshold."""


@dataclass(frozen=True)
class Card:
    """All that there is to say of a run."""

    options: dict[str, Any]
    rows: int
    """Rows that were read, with those left out."""
    skipped: dict[str, int]
    """Rows, lines, row groups and files left out, by reason."""
    matched: int
    equal: int
    """Matched rows that were left out because another one is equal."""
    uids_used_before: int
    """Matched rows whose uid another row has, too."""
    kept: int
    kept_share: float
    """Of the rows that were read."""
    languages: list[LanguageCard]


def describe(
    run: Run, counted: Counter[str], thresholds: Sequence[float], before: Sequence[Counts], after: Sequence[Counts]
) -> Card:
    """Sums a run up.

    Args:
        run: the run, all of whose parts are written.
        counted: what was read, left out and matched.
        thresholds: [languages].
        before: [languages], each entry's matches without equal rows.
        after: the same over the rows that were kept.
    """
    found = bucket_counts(run)
    kept = sum(json.loads(run.written(shard.number).read_text())["rows"] for shard in run.shards)
    beside = ("rows", "matched")
    unreadable = json.loads((run.folder / "run.json").read_text())["unreadable"]
    skipped = {reason: count for reason, count in sorted(counted.items()) if reason not in beside and count}
    if unreadable:
        skipped["files that can't be opened"] = len(unreadable)
    languages = [
        _describe_language(run, language, thresholds[language], before[language], after[language])
        for language in range(len(run.languages))
    ]
    return Card(
        options=run.options.as_json(),
        rows=counted["rows"],
        skipped=skipped,
        matched=counted["matched"],
        equal=found["equal rows"],
        uids_used_before=found["rows with a uid used before"],
        kept=kept,
        kept_share=kept / counted["rows"] if counted["rows"] else 0.0,
        languages=languages,
    )


def write_card(run: Run, card: Card) -> None:
    """Writes `card.json` and `card.html`."""
    content = asdict(card)
    with write_atomically(run.folder / "card.json") as path:
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False), "utf-8")
    with write_atomically(run.folder / "card.html") as path:
        path.write_text(render(content), "utf-8")


def render(card: dict[str, Any]) -> str:
    """The web page of a card's JSON: one file that needs no other."""
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.globals.update(line=_line, width=_WIDTH, height=_HEIGHT, margin=_MARGIN, online=Sampling.ONLINE.value)
    return environment.get_template("card.html.jinja").render(card=card)


def _describe_language(run: Run, language: int, threshold: float, before: Counts, after: Counts) -> LanguageCard:
    matcher = run.lists.matcher(language)
    order = np.argsort(before, kind="stable")
    matched = order[before[order] > 0]
    total, total_after = int(before.sum()), int(after.sum())
    head = before > threshold

    def listed(places: Sequence[int]) -> list[EntryCount]:
        return [EntryCount(matcher.entries[place].as_py(), int(before[place]), int(after[place])) for place in places]

    rare = matched[before[matched] < threshold]
    spread = np.linspace(0, max(0, len(rare) - 1), min(_LISTED, len(rare))).astype(int)
    return LanguageCard(
        language=run.languages[language],
        entries=len(matcher),
        dead=len(matcher.dead),
        repaired=matcher.repaired,
        matched_entries=len(matched),
        threshold=float(threshold),
        head_entries=int(head.sum()),
        head_share=int(before[head].sum()) / total if total else 0.0,
        tail_share=tail_share(before, threshold),
        tail_share_after=int(after[before < threshold].sum()) / total_after if total_after else 0.0,
        matches=total,
        matches_after=total_after,
        cumulative=_cumulative(before[matched], after[matched]),
        head=listed(matched[::-1][:_LISTED].tolist()),
        tail=listed(rare[spread].tolist()),
    )


def _cumulative(before: Counts, after: Counts) -> list[tuple[float, float, float]]:
    """Both running shares over the entries as they are given, at evenly spaced places."""
    if not len(before):
        return []
    places = np.unique(np.linspace(0, len(before) - 1, min(_POINTS, len(before))).astype(int))
    shares = [np.cumsum(counts) / max(1, int(counts.sum())) for counts in (before, after)]
    return [
        (round((place + 1) / len(before), 6), round(float(shares[0][place]), 6), round(float(shares[1][place]), 6))
        for place in places.tolist()
    ]


def _line(points: Sequence[Sequence[float]], column: int) -> str:
    """The points of an SVG line: the first number of each to the right, that of a column upwards."""
    inner_width, inner_height = _WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN
    corners = [(0.0, 0.0), *((point[0], point[column]) for point in points)]
    return " ".join(
        f"{_MARGIN + right * inner_width:.1f},{_HEIGHT - _MARGIN - up * inner_height:.1f}" for right, up in corners
    )
