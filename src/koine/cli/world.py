"""`koine world`: look at scenes, export them as a data set, measure the renderer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Look at the tabletop world, export it as a data set, measure it.")

Split = Annotated[str, typer.Option(help="train, validation, test or heldout (colour-shape pairs never trained on).")]


@app.command()
def show(
    seed: Annotated[int, typer.Option(help="Of the first scene.")] = 0,
    count: Annotated[int, typer.Option(min=1, max=64, help="How many scenes, side by side.")] = 1,
    split: Split = "test",
    kind: Annotated[str, typer.Option(help="any, single, scatter, nested or stacked.")] = "any",
    size: Annotated[int, typer.Option(help="Pixels of each picture's side.")] = 384,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The picture to write.")] = Path("scenes.png"),
) -> None:
    """Draw scenes into one picture and say what is in them."""
    import numpy as np
    from PIL import Image as pil

    from koine.files import write_atomically
    from koine.world.language import caption
    from koine.world.questions import questions
    from koine.world.render import render
    from koine.world.scene import sample_scene

    columns = min(count, 4)
    rows = -(-count // columns)
    sheet = pil.new("RGB", (columns * size, rows * size))
    for number in range(count):
        scene = sample_scene(seed + number, split=split, kind=kind)  # type: ignore[arg-type]
        view = render(scene, size)
        sheet.paste(pil.fromarray(view.image), (number % columns * size, number // columns * size))
        random = np.random.default_rng(scene.seed)
        print(f"{split} {scene.seed}: {caption(scene, view, random)}")
        for question in questions(scene, view, random)[:2]:
            print(f"    {question.text} {question.answer}")
    with write_atomically(out) as temporary:
        sheet.save(temporary)
    print(out)


@app.command()
def export(
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write; other splits in it stay.")],
    split: Split = "train",
    count: Annotated[int, typer.Option(min=1, help="How many scenes.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the first scene; the next has the next number.")] = 0,
    size: Annotated[int, typer.Option(help="Pixels of each picture's side.")] = 64,
    form: Annotated[str, typer.Option("--format", help="parquet or webdataset.")] = "parquet",
    task: Annotated[list[str] | None, typer.Option(help="Only this kind of text; may be repeated.")] = None,
    kind: Annotated[str, typer.Option(help="any, single, scatter, nested or stacked.")] = "any",
    shard: Annotated[int, typer.Option(min=1, help="Scenes per file.")] = 1000,
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw.")] = 1,
) -> None:
    """Write scenes as a data set with a card; the same call takes up an export that was stopped."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from koine.world import export as world_export
    from koine.world.records import TASKS

    columns = ("scenes", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        line = bar.add_task("scenes", total=count)
        folder = world_export.export(
            out,
            split,  # type: ignore[arg-type]
            count,
            seed,
            size,
            format=form,  # type: ignore[arg-type]
            tasks=task or TASKS,
            kind=kind,  # type: ignore[arg-type]
            shard=shard,
            workers=workers,
            progress=lambda done, total: bar.update(line, completed=done, total=total),
        )
    print(folder)


@app.command()
def bench(
    size: Annotated[int, typer.Option(help="Pixels of each picture's side.")] = 64,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to measure.")] = 5.0,
) -> None:
    """Measure scenes per second on one core: compile, picture with 2x2 anti-aliasing, masks, boxes and depth."""
    from time import perf_counter

    from koine.world.render import render
    from koine.world.scene import sample_scene

    render(sample_scene(0), size)  # what is computed once is not counted
    scenes, start = 0, perf_counter()
    while (elapsed := perf_counter() - start) < seconds:
        scenes += 1
        render(sample_scene(scenes), size)
    print(f"{scenes / elapsed:.0f} scenes per second at {size}x{size} ({scenes} in {elapsed:.1f} s)")
