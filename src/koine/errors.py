"""What the library says when it was given something that it can't use."""

from __future__ import annotations

from collections.abc import Iterable


class InputError(ValueError):
    """Input that the caller can mend.

    The message is one line that names the thing, its value and the remedy. The command line prints it as
    `error: <message>` and exits with status 2; a library user catches it as a `ValueError`.
    """

    @classmethod
    def unknown(cls, thing: str, value: object, known: Iterable[str]) -> InputError:
        """An error for a name that isn't in a closed list: shows the nearest names and the whole list.

        Example: `InputError.unknown("system", "feret", SYSTEMS)` reads
        `there is no system 'feret': did you mean 'ferret'? (known: beit3, ferret, ...)`.
        """
        import difflib

        names = sorted(known)
        near = difflib.get_close_matches(str(value).lower(), names, n=3, cutoff=0.5)
        guess = f": did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
        listing = ", ".join(names) if names else "none"
        return cls(f"there is no {thing} {str(value)!r}{guess} (known: {listing})")
