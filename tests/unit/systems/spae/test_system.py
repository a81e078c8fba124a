"""What users do: spell, paint, name; and what they are told when it can't be done."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from koine.errors import InputError
from koine.sentence import Image, Region
from koine.systems.spae.generation import Schedule
from koine.systems.spae.in_context import InContextModel
from koine.systems.spae.system import Spae, processor_of, read_language_model
from koine.systems.spae.vocabulary import input_table
from tests.unit.systems.spae.conftest import TOKENIZER, tiny_language_model


def test_a_picture_is_spelt_and_painted(spae, images):
    reply = spae.respond(images[0])
    assert [len(layer) for layer in reply.details["layers"]] == [1, 4, 16]
    assert reply.text.split() == [word for layer in reply.details["layers"] for word in layer]
    assert reply.image.size == images[0].size


def test_the_words_alone_give_the_same_picture(spae, images):
    reply = spae.respond(images[0])
    again = spae.respond(reply.text)
    assert again.image == reply.image
    assert again.details["layers"] == reply.details["layers"]


def test_fewer_layers_are_painted_from_fewer_words(spae, images):
    reply = spae.respond(images[0], layers=2)
    assert len(reply.text.split()) == 5
    assert spae.respond(reply.text).image == reply.image


def test_words_are_painted_from_the_layers_that_are_asked_for(spae, images):
    reply = spae.respond(images[0])
    assert spae.respond(reply.text, layers=1).image == spae.respond(images[0], layers=1).image
    with pytest.raises(InputError, match="layers = 3 of words that spell 1: give 1 to 1"):
        spae.respond(spae.processor.words[0], layers=3)


def test_a_word_that_is_none_is_answered_shortly_however_many_there_are(spae):
    word = spae.processor.words[0]
    with pytest.raises(InputError, match=rf"no word of the codebook '{word}e': did you mean .*'{word}'") as caught:
        spae.respond(f"{word}e")
    assert ", ".join(sorted(spae.processor.words)) not in str(caught.value)


def test_pictures_of_any_size(spae, images):
    wide = Image.from_pil(images[0].to_pil().resize((50, 30)))
    assert spae.respond(wide).image.size == (50, 30)


def test_a_picture_is_named_by_examples(spae, images):
    reply = spae.respond(images[0], "cube", images[1], "ball", images[2])
    assert reply.text in ("cube", "ball")
    assert reply.details["names"] == ["cube", "ball"]
    assert [len(layer) for layer in reply.details["layers"]] == [1, 4]


def test_spelling_does_not_depend_on_the_batch(spae, images):
    together, apart = (spae.spell(images, batch_size=size) for size in (4, 1))
    assert torch.equal(together.flat, apart.flat)


def test_generation_after_examples(spae, images):
    reply = spae.generate([("a red ball", images[0]), ("a cube", images[1])], "a ball", layers=2)
    assert [len(layer) for layer in reply.details["layers"]] == [1, 4]
    assert reply.image.size == (16, 16)


def test_denoising_keeps_the_coarse_words_and_writes_the_others(spae, images):
    query, *examples = images
    reply = spae.denoise(query, examples[:2], shares=(0.5, 0.4), schedule=Schedule(one_by_one=5))
    spelt = spae.respond(query).details["layers"]
    assert reply.details["layers"][:2] == spelt[:2]
    assert [len(layer) for layer in reply.details["layers"]] == [len(layer) for layer in spelt]
    assert reply.image.size == (16, 16)


def test_a_writer_that_repeats_the_clean_side_denoises(spae, images, monkeypatch):
    """Shown the clean picture itself, a model that copies the last pair's right side gives its words back."""

    def copy(self, prompts, token_ids, *, length):
        rows = [[piece for piece in pieces if isinstance(piece, list)][-2] for pieces in prompts]
        return torch.tensor([(row + [int(token_ids[0])] * length)[:length] for row in rows])

    monkeypatch.setattr(InContextModel, "continue_with", copy)
    reply = spae.denoise(images[1], [images[0]], shares=(0.9,), schedule=Schedule(one_by_one=1))
    coarse, *finer = reply.details["layers"]
    assert coarse == spae.respond(images[1]).details["layers"][0]
    assert finer == spae.respond(images[0]).details["layers"][1:]


@pytest.mark.parametrize("given", [{"examples": []}, {"shares": ()}])
def test_nothing_to_denoise_after(spae, images, given):
    with pytest.raises(InputError, match="show nothing"):
        spae.denoise(images[0], **{"examples": [images[1]], **given})


@pytest.mark.parametrize("shares", [[0.5, 1.5], [-0.1]])
def test_shares_of_words_beyond_all(shares, spae, images):
    with pytest.raises(InputError, match="give numbers from 0 to 1"):
        spae.denoise(images[0], images[1:], shares=shares)


def test_generation_from_a_picture(spae, images):
    reply = spae.generate([(images[0], images[1])], images[2], layers=1)
    assert len(reply.text.split()) == 1


