"""One scene as a row of a data set: every modality of it and all its texts, as plain data."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from koine.errors import InputError
from koine.world import german
from koine.world.alt_text import alt_text
from koine.world.edits import EDIT_KINDS, edit
from koine.world.facts import members, observe
from koine.world.language import STYLES, caption, grounded_caption, shuffled
from koine.world.purposes import purpose_questions
from koine.world.questions import Question, questions, region_questions
from koine.world.referring import describe
from koine.world.render import View, render
from koine.world.scene import SPLITS, Kind, Scene, Split, sample_scene
from koine.world.statements import Statement, pair_statements, statements

if TYPE_CHECKING:
    import pyarrow as pa

Record = dict[str, Any]

TASKS = (
    "captions",
    "grounding",
    "expressions",
    "questions",
    "regions",
    "purposes",
    "statements",
    "pairs",
    "edits",
    "german",
    "alt_text",
)
DEPTH_UNIT = 1e-4
"""Metres of one step of the 16-bit depth picture; 0 stands for nothing within 6.5535 m."""
EDITS_PER_SCENE = 2
ALT_TEXTS_PER_SCENE = 3
_THING_FIELDS = ("shape", "colour", "size", "material", "yaw", "grain", "on", "inside")
_TEXT_STREAM = 77
"""Keeps the draws of texts apart from those of scenes with the same seed."""


def record(
    scene: Scene, view: View, *, tasks: Sequence[str] = TASKS, previous: tuple[Scene, View] | None = None
) -> Record:
    """A scene as a row; `schema` has the columns and `koine.world.card` says what they mean.

    Each task draws from a stream of its own that depends on the scene's seed and split only, so a text doesn't
    change with the tasks around it.

    Args:
        scene, view: the scene and how it is seen; edits are rendered at the same size.
        tasks: of `TASKS`; the pictures and the things are always there.
        previous: the left picture of the statements about two; without one there are none.
    Raises:
        InputError: a task that there isn't.
    """
    row = _pictures(scene, view)
    for task in checked_tasks(tasks):
        rng = np.random.default_rng((scene.seed, SPLITS.index(scene.split), _TEXT_STREAM, TASKS.index(task)))
        row[task] = _WRITERS[task](scene, view, rng, previous)
    return row


def drawn(seed: int, split: Split, kind: Kind, size: int) -> tuple[Scene, View]:
    """A scene and its picture of `size` x `size` pixels."""
    scene = sample_scene(seed, split=split, kind=kind)
    return scene, render(scene, size)


def checked_tasks(tasks: Sequence[str]) -> tuple[str, ...]:
    """The tasks in the order of `TASKS`.

    Raises:
        InputError: a task that there isn't.
    """
    for task in tasks:
        if task not in TASKS:
            raise InputError.unknown("export task", task, TASKS)
    return tuple(task for task in TASKS if task in tasks)


def schema(tasks: Sequence[str] = TASKS) -> pa.Schema:
    """The columns of a row with these tasks, as an Arrow schema."""
    import pyarrow as pa

    text, number, real = pa.string(), pa.int32(), pa.float32()
    box, indices = pa.list_(real, 4), pa.list_(number)

    def rows(**fields: pa.DataType) -> pa.DataType:
        return pa.list_(pa.struct(list(fields.items())))

    question = rows(kind=text, text=text, answer=text, region_text=text, things=indices, program=text)
    statement = rows(kind=text, text=text, label=pa.bool_(), program=text)
    columns = {
        "id": text,
        "seed": pa.int64(),
        "split": text,
        "surface": text,
        "light": text,
        "camera": pa.struct(
            [(name, real) for name in ("azimuth", "elevation", "distance", "fovy")] + [("target", pa.list_(real, 3))]
        ),
        "image": pa.binary(),
        "mask": pa.binary(),
        "depth": pa.binary(),
        "things": rows(
            shape=text,
            colour=text,
            size=text,
            material=text,
            position=pa.list_(real, 3),
            yaw=real,
            grain=real,
            on=number,
            inside=number,
            box=box,
            amodal_box=box,
            visible=number,
        ),
    }
    of_tasks = {
        "captions": pa.list_(text),
        "grounding": rows(text=text, thing=number),
        "expressions": rows(thing=number, text=text, program=text),
        "questions": question,
        "regions": question,
        "purposes": question,
        "statements": statement,
        "pairs": rows(left=text, kind=text, text=text, label=pa.bool_(), program=text),
        "edits": rows(
            kind=text, terse=text, expressive=text, german=text, things=indices, image=pa.binary(), scene=text
        ),
        "german": pa.struct([("captions", pa.list_(text)), ("expressions", rows(thing=number, text=text))]),
        "alt_text": rows(text=text, kind=text, truth=real, concept=text, language=text),
    }
    return pa.schema(list((columns | {task: of_tasks[task] for task in checked_tasks(tasks)}).items()))


def identity(scene: Scene) -> str:
    """The name of a scene in a data set: "train-00000017"."""
    return f"{scene.split}-{scene.seed:08d}"


def png(pixels: np.ndarray) -> bytes:
    """The PNG file of pixels [H, W, 3] uint8 or [H, W] uint8 or uint16.

    Compressed lightly: searching for the smallest file takes twice as long and saves four percent.
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=4)
    return buffer.getvalue()


