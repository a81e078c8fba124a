"""`koine run SYSTEM`: files in, reply out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from koine.errors import InputError

if TYPE_CHECKING:
    from koine.registry import System

_SAID_OTHERWISE = ("parts", "return", "seed", "labels")
"""Of the annotations of `respond`, those that `--set` doesn't give."""


def run(
    system: Annotated[str, typer.Argument(help="A name from `koine list`.")],
    ask: Annotated[
        str,
        typer.Option(
            help="The text. {region}, {image} and {audio} mark where a part goes; a region without a mark goes last."
        ),
    ] = "",
    image: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="A picture; may be repeated.")] = None,
    audio: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A sound (WAV, FLAC, ...); may be repeated.")
    ] = None,
    point: Annotated[list[str] | None, typer.Option(metavar="X,Y", help="Point into the first picture.")] = None,
    box: Annotated[list[str] | None, typer.Option(metavar="X0,Y0,X1,Y1", help="Box in the first picture.")] = None,
    mask: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Scribble over the first picture: white where it is.")
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="One of several texts to compare a picture with; repeatable."),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="What the picture may show, with commas between: ranked.")
    ] = None,
    search: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Find the pictures in --folder that fit this text.")
    ] = None,
    folder: Annotated[Path | None, typer.Option(metavar="DIR", help="The pictures to search.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many pictures a search shows.")] = 5,
    weights: Annotated[str, typer.Option(help="nano (they come with the package), a folder or a hub id.")] = "nano",
    device: Annotated[str | None, typer.Option(help="Where to compute, such as cpu or cuda:0.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Number type, such as bfloat16.")] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Of the random draws; the same seed gives the same reply.")
    ] = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An option of this system's replies, e.g. temperature=0.8."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the reply's picture here (several in a row), or the first one with the regions drawn in; "
            "or the reply's sound (.wav, .flac).",
        ),
    ] = None,
) -> None:
    """Ask a system about files: coordinates are pixels, x to the right and y down."""
    from koine.cli import reply as output
    from koine.cli.prompt import compose, read_regions, read_settings
    from koine.registry import find_built, load
    from koine.sentence import Audio, Image

    info = find_built(system)
    name = info.name
    if out is not None:
        output.check_suffix(out, info.writes)
    if audio and "audio" not in info.reads:
        raise InputError(
            f"{name} takes no sounds: leave --audio away, or take a system that `koine list` says reads audio"
        )
    if search is not None or folder is not None:
        others: dict[str, object] = {"--ask": ask, "--image": image, "--audio": audio, "--point": point, "--box": box}
        others |= {"--mask": mask, "--text": text, "--labels": labels, "--set": settings, "--out": out}
        if unused := [option for option, value in others.items() if value]:
            raise InputError(f"a search makes no use of {unused[0]}: leave it away, or leave --search and --folder")
        system_with_weights = load(name, weights, device=device, dtype=dtype)
        _search(name, system_with_weights, search, folder, count, as_json=as_json)
        return
    pictures = [Image.open(path) for path in image or ()]
    sounds = [Audio.open(path) for path in audio or ()]
    regions = read_regions(pictures[0] if pictures else None, point or (), box or (), mask or ())
    prompt = compose(ask, {"image": pictures, "audio": sounds, "text": list(text or ()), "region": regions})

    loaded = load(name, weights, device=device, dtype=dtype)
    options = _options(name, loaded, read_settings(settings or ()))
    reply = loaded.respond(*prompt, seed=seed, **options, **_labelled(name, loaded, labels))

    misfit = None if out is None else output.misfit(out, reply)
    if out is not None and not misfit:
        output.write(out, prompt, reply)
    if as_json:
        import json

        print(json.dumps({"system": name, **output.as_json(prompt, reply)}, indent=2, ensure_ascii=False))
    else:
        print(output.as_ranking(reply, [str(path) for path in image or ()]) or output.as_text(reply))
    if misfit:  # after the reply, which may have taken long
        raise InputError(misfit)


def _options(name: str, system: System, settings: Mapping[str, str]) -> dict[str, Any]:
    """Settings as the options of the system's replies that they name, each read as the option's type.

    Raises:
        InputError: a setting that no option has, or a value of another type.
    """
    from typing import get_type_hints

    from koine.settings import is_readable, read_setting

    kinds = get_type_hints(system.respond)
    known = [option for option, kind in kinds.items() if option not in _SAID_OTHERWISE and is_readable(kind)]
    for key in settings:
        if key not in known:
            raise InputError.unknown(f"option of {name}", key, known)
    return {key: read_setting(key, value, kinds[key]) for key, value in settings.items()}


def _labelled(name: str, system: object, labels: str | None) -> dict[str, str]:
    """The option that names what a picture may show, if it was given to a system that has it."""
    from inspect import signature

    if labels is None:
        return {}
    if "labels" not in signature(system.respond).parameters:  # type: ignore[attr-defined]
        raise InputError(f"{name} takes no --labels: ask in words with --ask, or take a system such as metaclip")
    return {"labels": labels}


def _search(name: str, system: object, text: str | None, folder: Path | None, count: int, *, as_json: bool) -> None:
    """Prints the pictures of a folder that fit a text, the best first, and on stderr what couldn't be read."""
    import sys

    if not text or folder is None:
        raise InputError("a search needs both: give --search TEXT and --folder DIR")
    if not hasattr(system, "search"):
        raise InputError(f"{name} can't search a folder: take a system that can, such as beit3")
    reply = system.search(text, folder, count=count)
    if as_json:
        import json

        print(json.dumps({"system": name, "text": reply.text, "details": reply.details}, indent=2, ensure_ascii=False))
    else:
        for path, similarity in reply.details["found"]:
            print(f"{similarity:.3f}  {path}")
    for path, reason in reply.details["skipped"]:
        print(f"skipped {path}: {reason}", file=sys.stderr)
    if reply.details["skipped"]:
        total = reply.details["pictures"] + len(reply.details["skipped"])
        print(f"{len(reply.details['skipped'])} of {total} pictures could not be read", file=sys.stderr)
