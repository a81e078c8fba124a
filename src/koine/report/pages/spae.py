"""SPAE's part of the tour: a picture spelt in words, layer by layer, and painted again from these words alone."""

from __future__ import annotations

import numpy as np
from PIL import Image as pil
from PIL import ImageDraw, ImageFont
from torch import Tensor

from koine.data.world_exhibits import FIRST_SEED
from koine.data.world_words import content_words, true_words
from koine.report.contents import Answer, Figure, Section
from koine.sentence import Image, Sentence
from koine.systems.spae.episodes import DIALOGUE, Protocol, sample_episodes
from koine.systems.spae.system import Spae
from koine.world.language import article
from koine.world.render import render
from koine.world.scene import sample_scene

PAPER = "https://arxiv.org/abs/2306.17842"
SIDE = 960
"""Pixels of a picture with words, so that 64 of them can be read."""
_NAMED = 12
"""Pictures that are named by examples."""


def page(spae: Spae, seed: int) -> Section:
    """The words of one scene that no training saw, the pictures painted from each prefix of layers, and names given."""
    first = FIRST_SEED + 100 * seed
    scene = sample_scene(first, split="test", kind="scatter", n=3)
    view = render(scene, spae.model.config.image_size)
    picture = Image(view.image)
    true = true_words(scene, view)
    return Section(
        title="SPAE: a picture as a pyramid of words",
        lead="The picture is spelt in words of a language model that has never seen one: few words on top, which say "
        "what is there, many below, which say what it looks like. Each picture is painted from its words and those "
        "above it, and from nothing else. A word that is true of the scene is underlined.",
        link=PAPER,
        figures=[Figure(picture, "what the encoder saw"), *_layers(spae, picture, true)],
        answers=_answers(spae, first),
    )


def _layers(spae: Spae, picture: Image, true: frozenset[str]) -> list[Figure]:
    """For each layer the picture painted from the words so far, with the layer's own words in their places."""
    tokens = spae.spell([picture]).tokens
    figures = []
    for count, (layer, total) in enumerate(zip(tokens, spae.processor.pyramid.lengths, strict=True), start=1):
        painted = spae.paint(tokens[:count])[0]
        caption = (
            f"layer {count}: {layer.numel()} more words, {total} in all; error {_error(painted, picture):.1f} of 255"
        )
        figures.append(Figure(with_words(painted, layer[0], spae.processor.words, true), caption))
    return figures


def with_words(picture: Image, layer: Tensor, words: list[str], true: frozenset[str]) -> Image:
    """The picture enlarged, with a layer's words printed where they stand.

    Args:
        layer: codes [h_l, w_l].
        words: of the codebook.
        true: which to underline.
    """
    canvas = picture.to_pil().resize((SIDE, SIDE), pil.Resampling.BICUBIC)
    pen = ImageDraw.Draw(canvas)
    rows, columns = layer.shape
    cell = SIDE / max(rows, columns)
    printed = [[words[code] for code in row] for row in layer.tolist()]
    longest = max(len(word) for row in printed for word in row)
    font = ImageFont.load_default(size=min(56.0, 1.6 * cell / max(4, longest)))
    for row, line in enumerate(printed):
        for column, word in enumerate(line):
            where = ((column + 0.5) * SIDE / columns, (row + 0.5) * SIDE / rows)
            pen.text(where, word, fill="white", font=font, anchor="mm", stroke_width=2, stroke_fill=(14, 17, 22))
            if word in true:
                left, _, right, bottom = pen.textbbox(where, word, font=font, anchor="mm")
                pen.line([(left, bottom + 4), (right, bottom + 4)], fill=(255, 196, 0), width=3)
    return Image.from_pil(canvas)


def _answers(spae: Spae, first: int) -> list[Answer]:
    """Whether the upper words are true, and names that the language model gives after one example of each of two."""
    scenes = [sample_scene(first + 10 + place, split="test", kind="single") for place in range(40)]
    views = [render(scene, spae.model.config.image_size) for scene in scenes]
    pictures = [Image(view.image) for view in views]
    spelling = spae.spell(pictures)
    spelt = []
    known = content_words()
    for place in range(4):
        words = spae.processor.words_of([part[place] for part in spelling.tokens[:2]])
        said = [word for layer in words for word in layer]
        true = true_words(scenes[place], views[place])
        right = sum(word in true for word in said)
        expected = ", ".join(sorted(true & known))
        asked = Sentence(pictures[place], "Five words for it:")
        spelt.append(
            Answer(
                "the upper five words", asked, Sentence(" ".join(said)), Sentence(expected), right >= 3, f"{right} of 5"
            )
        )
    labels = [scene.things[0].shape for scene in scenes]
    episodes = sample_episodes(labels, Protocol(), _NAMED, np.random.default_rng(first))
    names = spae.classify(episodes, spelling, layers=2, induction=True, wording=DIALOGUE)
    for episode, name in zip(episodes, names, strict=True):
        shown = " and ".join(f"one picture of {article(label)}" for _, label in episode.shots)
        asked = Sentence(pictures[episode.query], f"After {shown}: what is this?")
        right_name = name.startswith(episode.answer)
        spelt.append(Answer("a name by two examples", asked, Sentence(name), Sentence(episode.answer), right_name))
    return spelt


def _error(found: Image, wanted: Image) -> float:
    """Root mean squared difference of levels."""
    difference = found.pixels.astype(np.float32) - wanted.pixels
    return float(np.sqrt(np.square(difference).mean()))
