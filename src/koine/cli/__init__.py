"""The command line. Each command is a file of its own; whatever is heavy is imported when a command runs."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated

import typer

from koine import __version__
from koine.cli import claims, convert, curate, evaluate, info, listing, run, tour, train, world
from koine.errors import InputError

app = typer.Typer(
    name="koine",
    help="Eleven multimodal systems, one interface: sentences of text, pictures, regions and more, in and out.",
    add_completion=False,
    no_args_is_help=True,
)
app.command("tour")(tour.tour)
app.command("list")(listing.list_systems)
app.command("info")(info.info)
app.command("run")(run.run)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("claims")(claims.claims)
app.command("convert")(convert.convert)
app.add_typer(curate.app, name="curate")
app.add_typer(world.app, name="world")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"koine {__version__}")
        raise typer.Exit


@app.callback()
def options_of_every_command(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error (works anywhere).")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Eleven multimodal systems, one interface: sentences of text, pictures, regions and more, in and out."""


def main(arguments: list[str] | None = None) -> int:
    """Runs a command and returns the exit status: 0 done, 1 failed, 2 bad input, 130 stopped by the user.

    Errors go to stderr as one line, `error: <what is wrong, where, what to do>`, as do warnings; `--debug`, before or
    after the command, shows the traceback instead, and where a warning comes from.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"] or ["--help"]
    usual = warnings.formatwarning
    warnings.formatwarning = usual if debug else _as_line
    try:
        status = app(given, prog_name="koine", standalone_mode=False)
        sys.stdout.flush()  # a closed pipe should show here, not in the interpreter's last breath
    except BrokenPipeError:
        # Whoever read our output has seen enough, as `head` does; stdout is pointed away so that exit stays silent.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if debug:
            raise
        return _report(error)
    finally:
        warnings.formatwarning = usual
    return status if isinstance(status, int) else 0


def _report(error: Exception) -> int:
    """Prints the error as one line and returns the exit status that belongs to it."""
    if isinstance(error, InputError):
        return _complain(str(error), 2)
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "koine"
        return _complain(f"{error.format_message().rstrip('.')}: `{command} --help` shows what it takes", 2)
    if isinstance(error, typer.Abort):
        return _complain("stopped", 130)
    told = " ".join(f"{type(error).__name__}: {error}".split())
    return _complain(f"{told} (this is not your input's fault; --debug shows where it happened)", 1)


def _as_line(message: object, *_: object, **__: object) -> str:
    return f"warning: {' '.join(str(message).split())}\n"


def _complain(message: str, status: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return status
