"""Ferret: refers to and grounds anything anywhere at any granularity (arXiv 2310.07704)."""
