"""A report's scores as a short table in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from koine.report.contents import Report

if TYPE_CHECKING:
    from rich.table import Table


def score_table(report: Report) -> Table:
    """One row per task of every section: right answers, their number and share."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("system", style="bold")
    table.add_column("task")
    table.add_column("right", justify="right")
    table.add_column("share", justify="right")
    for section in report.sections:
        for row, score in enumerate(section.scores):
            table.add_row(
                "" if row else section.title,
                score.task,
                f"{score.right} of {score.total}",
                f"{100 * score.share:.0f} %",
            )
    return table
