"""The data card of an exported world: what is in it, in which words, with which seeds, under which licence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from koine.world.facts import MIN_VISIBLE_PIXELS
from koine.world.records import ALT_TEXTS_PER_SCENE, DEPTH_UNIT, EDITS_PER_SCENE
from koine.world.things import COLOURS, HELD_OUT, LIGHTS, MATERIALS, SHAPES, SIZES, SURFACES

LICENCE = "apache-2.0"

_COLUMNS = {
    "id, seed, split": "name of the scene; the seed and the split that draw it again",
    "surface, light": "words of the vocabulary",
    "camera": "azimuth, elevation, fovy in radians; distance and target in metres",
    "image": "PNG, 8-bit RGB",
    "mask": "PNG, 8-bit grey: 0 where no thing is, else index of the thing + 1",
    "depth": f"PNG, 16-bit grey: depth along the camera's axis in steps of {DEPTH_UNIT:g} m, 0 where nothing is near",
    "things": "attributes, place (metres), yaw (radians), grain (where in the wood it was cut, 0 to 1), what it stands "
    "on or is inside of (indices), visible and amodal box (left, top, right, bottom in pixels), visible pixels",
}
_TASK_COLUMNS = {
    "captions": "three true captions: short, full, with surface and light",
    "grounding": "a sentence in pieces; a piece with `thing` names that thing",
    "expressions": "noun phrases that pick out exactly one thing, with their programs (JSON)",
    "questions": "questions with short answers; `region_text` has the slot {region} in place of the description",
    "regions": "questions that only a region makes definite",
    "purposes": "what things are for and what would happen to them",
    "statements": "true and false statements",
    "pairs": "true and false statements about two pictures: the one whose id is `left`, and the row's own at the right",
    "edits": f"up to {EDITS_PER_SCENE} edits: instruction (terse, expressive, German), the picture after it (`image`; "
    "in tar files the members `edit0.png`, ...), the scene after it (JSON)",
    "german": "captions and referring expressions in German",
    "alt_text": f"{ALT_TEXTS_PER_SCENE} noisy alt texts as on web pages; `truth` is the true share of the claims",
}


def readme(indices: Sequence[Mapping[str, Any]]) -> str:
    """The card as Markdown with the front matter that dataset hubs read.

    Args:
        indices: for each split the contents of its `<split>.json`: "options" and "counts".
    """
    splits = [index["options"]["split"] for index in indices]
    return "\n".join(
        [
            *_front_matter(indices),
            "# A tabletop world in many modalities",
            "",
            "Computed pictures of things on a table, and texts about them that are true (or false, or noisy, where it",
            "says so) by construction: everything was computed from one description of each scene. Made by",
            "`koine world export`; the same options write the same files.",
            "",
            "## Splits",
            "",
            "| split | scenes | things | seeds | kind | pixels | format |",
            "|---|---|---|---|---|---|---|",
            *map(_split_row, indices),
            "",
            "Seeds of different splits are different scenes. Scenes of the split `heldout` show at least one of these",
            "pairs of colour and shape; no scene and no text of the other splits does:",
            f"{', '.join(f'{colour} {shape}' for colour, shape in sorted(HELD_OUT))}.",
            "",
            "## Columns",
            "",
            "| column | what it holds |",
            "|---|---|",
            *(f"| {name} | {meaning} |" for name, meaning in _COLUMNS.items()),
            *(f"| {name} | {meaning} |" for name, meaning in _TASK_COLUMNS.items() if _exported(indices, name)),
            "",
            f"Texts speak only of things of which enough is visible ({MIN_VISIBLE_PIXELS} pixels at 64x64, the same",
            "share at other sizes).",
            "Programs are what the answers and labels were computed from; the package evaluates them.",
            "",
            "## Vocabulary",
            "",
            f"- shapes: {', '.join(SHAPES)}",
            f"- colours: {', '.join(COLOURS)}",
            f"- sizes: {', '.join(f'{size} (radius {radius * 100:g} cm)' for size, radius in SIZES.items())}",
            f"- materials: {', '.join(MATERIALS)}",
            f"- surfaces: {', '.join(SURFACES)}",
            f"- lights: {', '.join(LIGHTS)}",
            "",
            "## Counts",
            "",
            f"| | {' | '.join(splits)} |",
            f"|---|{'---|' * len(indices)}",
            *(_count_row(name, indices) for name in _TASK_COLUMNS if _exported(indices, name)),
            "",
            "Things by colour and shape, all splits:",
            "",
            f"| | {' | '.join(SHAPES)} |",
            f"|---|{'---|' * len(SHAPES)}",
            *(_colour_row(colour, indices) for colour in COLOURS),
            "",
            "## Limits",
            "",
            "The world is small: six shapes, one table, computed light. A model that does well here has learnt what",
            "the texts mean in this world, not what photographs show.",
            "",
            "## Licence",
            "",
            "Apache License 2.0. No photograph, recording or text of others went into it, and no person is shown.",
            "",
        ]
    )


def _front_matter(indices: Sequence[Mapping[str, Any]]) -> list[str]:
    endings = {"parquet": "parquet", "webdataset": "tar"}
    files = [
        line
        for index in indices
        for line in (
            f"  - split: {index['options']['split']}",
            f"    path: data/{index['options']['split']}-*.{endings[index['options']['format']]}",
        )
    ]
    return [
        "---",
        f"license: {LICENCE}",
        "language: [en, de]",
        "task_categories: [visual-question-answering, image-to-text, object-detection, image-to-image]",
        "configs:",
        "- config_name: default",
        "  data_files:",
        *files,
        "---",
        "",
    ]


def _exported(indices: Sequence[Mapping[str, Any]], task: str) -> bool:
    return any(task in index["options"]["tasks"] for index in indices)


def _split_row(index: Mapping[str, Any]) -> str:
    options, counts = index["options"], index["counts"]
    seeds = f"{options['seed']} to {options['seed'] + options['n'] - 1}"
    size = f"{options['size']}x{options['size']}"
    return (
        f"| {options['split']} | {counts['scenes']:,} | {counts['things']:,} | {seeds} | {options['kind']} | {size} | "
        f"{options['format']} |"
    )


def _count_row(task: str, indices: Sequence[Mapping[str, Any]]) -> str:
    numbers = (index["counts"].get(task, 0) for index in indices)
    return f"| {task} | {' | '.join(f'{number:,}' for number in numbers)} |"


def _colour_row(colour: str, indices: Sequence[Mapping[str, Any]]) -> str:
    numbers = (sum(index["counts"].get(f"{colour} {shape}", 0) for index in indices) for shape in SHAPES)
    return f"| {colour} | {' | '.join(f'{number:,}' for number in numbers)} |"
