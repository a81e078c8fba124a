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
