"""A frozen language model reads prompts of any lengths and writes what it may."""

from __future__ import annotations

import pytest
import torch

from koine.errors import InputError
from koine.systems.spae.in_context import LONGEST_NAME, InContextModel

PROMPTS = [["a ball ", [300, 301]], ["the "], ["a large ball and a ", [310, 311, 312], " cube"], ["a "]]


def test_pictures_tokens_stand_between_tokenised_texts(reader, tokenizer):
    row = reader.encode(["a", [300, 301], "b"])
    assert row == [
        tokenizer.bos_token_id,
        *tokenizer("a", add_special_tokens=False)["input_ids"],
        300,
        301,
        *tokenizer("b", add_special_tokens=False)["input_ids"],
    ]


def test_batches_answer_as_single_prompts_do(reader):
    alone = [reader.name([prompt])[0] for prompt in PROMPTS]
    assert reader.name(PROMPTS) == alone


def test_only_the_rows_own_names_are_written(reader):
    choices = [("cube", "ball"), ("large ball", "a"), ("ball", "cube"), ("the",)]
    names = reader.name(PROMPTS, choices)
    assert all(name in allowed for name, allowed in zip(names, choices, strict=True))


def test_names_longer_than_free_answers_are_written_to_their_end(reader):
    long = "a large red cube and a small blue ball under a lamp"
    assert len(reader.encode([long])) > LONGEST_NAME + 2
    assert reader.name([["a "]], [(long,)]) == [long]


def test_the_folders_own_penalty_for_repetitions_is_left_out(reader):
    written = reader.name(PROMPTS)
    reader.model.generation_config.repetition_penalty = 3.0
    assert reader.name(PROMPTS) == written


def test_end_token_of_the_model_if_the_tokenizer_has_none(language_model, tokenizer):
    class Endless:
        bos_token_id, eos_token_id = None, None

    language_model.config.eos_token_id = [7, 2]
    assert InContextModel(language_model, Endless())._end == 7
    language_model.config.eos_token_id = None
    with pytest.raises(InputError, match="no end token"):
        _ = InContextModel(language_model, Endless())._end


def test_continuation_has_its_length_and_stays_in_the_codebook(reader):
    token_ids = torch.tensor([260, 261, 270, 300])
    found = reader.continue_with(PROMPTS, token_ids, length=3)
    assert found.shape == (4, 3)
    assert torch.isin(found, token_ids).all()


def test_the_language_model_is_not_changed(reader):
    before = {name: tensor.clone() for name, tensor in reader.model.state_dict().items()}
    reader.name(PROMPTS)
    assert all(torch.equal(before[name], tensor) for name, tensor in reader.model.state_dict().items())


def test_prompts_beyond_the_models_positions(reader):
    with pytest.raises(
        InputError, match="a prompt of 301 tokens and 1 to be written don't fit the language model's 256 positions"
    ):
        reader.encode([[300] * 300])


def test_any_class_of_language_model(tokenizer):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=381, n_positions=128)
    names = InContextModel(GPT2LMHeadModel(config), tokenizer).name(PROMPTS[:2], [("cube", "ball")] * 2)
    assert set(names) <= {"cube", "ball"}
