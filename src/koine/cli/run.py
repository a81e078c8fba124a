"""`koine run SYSTEM`: files in, reply out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from koine.errors import InputError

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def run(
    system: Annotated[str, typer.Argument(help="A name from `koine list`.")],
    ask: Annotated[
        str,
        typer.Option(help="The text. {region} and {image} mark where a part goes; a region without a mark goes last."),
    ] = "",
    image: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="A picture; may be repeated.")] = None,
    point: Annotated[list[str] | None, typer.Option(metavar="X,Y", help="Point into the first picture.")] = None,
    box: Annotated[list[str] | None, typer.Option(metavar="X0,Y0,X1,Y1", help="Box in the first picture.")] = None,
    mask: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Scribble over the first picture: white where it is.")
    ] = None,
    weights: Annotated[str, typer.Option(help="nano (they come with the package), a folder or a hub id.")] = "nano",
    device: Annotated[str | None, typer.Option(help="Where to compute, such as cpu or cuda:0.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Number type, such as bfloat16.")] = None,
    seed: Annotated[int, typer.Option(help="Of the random draws; the same seed gives the same reply.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the picture, with the regions drawn in, here.")
    ] = None,
) -> None:
    """Ask a system about files: coordinates are pixels, x to the right and y down."""
    from koine.cli.prompt import compose, read_regions
    from koine.registry import find_built, load
    from koine.sentence import Image

    if out is not None and out.suffix.lower() not in PICTURE_SUFFIXES:
        raise InputError(f"--out {out} has no picture's suffix: take one of {', '.join(PICTURE_SUFFIXES)}")
    name = find_built(system).name
    pictures = [Image.open(path) for path in image or ()]
    regions = read_regions(pictures[0] if pictures else None, point or (), box or (), mask or ())
    prompt = compose(ask, {"image": pictures, "region": regions})

    reply = load(name, weights, device=device, dtype=dtype).respond(*prompt, seed=seed)

    from koine.cli import reply as output

    if out is not None:
        from koine.files import write_atomically

        picture = output.as_picture(prompt, reply)
        with write_atomically(out) as temporary:
            picture.to_pil().save(temporary)
    if as_json:
        import json

        print(json.dumps({"system": name, **output.as_json(prompt, reply)}, indent=2, ensure_ascii=False))
    else:
        print(output.as_text(reply))
