"""Reports: what a system was asked, what it answered and what is true, as one web page that needs nothing else."""

from koine.report.contents import Answer, Figure, Report, Score, Section, Table
from koine.report.page import write

__all__ = ["Answer", "Figure", "Report", "Score", "Section", "Table", "write"]
