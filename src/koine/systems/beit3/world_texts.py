"""What is asked, said and stated about the world's pictures, drawn and tokenised by all cores, as rows of ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from koine.data.world_vision_language import SceneTexts, pair_texts, scene_texts
from koine.systems.beit3.tokenizer import Beit3Tokenizer
from koine.world.cache import SHARD, RenderedScenes, rendered_scenes
from koine.world.questions import KINDS
from koine.world.scene import MAX_THINGS, Kind

TASKS = ("questions", "captions", "statements", "retrieval")
ANSWER_SCENES = 4_000
RAREST_ANSWER = 9
"""An answer is one of the list if it is right so often in the first scenes: VQAv2's rule."""
UNLISTED = -100
"""The place of an answer that isn't in the list; cross entropy passes over it."""
_ASKED_IN_DOCUMENT = 3

TextKind = Literal["documents", "captions"]
"""What words are hidden in: documents (a description with questions, answers and a statement that are true of the
picture, about eighty tokens), or captions, of a tenth of that."""


@dataclass(frozen=True)
class WorldData:
    """Which scenes and how many texts about each; equal fields give equal data.

    Attributes:
        scenes: of the training split.
        captions, descriptions: about each scene, see `SceneTexts`.
        rounds: of statements about each pair of scenes, up to six statements each.
        size: pixels of the pictures' sides.
        seed: of the texts.
        kind: of the scenes.
        most_things: scenes with more are left out.
        questions: their kinds; of one that is named twice twice as many are asked.
        first: number of the first scene, a multiple of 1,000.
    """

    scenes: int = 32_000
    captions: int = 1
    descriptions: int = 2
    rounds: int = 2
    size: int = 64
    seed: int = 0
    kind: Kind = "any"
    most_things: int = MAX_THINGS
    questions: tuple[str, ...] = KINDS
    first: int = 0


def rendered(data: WorldData) -> RenderedScenes:
    """All its scenes, those that are left out, too."""
    return rendered_scenes("train", data.scenes, kind=data.kind, first_seed=data.first, size=data.size)


@dataclass(frozen=True)
class Said:
    """Which of some scenes are kept, [scenes] bool; the texts of these, and the statements about each pair."""

    kept: NDArray[np.bool_]
    texts: list[SceneTexts]
    pairs: list[tuple[tuple[str, bool], ...]]


def said_in(data: WorldData, block: int) -> Said:
    """What is said about the `SHARD` scenes from `data.first + block * SHARD` on, whose texts are drawn together.

    Pairs are made of those that aren't left out; an odd one at the end is.
    """
    before = block * SHARD
    count = min(SHARD, data.scenes - before)
    first = data.first + before
    scenes = list(rendered_scenes("train", count, kind=data.kind, first_seed=first, size=data.size))
    kept = np.array([len(scene.things) <= data.most_things for scene, _ in scenes])
    if kept.sum() % 2:
        kept[np.flatnonzero(kept)[-1]] = False
    seen = [scenes[place] for place in np.flatnonzero(kept)]
    texts = scene_texts(
        seen,
        captions=data.captions,
        descriptions=data.descriptions,
        seed=data.seed,
        block=block,
        kinds=data.questions,
    )
    return Said(kept, list(texts), list(pair_texts(seen, rounds=data.rounds, seed=data.seed, block=block)))


@lru_cache(maxsize=1)
def common_answers() -> tuple[str, ...]:
    """The answers that a nano BEiT-3 chooses from, the commonest first."""
    scenes = rendered_scenes("train", ANSWER_SCENES)
    texts = scene_texts(scenes, captions=0, descriptions=0, seed=0)
    counts = Counter(answer for here in texts for _, answer in here.questions)
    return tuple(answer for answer, count in counts.most_common() if count >= RAREST_ANSWER)


def document(here: SceneTexts, rng: np.random.Generator) -> str:
    """A description, questions with their answers, and a statement that is true."""
    parts = [f"{here.descriptions[int(rng.integers(len(here.descriptions)))]}."]
    for place in rng.permutation(len(here.questions))[:_ASKED_IN_DOCUMENT]:
        question, answer = here.questions[place]
        parts.append(f"{question} {answer}.")
    true = [statement for statement, label in here.statements if label]
    if true:
        parts.append(true[int(rng.integers(len(true)))])
    order: NDArray[np.int64] = rng.permutation(len(parts))
    return " ".join(parts[place] for place in order)


Labelled = Sequence[tuple[str, int]]
Array = NDArray[np.int64]