@pytest.mark.parametrize(
    "parts, message",
    [
        ((), "nothing to spell or to paint"),
        (("xylophone",), "no word of the codebook 'xylophone'"),
        ((0, "what is it?"), "one picture with the text"),
        ((0, 1), "examples are pictures with a name behind each"),
        ((0, "cube", 1, "ball"), "examples are pictures with a name behind each"),
        (("cube", 0, 1), "stands before the first picture"),
        (("region",), "not a part of kind Region"),
    ],
)
def test_sentences_that_mean_nothing_to_it(parts, message, spae, images):
    made = [
        images[part] if isinstance(part, int) else Region.point(images[0], 1, 1) if part == "region" else part
        for part in parts
    ]
    with pytest.raises(InputError, match=message):
        spae.respond(*made)


def test_a_number_of_words_within_a_layer(spae):
    word = spae.processor.words[0]
    with pytest.raises(InputError, match="3 codes don't end with a layer of the pyramid: give one of 1, 5, 21"):
        spae.respond(f"{word} {word} {word}")


@pytest.mark.parametrize("layers", [-1, 0, 4])
def test_layers_that_there_are_not(layers, spae, images):
    for asked in (
        lambda: spae.respond(images[0], layers=layers),
        lambda: spae.respond(images[0], "cube", images[1], "ball", images[2], layers=layers),
        lambda: spae.generate([("a ball", images[0])], "a ball", layers=layers),
    ):
        with pytest.raises(InputError, match=f"layers = {layers} of a pyramid of 3: give 1 to 3"):
            asked()


def test_nothing_to_write_a_picture_after(spae):
    with pytest.raises(InputError, match="no example to write a picture after"):
        spae.generate([], "a ball")


def test_nothing_to_spell(spae):
    with pytest.raises(InputError, match="no picture to spell"):
        spae.spell([])


def test_a_language_model_with_other_tokens(model, tokenizer):
    class Shifted:
        def __init__(self, inner):
            self.inner = inner

        def convert_ids_to_tokens(self, ids):
            return self.inner.convert_ids_to_tokens([token + 1 for token in ids])

    other = InContextModel(tiny_language_model(), Shifted(tokenizer))
    with pytest.raises(InputError, match="other tokens than the codebook"):
        _ = Spae(model, processor_of(model, tokenizer), language_model=other).language_model


def test_a_language_model_whose_table_lacks_words_of_the_codebook(model, tokenizer):
    small = InContextModel(tiny_language_model(vocab_size=int(model.token_ids.max())), tokenizer)
    with pytest.raises(InputError, match=r"language model's table has \d+ rows, but a word of the codebook is token"):
        _ = Spae(model, processor_of(model, tokenizer), language_model=small).language_model


def test_the_language_model_computes_where_the_network_does(model, tokenizer, reader, monkeypatch):
    places = []
    monkeypatch.setattr(reader.model, "to", places.append)
    monkeypatch.setattr("koine.systems.spae.system.read_language_model", lambda source: reader)
    assert Spae(model, processor_of(model, tokenizer)).language_model is reader
    assert places == [model.device]


def test_saved_and_loaded(spae, images, tmp_path):
    spae.model.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes((TOKENIZER / "tokenizer.model").read_bytes())
    assert Spae.load(tmp_path).respond(images[0]).text == spae.respond(images[0]).text


def test_folders_without_a_model_or_tokenizer(spae, tmp_path):
    with pytest.raises(InputError, match="holds no SPAE"):
        Spae.load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="can't be read"):
        Spae.load(tmp_path)
    spae.model.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="no tokenizer"):
        Spae.load(tmp_path)


class TestLanguageModelsInFolders:
    @pytest.fixture
    def folder(self, tmp_path):
        tiny_language_model().save_pretrained(tmp_path)
        (tmp_path / "tokenizer.model").write_bytes((TOKENIZER / "tokenizer.model").read_bytes())
        return tmp_path

    def test_any_folder_reads(self, folder, spae, images):
        reader = Spae(spae.model, spae.processor, language_model=folder).language_model
        torch.testing.assert_close(input_table(reader.model), input_table(tiny_language_model()))

    def test_quantised_by_a_package_that_is_not_here(self, folder):
        config = json.loads((folder / "config.json").read_text())
        config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(InputError, match="isn't quantised"):
            read_language_model(folder)

    def test_cut_off(self, folder):
        file = folder / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-50])
        with pytest.raises(InputError, match="no causal language model to be read at"):
            read_language_model(folder)

    def test_without_its_table(self, folder):
        weights = load_file(folder / "model.safetensors")
        del weights["model.embed_tokens.weight"]
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(InputError, match=r"lacks model\.embed_tokens\.weight: get its files again"):
            read_language_model(folder)

    def test_tied_tables_lack_nothing(self, folder):
        tiny_language_model(tie_word_embeddings=True).save_pretrained(folder)
        assert read_language_model(folder).model.lm_head.weight.shape == (381, 16)
