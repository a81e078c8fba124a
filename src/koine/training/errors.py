"""The two ways in which a training ends before its time."""

from __future__ import annotations

from koine.errors import InputError


class DivergedError(InputError):
    """The loss or the gradient stopped being a number; the message names stage, step and the last good checkpoint."""


class TrainingStopped(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived; a checkpoint of the last whole step was written before this was raised.

    It is a `KeyboardInterrupt`, so that no `except Exception` on the way swallows the user's wish to stop.
    """
