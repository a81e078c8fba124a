"""Writing to disk so that a reader finds either the whole thing or nothing."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from koine.errors import InputError


@contextmanager
def write_atomically(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path beside `path`; what the block writes there becomes `path` when the block ends well.

    The block may make a file or a folder there; the temporary name keeps `path`'s suffix, since many writers choose
    their format by it. Missing parent folders are made. If the block raises, the temporary file or folder and the
    parents made for it are removed and an older `path` stays as it was.

    Raises:
        InputError: the disk is full, the folder is read-only, a parent is a file: the path and the system's reason.
            Any other exception of the block passes through unchanged.
    """
    target = Path(path)
    temporary = target.with_name(f".{secrets.token_hex(4)}.partial.{target.name}")
    made: list[Path] = []
    try:
        made = _make_parents(target)
        yield temporary
        _settle(temporary)
        _replace(temporary, target)
    except BaseException as error:
        _remove(temporary)
        for folder in reversed(made):
            with suppress(OSError):  # someone else may have put a file there meanwhile
                folder.rmdir()
        if reason := _reason_of_failed_write(error, temporary):
            raise InputError(
                f"cannot write {target}: {reason}: free some space or give another place to write to"
            ) from error
        raise


def _make_parents(target: Path) -> list[Path]:
    """Makes the folders above `target` that don't exist yet and returns them, outermost first."""
    missing = [folder for folder in reversed(target.parents) if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    return missing


def _settle(temporary: Path) -> None:
    """Forces the written bytes to the disk, so that a delayed "disk full" shows before the rename, not after."""
    files = [file for file in temporary.rglob("*") if file.is_file()] if temporary.is_dir() else [temporary]
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _replace(temporary: Path, target: Path) -> None:
    """Moves `temporary` to `target`; an older folder there is moved aside first, since a rename can't replace it."""
    if not (temporary.is_dir() and target.is_dir()):
        os.replace(temporary, target)
        return
    aside = temporary.with_name(f"{temporary.name}.old")
    os.replace(target, aside)
    try:
        os.replace(temporary, target)
    except OSError:
        os.replace(aside, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _reason_of_failed_write(error: BaseException, temporary: Path) -> str | None:
    """The system's reason if `error` means that `temporary` couldn't be written, else None.

    Some writers (safetensors, torch) wrap the system's error in a class of their own, so the text is searched too.
    An `OSError` about another file, or without the system's number, was raised by something else inside the block.
    """
    if isinstance(error, OSError) and error.errno is not None:
        about = error.filename if isinstance(error.filename, str) else None
        elsewhere = about is not None and temporary not in (Path(about), *Path(about).parents)
        if elsewhere and Path(str(about)) not in temporary.parents:
            return None
        return error.strerror or str(error)
    for code in (errno.ENOSPC, errno.EDQUOT):
        if isinstance(error, Exception) and os.strerror(code) in str(error):
            return os.strerror(code)
    return None