def depth_png(depth: np.ndarray) -> bytes:
    """A 16-bit PNG of depths float [H, W] in metres, in steps of `DEPTH_UNIT`; 0 where nothing was hit."""
    steps = np.where(np.isfinite(depth), depth / DEPTH_UNIT, 0.0)
    return png(np.where(steps < 2**16 - 0.5, np.rint(steps), 0).astype(np.uint16))


def _pictures(scene: Scene, view: View) -> Record:
    things = [
        {
            **{key: getattr(thing, key) for key in _THING_FIELDS},
            "position": list(thing.position),
            "box": view.boxes[index].tolist(),
            "amodal_box": view.amodal_boxes[index].tolist(),
            "visible": int(view.visible[index]),
        }
        for index, thing in enumerate(scene.things)
    ]
    return {
        "id": identity(scene),
        "seed": scene.seed,
        "split": scene.split,
        "surface": scene.surface,
        "light": scene.light,
        "camera": {**asdict(scene.camera), "target": list(scene.camera.target)},
        "image": png(view.image),
        "mask": png((view.instance + 1).astype(np.uint8)),
        "depth": depth_png(view.depth),
        "things": things,
    }


def _captions(scene: Scene, view: View, rng: np.random.Generator, previous: object) -> list[str]:
    return [caption(scene, view, rng, style) for style in STYLES]


def _grounding(scene: Scene, view: View, rng: np.random.Generator, previous: object) -> list[Record]:
    return [{"text": text, "thing": thing} for text, thing in grounded_caption(scene, view, rng)]


def _expressions(scene: Scene, view: View, rng: np.random.Generator, previous: object) -> list[Record]:
    return [
        {"thing": index, "text": description.text, "program": json.dumps(description.program())}
        for index, described in enumerate(describe(observe(scene, view)))
        for description in described
    ]


def _question_rows(
    ask: Callable[[Scene, View, np.random.Generator], list[Question]],
) -> Callable[[Scene, View, np.random.Generator, object], list[Record]]:
    def rows(scene: Scene, view: View, rng: np.random.Generator, previous: object) -> list[Record]:
        return [
            {
                **{key: getattr(question, key) for key in ("kind", "text", "answer", "region_text")},
                "things": list(question.things),
                "program": json.dumps(question.program),
            }
            for question in ask(scene, view, rng)
        ]

    return rows


def _statement_row(statement: Statement) -> Record:
    return {
        "kind": statement.kind,
        "text": statement.text,
        "label": statement.label,
        "program": json.dumps(statement.program),
    }


def _statements(scene: Scene, view: View, rng: np.random.Generator, previous: object) -> list[Record]:
    return [_statement_row(statement) for statement in statements(scene, view, rng)]


def _pairs(scene: Scene, view: View, rng: np.random.Generator, previous: tuple[Scene, View] | None) -> list[Record]:
    if previous is None:
        return []
    said = pair_statements(previous, (scene, view), rng)
    return [{"left": identity(previous[0]), **_statement_row(statement)} for statement in said]


def _edits(scene: Scene, view: View, rng: np.random.Generator, previous: object) -> list[Record]:
    rows: list[Record] = []
    for kind in shuffled(rng, EDIT_KINDS):
        change = edit(scene, view, rng, kind)
        if change is not None:
            after = render(change.after, (view.image.shape[1], view.image.shape[0]))
            rows.append(
                {
                    **{key: getattr(change, key) for key in ("kind", "terse", "expressive", "german")},
                    "things": list(change.things),
                    "image": png(after.image),
                    "scene": json.dumps(asdict(change.after)),
                }
            )
        if len(rows) == EDITS_PER_SCENE:
            break
    return rows


def _german(scene: Scene, view: View, rng: np.random.Generator, previous: object) -> Record:
    return {
        "captions": [german.caption(scene, view, rng, style) for style in STYLES],
        "expressions": [
            {"thing": index, "text": text}
            for index in members(observe(scene, view).seen)
            for text in german.expressions(scene, view, index)
        ],
    }


def _alt_texts(scene: Scene, view: View, rng: np.random.Generator, previous: object) -> list[Record]:
    return [asdict(alt_text(scene, view, rng)) for _ in range(ALT_TEXTS_PER_SCENE)]


_WRITERS: dict[str, Callable[[Scene, View, np.random.Generator, tuple[Scene, View] | None], Any]] = {
    "captions": _captions,
    "grounding": _grounding,
    "expressions": _expressions,
    "questions": _question_rows(questions),
    "regions": _question_rows(region_questions),
    "purposes": _question_rows(purpose_questions),
    "statements": _statements,
    "pairs": _pairs,
    "edits": _edits,
    "german": _german,
    "alt_text": _alt_texts,
}
