"""Rows of notes and their names, from which the nano language model learns to learn."""

from __future__ import annotations

import pytest
import torch

from koine.foundations.in_context_recipe import IGNORED, SortedNotes, sorted_notes
from koine.foundations.language_model_recipe import nano_tokenizer
from koine.world.things import SHAPES


@pytest.fixture(scope="module")
def tokenizer():
    return nano_tokenizer()


def texts(tokenizer, ids) -> list[tuple[list[str], str]]:
    """(words, name) of each note of a row."""
    row = tokenizer.decode(ids).replace("<s>", "")
    notes = [part for part in row.split("USER:")[1:] if part.strip()]
    return [
        (note.split("ASSISTANT:")[0].split(), note.split("ASSISTANT:")[1].replace("</s>", "").strip()) for note in notes
    ]


def test_names_by_shape_are_said_by_a_word_of_the_note(tokenizer):
    for ids, _ in sorted_notes(tokenizer, "train", 20, seed=0, kinds=("shape",)):
        for words, name in texts(tokenizer, ids):
            assert len(words) == 5
            assert name in SHAPES
            assert name in words or f"{name}s" in words or f"{name}es" in words


def test_strange_names_mean_a_shape_within_their_row_only(tokenizer):
    rows = sorted_notes(tokenizer, "train", 20, seed=0, kinds=("nothing",))
    assert any(name not in SHAPES for ids, _ in rows for _, name in texts(tokenizer, ids))


def test_only_names_and_their_ends_have_labels(tokenizer):
    for ids, labels in sorted_notes(tokenizer, "train", 10, seed=1):
        said = [token for token in labels if token != IGNORED]
        names = [token for _, name in texts(tokenizer, ids) for token in _tokens(tokenizer, name)]
        assert said == names


def _tokens(tokenizer, name: str) -> list[int]:
    return [*tokenizer(name, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]


def test_the_last_name_was_shown_before(tokenizer):
    for ids, _ in sorted_notes(tokenizer, "train", 20, seed=2):
        *shown, asked = texts(tokenizer, ids)
        assert asked[1] in [name for _, name in shown]


def test_same_seed_same_rows(tokenizer):
    assert sorted_notes(tokenizer, "train", 3, seed=4) == sorted_notes(tokenizer, "train", 3, seed=4)
    assert sorted_notes(tokenizer, "train", 3, seed=4) != sorted_notes(tokenizer, "train", 3, seed=5)


def test_batches_are_padded_on_the_right():
    data = SortedNotes([([1, 5, 6], [IGNORED, IGNORED, 6]), ([1, 7], [IGNORED, 7])])
    assert data.lengths.tolist() == [3, 2]
    batch = data.batch(torch.tensor([1, 0]), torch.Generator())
    assert batch["input_ids"].tolist() == [[1, 7, 0], [1, 5, 6]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch["labels"].tolist() == [[IGNORED, 7, IGNORED], [IGNORED, IGNORED, 6]]
