"""MetaCLIP's part of the tour: names for things, things for names, and what curation keeps of a small web."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from koine.curation.balancing import count_entries, entry_probabilities, keep_texts, text_probabilities
from koine.curation.matching import Matcher
from koine.report.contents import Answer, Section, Table
from koine.sentence import Image, Sentence
from koine.systems.metaclip.single_things import TEMPLATES
from koine.systems.metaclip.system import MetaClip
from koine.systems.metaclip.world_web import free_standing, only, photographs
from koine.world.alt_text import alt_text, concept, concepts
from koine.world.facts import VALUES
from koine.world.language import article
from koine.world.render import Observation, render
from koine.world.scene import Scene, sample_scene
from koine.world.things import Thing

PAPER = "https://arxiv.org/abs/2309.16671"
FIRST_SEED = 5_000_000
"""Scenes of a tour come from the test split, far from the seeds that figures are measured on."""
NAMED, SEARCHED, SCENES, TEXTS = 6, 4, 16, 12
"""Things that are named, texts that are searched for, scenes of the small web, and alt texts of each of its things."""
THRESHOLD = 8.0
"""Texts per entry, t, of the small web."""
SIDE, MARGIN = 64, 1.3


def page(metaclip: MetaClip, seed: int) -> Section:
    """Every answer beside the truth, on scenes drawn by `seed` that no training saw; and a pool that is curated."""
    first = FIRST_SEED + 100 * seed
    shown = [_single(first + number) for number in range(NAMED + SEARCHED)]
    return Section(
        title="MetaCLIP: good data, then plain CLIP",
        lead="A text is kept if it contains an entry of a list, and entries that everybody writes about are thinned "
        "out. CLIP learnt from what is left, says which of 48 names fits a picture, and finds the picture for a text.",
        link=PAPER,
        answers=[*_named(metaclip, shown[:NAMED]), *_found(metaclip, shown)],
        tables=[_curated(first)],
    )


def _single(seed: int) -> tuple[Image, Thing]:
    """A photograph of the only thing of a scene."""
    scene = sample_scene(seed, split="test", kind="single")
    view = render(scene, SIDE)
    return Image(_photograph(view, 0)), scene.things[0]


def _photograph(view: Observation, index: int) -> np.ndarray:
    return photographs(view.image[None], np.zeros(1, int), view.boxes[[index]], np.full(1, MARGIN), side=SIDE)[0]


def _named(metaclip: MetaClip, shown: Sequence[tuple[Image, Thing]]) -> Iterator[Answer]:
    """The likeliest of all names for each picture."""
    for image, thing in shown:
        reply = metaclip.respond(image, labels=concepts(), templates=TEMPLATES)
        ranking = list(reply.details["probabilities"].items())
        note = "then " + ", ".join(f"{label} {chance:.0%}" for label, chance in ranking[1:3])
        said = f"{reply.text}, {ranking[0][1]:.0%}"
        truth = concept(thing)
        yield Answer(
            "which of 48 names fits?",
            Sentence(image, "What is it?"),
            Sentence(said),
            Sentence(truth),
            reply.text == truth,
            note,
        )


def _found(metaclip: MetaClip, shown: Sequence[tuple[Image, Thing]]) -> Iterator[Answer]:
    """The picture that fits a text, of all on the page; texts are the different names of some of them."""
    images = [image for image, _ in shown]
    for text in list(dict.fromkeys(concept(thing) for _, thing in reversed(shown)))[:SEARCHED]:
        reply = metaclip.respond(*images, article(text))
        index = reply.details["index"]
        fitting = [str(place + 1) for place, (_, thing) in enumerate(shown) if concept(thing) == text]
        yield Answer(
            f"which of {len(images)} pictures?",
            Sentence(f"Find {article(text)}."),
            Sentence(images[index], f"picture {index + 1}, similarity {reply.details['similarities'][index]:.2f}"),
            Sentence(f"picture {' or '.join(fitting)}"),
            str(index + 1) in fitting,
            f"this one shows {article(concept(shown[index][1]))}",
        )


def _curated(first: int) -> Table:
    """What matching and balancing do to the alt texts of a few scenes."""
    rng = np.random.default_rng(first)
    texts, uids = [], []
    for number in range(SCENES):
        scene = sample_scene(first + number, split="test")
        for index, alone in _each(scene):
            texts += [alt_text(*alone, rng).text for _ in range(TEXTS)]
            uids += [f"{number}-{index}"] * TEXTS
    column, owners = pa.array(texts, pa.large_string()), pa.array(uids, pa.large_string())
    entries = list(dict.fromkeys([word for words in VALUES.values() for word in words] + list(concepts())))
    matches = Matcher.build(entries).match(column)
    counts = count_entries(matches, len(entries))
    probabilities = entry_probabilities(counts, THRESHOLD).astype(np.float64)
    chances = text_probabilities(matches, probabilities)
    kept = keep_texts(matches, probabilities, owners, column, seed=0)
    matched = matches.lengths > 0
    rows = [
        (
            texts[place],
            ", ".join(f"{entries[entry]} ({counts[entry]})" for entry in matches.of(place)) or "none",
            f"{chances[place]:.0%}",
            "kept" if kept[place] else "thinned out" if matched[place] else "no match",
        )
        for place in _examples(matched, kept)
    ]
    return Table(
        f"A small web: {len(texts)} alt texts, {int(matched.sum())} match, {int(kept.sum())} are kept",
        ("alt text", "entries (texts with it)", "chance", "what became of it"),
        rows,
        f"{len(entries)} entries: the words for things and their pairs of colour and shape. An entry that more than "
        f"{THRESHOLD:g} texts contain is thinned out to about so many; a text stays if any of its entries lets it.",
    )


def _each(scene: Scene) -> Iterator[tuple[int, tuple[Scene, Observation]]]:
    """The things of a scene that stand free, each as if nothing else stood there."""
    view = render(scene, SIDE)
    yield from ((index, only(scene, view, index)) for index in free_standing(scene, view))


def _examples(matched: np.ndarray, kept: np.ndarray, of_each: int = 5) -> list[int]:
    """Places of a few texts of each fate, spread evenly."""
    fates = (kept, matched & ~kept, ~matched)
    places = [np.flatnonzero(fate) for fate in fates]
    return [
        int(some[at]) for some in places for at in np.linspace(0, len(some) - 1, min(of_each, len(some))).astype(int)
    ]
