"""Silence about weights that don't fit, for callers who say what is wrong themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_reports() -> Iterator[None]:
    """Silences transformers' tables of weights that don't fit, for callers who say so in an error of one line."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
