"""Which rows of a language model's table become the codebook, and tables that can't."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from koine.errors import InputError
from koine.systems.spae.vocabulary import build_vocabulary, choose_words, input_table, token_names
from tests.unit.systems.spae.conftest import tiny_language_model


def test_words_begin_a_word_and_have_letters_only(tokenizer):
    words = choose_words(tokenizer)
    pieces = tokenizer.convert_ids_to_tokens([token for token, _ in words])
    assert all(piece == f"▁{name}" for piece, (_, name) in zip(pieces, words, strict=True))
    assert all(name.isalpha() and len(name) > 1 for _, name in words)


def test_all_candidates_have_different_names(tokenizer):
    everything = choose_words(tokenizer, candidates="all")
    assert len(everything) == len({name for _, name in everything}) == len(tokenizer) - len(tokenizer.all_special_ids)
    assert not any(" " in name for _, name in everything)


def test_known_words_only(tokenizer):
    names = [name for _, name in choose_words(tokenizer)]
    assert [name for _, name in choose_words(tokenizer, known=[names[3].upper()])] == [names[3]]


def test_nothing_left(tokenizer):
    with pytest.raises(InputError, match="no token of the language model may spell a picture"):
        choose_words(tokenizer, known=["xylophone"])


def test_unknown_candidates(tokenizer):
    with pytest.raises(InputError, match="kind of candidates"):
        choose_words(tokenizer, candidates="some")


def test_pieces_within_words_are_marked(tokenizer):
    names = token_names(tokenizer)
    inner = next(token for token in names if tokenizer.convert_ids_to_tokens(token) == "in")
    assert names[inner] == "+in"


def test_numbers_stand_for_one_token_only():
    """A piece that looks like the number of another token is called by its own."""

    class Hashes:
        all_special_ids = ()

        def __len__(self):
            return 3

        def convert_ids_to_tokens(self, tokens):
            return ["▁#2", "▁a", "<"]

        def convert_tokens_to_string(self, pieces):
            return pieces[0].replace("▁", " ")

    assert token_names(Hashes()) == {0: "#0", 1: "a", 2: "#2"}


class TestTable:
    def test_is_a_copy(self, language_model):
        table = input_table(language_model)
        table.zero_()
        assert language_model.get_input_embeddings().weight.abs().sum() > 0

    def test_tied_tables_are_copied_too(self):
        tied = tiny_language_model(tie_word_embeddings=True)
        table = input_table(tied)
        assert torch.equal(table, tied.lm_head.weight)
        assert not table.requires_grad

    @pytest.mark.parametrize(
        "damage, message",
        [
            (lambda layer: layer.weight.data.fill_(torch.nan), "nan or infinite"),
            (lambda layer: layer.to("meta"), "sharded or not loaded"),
            (lambda layer: setattr(layer, "weight", nn.Parameter(torch.zeros(0, 16))), "sharded or not loaded"),
            (
                lambda layer: setattr(
                    layer, "weight", nn.Parameter(torch.zeros(9, 16, dtype=torch.int8), requires_grad=False)
                ),
                "quantised to torch.int8",
            ),
            (lambda layer: layer.to(torch.float8_e4m3fn), "quantised to torch.float8_e4m3fn"),
            (lambda layer: layer._parameters.pop("weight"), "has no table"),
        ],
    )
    def test_tables_that_are_not_there_as_numbers(self, damage, message, language_model):
        damage(language_model.get_input_embeddings())
        with pytest.raises(InputError, match=message):
            input_table(language_model)


class TestCodebook:
    def test_rows_are_those_of_the_tokens(self, language_model, tokenizer):
        words, table = choose_words(tokenizer), input_table(language_model)
        found = build_vocabulary(table, words)
        assert torch.equal(found.table, table[[token for token, _ in words]])

    def test_normalised_and_scaled(self, language_model, tokenizer):
        found = build_vocabulary(input_table(language_model), choose_words(tokenizer), normalized=True, scale=3.0)
        torch.testing.assert_close(found.table.norm(dim=1), torch.full((len(found.words),), 3.0))

    def test_projection_keeps_the_principal_directions(self):
        table = torch.zeros(4, 3)
        table[:, 1] = torch.tensor([1.0, -1.0, 2.0, -2.0])
        found = build_vocabulary(table, [(token, str(token)) for token in range(4)], width=1)
        torch.testing.assert_close(found.table[:, 0].abs(), table[:, 1].abs())

    def test_projection_to_more_than_there_is(self):
        with pytest.raises(InputError, match="can't be projected to width 5"):
            build_vocabulary(torch.rand(4, 3), [(0, "a"), (1, "b")], width=5)

    def test_no_words(self):
        with pytest.raises(InputError, match="a codebook of 0 words spells nothing"):
            build_vocabulary(torch.rand(4, 3), [])

    def test_tokens_of_another_tokenizer(self):
        with pytest.raises(InputError, match="token 7 is beyond the 4 rows"):
            build_vocabulary(torch.rand(4, 3), [(7, "a")])