class _Tokenized(NamedTuple):
    """Texts of a block as ids without special tokens, one behind the other, with how long each is; how many texts each
    scene (or pair) has; each text's label."""

    ids: NDArray[np.int16]
    lengths: Array
    counts: Array
    labels: Array

    @classmethod
    def of(cls, groups: Iterable[Labelled], tokenizer: Beit3Tokenizer) -> _Tokenized:
        """Texts longer than the model has positions for are cut."""
        grouped = [list(group) for group in groups]
        texts = [text for group in grouped for text, _ in group]
        new = list(dict.fromkeys(texts))  # many texts are alike
        longest = tokenizer.config.max_text_tokens - 2
        known = {text: row[:longest] for text, row in zip(new, tokenizer.segments(new), strict=True)}
        rows = [known[text] for text in texts]
        return cls(
            np.fromiter(chain.from_iterable(rows), np.int16),
            np.array([len(row) for row in rows], np.int64),
            np.array([len(group) for group in grouped], np.int64),
            np.array([label for group in grouped for _, label in group], np.int64),
        )


@dataclass(frozen=True)
class _Block:
    """One block's part of `tokenized`, to be done by another process."""

    data: WorldData
    tokenizer: Beit3Tokenizer
    answers: tuple[str, ...]
    names: tuple[str, ...]

    def __call__(self, block: int) -> tuple[NDArray[np.bool_], dict[str, _Tokenized]]:
        said, number = said_in(self.data, block), {answer: place for place, answer in enumerate(self.answers)}
        rng = np.random.default_rng((self.data.seed, 47, block))
        groups: dict[str, Callable[[], Iterable[Labelled]]] = {
            # Statements about one picture are questions, too; to answer them comes before judging those about two.
            "questions": lambda: (
                [
                    *((text, number.get(answer, UNLISTED)) for text, answer in here.questions),
                    *((text, number["yes" if true else "no"]) for text, true in here.statements),
                ]
                for here in said.texts
            ),
            "statements": lambda: ([(text, int(label)) for text, label in pair] for pair in said.pairs),
            "captions": lambda: ([(text, 0) for text in here.captions] for here in said.texts),
            "retrieval": lambda: ([(text, 0) for text in here.descriptions] for here in said.texts),
            "documents": lambda: ([(document(here, rng), 0) for _ in range(2)] for here in said.texts),
        }
        return said.kept, {name: _Tokenized.of(groups[name](), self.tokenizer) for name in self.names}


@lru_cache(maxsize=3)
def tokenized(
    data: WorldData, tokenizer: Beit3Tokenizer, answers: tuple[str, ...], names: tuple[str, ...]
) -> tuple[Tensor, dict[str, Rows]]:
    """Which scenes there are, [scenes] bool, and their texts of the named kinds: `TASKS` and "documents".

    All cores share the blocks. Stages and arms of an experiment share the result.
    """
    work, blocks = _Block(data, tokenizer, answers, names), range(-(-data.scenes // SHARD))
    if len(blocks) == 1:
        parts = [work(0)]
    else:
        with ProcessPoolExecutor() as pool:
            parts = list(pool.map(work, blocks))
    kept = torch.from_numpy(np.concatenate([kept for kept, _ in parts]))
    return kept, {name: Rows.joined([found[name] for _, found in parts], tokenizer) for name in names}


@dataclass(frozen=True)
class Rows:
    """Texts of one kind, several for each scene (or pair of scenes), one behind the other.

    Attributes:
        ids: [texts, tokens] int16 with special tokens and padding.
        lengths: [texts] int64, real tokens.
        starts, counts: [scenes] int64, where each scene's texts begin and how many there are.
        labels: [texts] int64: an answer's place in the list, or 1 and 0 for true and false statements.
    """

    ids: Tensor
    lengths: Tensor
    starts: Tensor
    counts: Tensor
    labels: Tensor

    @classmethod
    def joined(cls, parts: Sequence[_Tokenized], tokenizer: Beit3Tokenizer) -> Rows:
        """The texts of several blocks, with special tokens."""
        ids, lengths, counts, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
        config = tokenizer.config
        places = np.arange(int(lengths.max(initial=0)) + 2)
        rows = np.full((len(lengths), len(places)), config.pad_token_id, np.int16)
        rows[:, 0] = config.bos_token_id
        rows[(places > 0) & (places <= lengths[:, None])] = ids
        rows[np.arange(len(rows)), lengths + 1] = config.eos_token_id
        return cls(*map(torch.from_numpy, (rows, lengths + 2, counts.cumsum() - counts, counts, labels)))

    def draw(self, scenes: Tensor, number: int, generator: torch.Generator) -> Tensor:
        """Places [scenes, number] of texts, drawn for each scene from its own, the shorter ones first.

        Each is drawn from a `number`-th of the scene's texts, so that few are drawn twice, and none if `number` divides
        how many there are. A scene without texts gets another's.
        """
        drawn = torch.arange(number) + torch.rand(len(scenes), number, generator=generator)
        drawn *= self.counts[scenes][:, None] / number
        places = (self.starts[scenes][:, None] + drawn.long()).clamp(max=len(self.ids) - 1)
        order = self.lengths[places].argsort(dim=1, stable=True)
        return places.gather(1, order)

    def at(self, places: Tensor) -> Tensor:
        """The ids of texts at places [..] as [.., tokens] long, without columns that are padding in all."""
        longest = int(self.lengths[places].max())
        return self.ids[places][..., :longest].long()
