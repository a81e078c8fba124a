"""What a nano BEiT-3 learns from: the world's pictures, and what is asked, said and stated about them, as tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from koine.data.world_vision_language import SceneTexts, pair_texts, scene_texts
from koine.systems.beit3.config import Beit3Config
from koine.systems.beit3.pretraining import Masking
from koine.systems.beit3.processor import normalized
from koine.systems.beit3.tokenizer import Beit3Tokenizer
from koine.training import TrainingData
from koine.training.data import Batch
from koine.world.cache import SHARD, rendered_scenes
from koine.world.questions import KINDS
from koine.world.scene import MAX_THINGS, Kind

TASKS = ("questions", "captions", "statements", "retrieval")
ANSWER_SCENES = 4_000
RAREST_ANSWER = 9
"""An answer is one of the list if it is right so often in the first scenes: VQAv2's rule."""
_UNLISTED = -100
"""The place of an answer that isn't in the list; cross entropy passes over it."""
_ASKED_IN_DOCUMENT = 3


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


@dataclass(frozen=True)
class Said:
    """Which of some scenes are kept, [scenes] bool; the texts of these, and the statements about each pair."""

    kept: NDArray[np.bool_]
    texts: list[SceneTexts]
    pairs: list[tuple[tuple[str, bool], ...]]


def said_in(data: WorldData, block: int) -> Said:
    """What is said about scenes `block * SHARD` .. `(block + 1) * SHARD - 1`; the texts of a block are drawn together.

    Pairs are made of those that aren't left out; an odd one at the end is.
    """
    first = block * SHARD
    count = min(SHARD, data.scenes - first)
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
                    *((text, number.get(answer, _UNLISTED)) for text, answer in here.questions),
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


@lru_cache(maxsize=1)
def _images(data: WorldData) -> Tensor:
    """uint8 [scenes, H, W, 3], of all scenes."""
    return torch.from_numpy(rendered_scenes("train", data.scenes, kind=data.kind, size=data.size).images)


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

        A scene without texts gets another's.
        """
        drawn = torch.rand(len(scenes), number, generator=generator) * self.counts[scenes][:, None]
        places = (self.starts[scenes][:, None] + drawn.long()).clamp(max=len(self.ids) - 1)
        order = self.lengths[places].argsort(dim=1, stable=True)
        return places.gather(1, order)

    def at(self, places: Tensor) -> Tensor:
        """The ids of texts at places [..] as [.., tokens] long, without columns that are padding in all."""
        longest = int(self.lengths[places].max())
        return self.ids[places][..., :longest].long()


class WorldTasks(TrainingData):
    """Pairs of scenes with questions and captions about each and statements about both."""

    def __init__(
        self,
        data: WorldData,
        tokenizer: Beit3Tokenizer,
        answers: Sequence[str],
        *,
        tasks: Collection[str] = TASKS,
        questions: int = 6,
        statements: int = 4,
    ) -> None:
        """
        Args:
            tasks: of `TASKS`; a batch has what they need.
            questions, statements: in a batch, of each scene and of each pair; of questions an even number.
        """
        self.asked, self.stated = questions, statements
        kept, self.rows = tokenized(data, tokenizer, tuple(answers), tuple(tasks))
        self.images, self.scenes = _images(data), kept.nonzero()[:, 0]

    def __len__(self) -> int:
        return len(self.scenes) // 2

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """Of b pairs first the left scenes, then the right ones.

        Returns:
            pixel_values [2b, 3, H, W]; short_questions and long_questions [2b, questions / 2, tokens] with
            short_answers and long_answers [2b, questions / 2]; captions and descriptions [2b, tokens]; statements
            [b, statements, tokens] with labels [b, statements], -100 where a pair has none.
        """
        scenes = torch.cat((2 * indices, 2 * indices + 1))
        found = {"pixel_values": normalized(self.images[self.scenes[scenes]])}
        if (rows := self.rows.get("questions")) is not None:
            halves = rows.draw(scenes, self.asked, generator).chunk(2, dim=1)
            for kind, places in zip(("short", "long"), halves, strict=True):
                found |= {f"{kind}_questions": rows.at(places), f"{kind}_answers": rows.labels[places]}
        if (rows := self.rows.get("statements")) is not None:
            places = rows.draw(indices, self.stated, generator)
            labels = rows.labels[places].masked_fill(rows.counts[indices][:, None] == 0, _UNLISTED)
            found |= {"statements": rows.at(places), "labels": labels}
        for task, name in (("captions", "captions"), ("retrieval", "descriptions")):
            if (rows := self.rows.get(task)) is not None:
                found[name] = rows.at(rows.draw(scenes, 1, generator)[:, 0])
        return found


class MaskedWorld(TrainingData):
    """Scenes alone, texts alone, and scenes with their texts, parts of each hidden (masked data modelling).

    A text is a description with questions, answers and statements behind it that are true of the picture.
    """

    def __init__(
        self,
        data: WorldData,
        tokenizer: Beit3Tokenizer,
        codes: Tensor,
        masking: Masking,
        config: Beit3Config,
        *,
        streams: Sequence[str] = ("image", "text", "pair"),
    ) -> None:
        """
        Args:
            codes: [scenes, patches], the visual tokenizer's.
            streams: which of the three there are; a batch has as many examples in all, whichever there are.
        """
        kept, rows = tokenized(data, tokenizer, (), ("documents",))
        self.documents = rows["documents"]
        self.images, self.scenes = _images(data), kept.nonzero()[:, 0]
        self.codes = codes
        self.masking, self.config, self.streams = masking, config, tuple(streams)

    def __len__(self) -> int:
        return len(self.scenes)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """Equal shares of the streams; each tensor's name begins with its stream's.

        Returns:
            for "image" and "pair": pixel_values, patch_mask, codes; for "text" and "pair": input_ids, token_mask, ids.
        """
        found: Batch = {}
        for stream, part in zip(self.streams, indices.chunk(len(self.streams)), strict=True):
            if stream != "text":
                scenes = self.scenes[part]
                found[f"{stream}.pixel_values"] = normalized(self.images[scenes])
                found[f"{stream}.patch_mask"] = self.masking.patches(len(part), self.config.grid, generator)
                found[f"{stream}.codes"] = self.codes[scenes].long()
            if stream != "image":
                ids = self.documents.at(self.documents.draw(part, 1, generator)[:, 0])
                real = ids != self.config.pad_token_id
                hidden, chosen = self.masking.words(
                    ids, real, self.config, paired=stream == "pair", generator=generator
                )
                found |= {f"{stream}.input_ids": hidden, f"{stream}.token_mask": chosen, f"{stream}.ids": ids}
        return found


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
