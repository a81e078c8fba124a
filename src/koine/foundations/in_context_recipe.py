"""Training of a nano language model that learns in context, which larger ones do by themselves.

From the nano language model, on text only: rows of examples, each a handful of words and the name that they go by, like
a table of notes that somebody sorted. What the names depend on (the colour, the shape, nothing but the row itself)
changes from row to row, so that it must be read off the examples before it. Input embeddings stay as they are: a
codebook made of the nano language model's table is this one's, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from koine.data.world_words import content_words
from koine.foundations.language_model import load_language_model
from koine.foundations.language_model_recipe import nano_tokenizer
from koine.foundations.tokenizer import FILE
from koine.training import Recipe, Stage, TrainingData
from koine.training.data import Batch
from koine.world.facts import ATTRIBUTES
from koine.world.language import plural
from koine.world.scene import Split, sample_scene
from koine.world.things import Thing

IGNORED = -100
WORDS_OF_NOTE = 5
LONGEST = 224
"""Tokens of a row."""
_OTHER_SHARE, _STRANGE_SHARE = 0.2, 0.3
"""How many words of a note say nothing about its thing, and how many rows have names that mean nothing."""
_INDUCTION_SHARE = 0.5


class SortedNotes(TrainingData):
    """Rows of notes with names: token ids, and the names' places as labels.

    Batches are made of rows of about one length: the longest of 32 is twice as long as the mean.
    """

    def __init__(self, rows: list[tuple[list[int], list[int]]]) -> None:
        self.rows = rows
        self.lengths = np.array([len(ids) for ids, _ in rows])

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """Returns input_ids, attention_mask and labels [b, tokens], padded on the right."""
        chosen = [self.rows[place] for place in indices.tolist()]
        longest = max(len(ids) for ids, _ in chosen)
        ids = torch.zeros(len(chosen), longest, dtype=torch.int64)
        labels = torch.full_like(ids, IGNORED)
        for place, (tokens, wanted) in enumerate(chosen):
            ids[place, : len(tokens)] = torch.tensor(tokens)
            labels[place, : len(tokens)] = torch.tensor(wanted)
        lengths = torch.tensor([len(tokens) for tokens, _ in chosen])
        mask = (torch.arange(longest) < lengths[:, None]).long()
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}


@dataclass
class InContextRecipe(Recipe):
    """Names at the end of notes, from the notes before.

    Attributes:
        rows: of notes.
        seed: of the rows.
    """

    rows: int = 16_000
    seed: int = 0

    name = "in-context-language-model"
    stages = (
        Stage(
            "sort",
            steps=500,
            batch_size=32,
            learning_rate=1.5e-3,
            weight_decay=0.05,
            betas=(0.9, 0.95),
            trainable=("model.layers", "model.norm", "lm_head"),
        ),
    )

    @cached_property
    def tokenizer(self) -> Any:
        return nano_tokenizer()

    def build_model(self) -> Any:
        model, _ = load_language_model()
        # heads this small are faster without the fused attention, whose backward pass is slow on CPUs
        model.set_attn_implementation("eager")
        return model

    def data(self, stage: Stage) -> TrainingData:
        return SortedNotes(sorted_notes(self.tokenizer, "train", self.rows, seed=self.seed))

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        return {"loss": model(**batch).loss}

    def evaluate(self, model: Any, stage: Stage) -> dict[str, float]:
        return self._accuracy(model, "validation")

    def figures(self, folder: Path) -> dict[str, object]:
        """Shares of last names that are right, on notes about test scenes."""
        model, _ = load_language_model(folder)
        return {**self._accuracy(model, "test"), "rows": "500 about single-thing test scenes"}

    @torch.inference_mode()
    def _accuracy(self, model: Any, split: Split) -> dict[str, float]:
        """By what the names go by: likeliest tokens of the last name all right."""
        found = {}
        for kind in (*ATTRIBUTES, "nothing"):
            notes = SortedNotes(sorted_notes(self.tokenizer, split, 100, seed=self.seed + 1, kinds=(kind,)))
            batch = notes.batch(torch.arange(len(notes)), torch.Generator())
            guessed = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.argmax(dim=-1)
            right = [_last_name_right(*row) for row in zip(guessed[:, :-1], batch["labels"][:, 1:], strict=True)]
            found[f"names by {kind}"] = float(np.mean(right))
        return found

    def save(self, model: Any, folder: Path) -> None:
        model.save_pretrained(folder)
        (folder / FILE).write_bytes(Path(self.tokenizer.vocab_file).read_bytes())


def sorted_notes(
    tokenizer: Any, split: Split, count: int, *, seed: int, kinds: tuple[str, ...] = ()
) -> list[tuple[list[int], list[int]]]:
    """Rows of notes: (token ids, labels), where only names and their ends have labels.

    Args:
        kinds: attributes that names go by, or "nothing", for names that the row alone gives a meaning.
    """
    rng = np.random.default_rng((seed, 31))
    tokens = _Tokens(tokenizer)
    kinds = kinds or (*ATTRIBUTES, "nothing")
    likely = np.array([_STRANGE_SHARE if kind == "nothing" else 1.0 for kind in kinds])
    rows: list[tuple[list[int], list[int]]] = []
    while len(rows) < count:
        kind = kinds[int(rng.choice(len(kinds), p=likely / likely.sum()))]
        ways, shots = int(rng.integers(2, 6)), int(rng.integers(1, 4))
        row = _row(tokens, rng, split, kind, ways, shots)
        if row is not None and len(row[0]) <= LONGEST:
            rows.append(row)
    return rows


class _Tokens:
    """The token rows of words and of the text around them, each worked out once."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}
        self.begin, self.end = [tokenizer.bos_token_id], [tokenizer.eos_token_id]
        self.single = sorted(word for word in content_words() if len(self[word]) == 1)

    def __getitem__(self, text: str) -> list[int]:
        if text not in self._known:
            self._known[text] = list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        return self._known[text]


def _row(
    tokens: _Tokens, rng: np.random.Generator, split: Split, kind: str, ways: int, shots: int
) -> tuple[list[int], list[int]] | None:
    """One row, or None if the things that were drawn have too few different names."""
    things = [sample_scene(int(rng.integers(2**30)), split=split, kind="single").things[0] for _ in range(4 * ways)]
    by = "shape" if kind == "nothing" else kind
    groups: dict[str, list[Thing]] = {}
    for thing in things:
        groups.setdefault(getattr(thing, by), []).append(thing)
    chosen = [value for value in groups][:ways]
    if len(chosen) < 2:
        return None
    strange = rng.permutation(tokens.single)[: len(chosen)]
    names = {value: str(strange[place]) if kind == "nothing" else value for place, value in enumerate(chosen)}
    shown = [value for value in chosen for _ in range(shots)]
    shown = [shown[place] for place in rng.permutation(len(shown))] + [chosen[int(rng.integers(len(chosen)))]]
    ids = list(tokens.begin)
    if rng.random() < _INDUCTION_SHARE:
        ids += tokens[" or ".join(names[value] for value in chosen) + "."]
    labels = [IGNORED] * len(ids)
    for value in shown:
        of_value = groups[value]
        note = _note(tokens, rng, of_value[int(rng.integers(len(of_value)))], by)
        asked = [*tokens["USER:"], *(token for word in note for token in tokens[word]), *tokens["ASSISTANT:"]]
        answer = [*tokens[names[value]], *tokens.end]
        ids += asked + answer
        labels += [IGNORED] * len(asked) + answer
    return ids, labels


def _note(tokens: _Tokens, rng: np.random.Generator, thing: Thing, by: str) -> list[str]:
    """Words about a thing, in any order, some of them twice and some about something else.

    One of them at least says what names go by.
    """
    forms = {
        attribute: [value, plural(value)] if attribute == "shape" else [value]
        for attribute in ATTRIBUTES
        if (value := getattr(thing, attribute))
    }
    true = [word for words in forms.values() for word in words if len(tokens[word]) == 1]
    telling = [word for word in forms[by] if len(tokens[word]) == 1] or true
    words = [str(rng.choice(telling))]
    while len(words) < WORDS_OF_NOTE:
        words.append(str(rng.choice(tokens.single if rng.random() < _OTHER_SHARE else true)))
    return [words[place] for place in rng.permutation(len(words))]


def _last_name_right(guessed: Tensor, wanted: Tensor) -> bool:
    """Whether the last run of labels of a row is what the model takes for likeliest."""
    places = torch.nonzero(wanted != IGNORED)[:, 0]
    breaks = torch.nonzero(places.diff() > 1)
    last = places[int(breaks[-1]) + 1 :] if len(breaks) else places
    return bool((guessed[last] == wanted[last]).all())
