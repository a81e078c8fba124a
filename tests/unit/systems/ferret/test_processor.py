"""Sentences become tokens, pixels and points; what can't be read is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from koine.errors import InputError
from koine.sentence import EEG, Audio, Entity, Example, Image, Region, Sentence
from koine.systems.ferret.processor import FerretProcessor, image_of, write_sentence
from koine.systems.ferret.prompt import load_tokenizer
from koine.systems.ferret.regions import RegionPixels
from tests.unit.systems.ferret.conftest import TOKENIZER, tiny_config, tiny_processor


def text_of(processor: FerretProcessor, ids) -> str:
    """Token ids as text, the image as <image>."""
    pieces: list[list[int]] = [[]]
    for token in ids:
        if token == processor.config.image_token_id:
            pieces.append([])
        else:
            pieces[-1].append(int(token))
    return "<image>".join(processor.tokenizer.decode(piece) for piece in pieces)


@pytest.fixture
def box(image) -> Region:
    return Region.box(image, 10, 6, 20, 15)


def test_a_conversation_about_an_image(processor, image, box):
    example = Example(
        Sentence("Is it near ", box, "?"),
        Sentence("No, near ", Region.box(image, 0, 0, 40, 30), "."),
        history=((Sentence(image, "What is ", Region.point(image, 20, 15), " ?"), Sentence("A mug.")),),
    )
    encoded = processor.encode(example)
    assert text_of(processor, encoded.input_ids) == (
        "<s> USER: <image>\nWhat is [50, 50]<region_fea> ? ASSISTANT: A mug.</s>"
        " USER: Is it near [25, 20, 50, 50]<region_fea> ? ASSISTANT: No, near [0, 0, 100, 100].</s>"
    ).replace("<image>\n", "<image>\n")
    learnt = [token for token in encoded.labels if token != -100]
    assert text_of(processor, learnt) == "A mug.</s> No, near [0, 0, 100, 100].</s>"
    assert [region.count for region in encoded.regions] == [117, 90]  # the point: 5 x 5 of 16 x 16 pixels
    assert encoded.image.shape == (16, 16, 3)


def test_a_prompt_ends_where_the_answer_begins(processor, box):
    encoded = processor.encode_prompt(Sentence("What is ", box, "?"))
    assert text_of(processor, encoded.input_ids).endswith("ASSISTANT:")
    assert (encoded.labels == -100).all()


@pytest.mark.parametrize(
    ("options", "written"),
    [
        ({}, "What is [25, 20, 50, 50]<region_fea> ?"),
        ({"region_features": "none"}, "What is [25, 20, 50, 50]?"),
        ({"region_coordinates": False}, "What is<region_fea> ?"),
        ({"coordinate_bins": 1000}, "What is [250, 200, 500, 500]<region_fea> ?"),
    ],
)
def test_how_regions_are_written(box, options, written):
    processor = tiny_processor(**options)
    encoded = processor.encode_prompt(Sentence("What is ", box, "?"))
    assert written in text_of(processor, encoded.input_ids)
    assert len(encoded.regions) == (options.get("region_features") != "none")


def test_regions_stand_apart_from_words(image, box):
    def spaced(*parts) -> str:
        return write_sentence(Sentence(*parts), lambda region: "R")

    assert spaced("What is", box, "for?") == "What is R for?"
    assert spaced("What is ", box, " for?") == "What is R for?"
    assert spaced(box, box, ".") == "R R."
    assert spaced("this (", box, ")", image) == "this (R)"
    assert spaced("a", "b") == "ab"


def test_consecutive_questions_share_the_image_s_pixels(processor, image):
    first = processor.encode_prompt(Sentence(image, "One?"))
    second = processor.encode_prompt(Sentence(image, "Two?"))
    other = processor.encode_prompt(Sentence(Image(image.pixels[:, ::-1].copy()), "Three?"))
    assert first.image is second.image
    assert not np.array_equal(other.image, first.image)
    assert len(processor.pack([first, second, other]).images) == 2


def test_images_are_squeezed_into_the_square(processor):
    halves = np.zeros((10, 60, 3), dtype=np.uint8)
    halves[:, 30:] = 255
    pixels = processor.resize(Image(halves))
    assert pixels.shape == (16, 16, 3)
    assert (pixels[:, :6] == 0).all()
    assert (pixels[:, 10:] == 255).all()


def test_an_image_of_the_right_size_is_taken_as_it_is(processor):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert np.array_equal(processor.resize(Image(pixels)), pixels)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 50, 3), (500, 3, 3)])
def test_images_of_any_shape(processor, shape):
    image = Image(np.full(shape, 7, dtype=np.uint8))
    assert (processor.resize(image) == 7).all()
    region = Region.box(image, 0, 0, image.width, image.height)
    encoded = processor.encode_prompt(Sentence("What is ", region, "?"))
    assert processor.collate([encoded]).region_points.max() <= 1


def test_more_may_be_known_of_a_region_than_the_sentence_says(processor, image, box):
    outline = RegionPixels(image.size, (12, 7, 14, 9))
    encoded = processor.encode(Example(Sentence("What is ", box, "?"), Sentence("A mug.")), regions=[outline])
    assert encoded.regions == (outline,)


def test_a_long_conversation_is_cut_with_its_regions(image, box):
    processor = tiny_processor(max_text_tokens=40)
    question, answer = Sentence("What is ", box, "?"), Sentence("A mug.")
    encoded = processor.encode(Example(question, answer, history=((question, answer), (question, answer))))
    assert len(encoded.input_ids) == len(encoded.labels) == 40
    assert len(encoded.regions) == list(encoded.input_ids).count(processor.config.region_token_id) < 3
    with pytest.raises(InputError, match="reads at most 40"):
        processor.encode_prompt(question, history=((question, answer), (question, answer)))


def test_batches_with_and_without_answers(processor, box):
    examples = [Example(Sentence("What is ", box, "?"), Sentence("A mug.")), Example(Sentence("Hi!"), Sentence("Hi."))]
    training = processor.batch(examples, training=True, randomness=torch.Generator().manual_seed(0))
    asking = processor.batch(examples, training=False)
    assert (training.labels != -100).any(dim=1).all()
    assert (asking.labels == -100).all()
    assert asking.input_ids.shape[1] < training.input_ids.shape[1]


def test_answers_become_sentences(processor, image):
    ids = processor.tokenizer("a red cube [25, 20, 50, 50].</s>", add_special_tokens=False).input_ids
    reply = processor.decode(torch.tensor([*ids, 0, 0]), image)
    assert reply.text == "a red cube."
    assert [region.bounds for region in reply.regions] == [(10, 6, 20, 15)]
    assert reply.details == {
        "raw": "a red cube [25, 20, 50, 50].",
        "phrases": [("a red cube", (10.0, 6.0, 20.0, 15.0))],
    }


def test_a_reply_can_be_history(processor, image):
    ids = processor.tokenizer("a red cube [25, 20, 50, 50].", add_special_tokens=False).input_ids
    reply = processor.decode(ids, image)
    encoded = processor.encode_prompt(Sentence("Sure?"), history=((Sentence(image, "What?"), reply),))
    assert "ASSISTANT: a red cube [25, 20, 50, 50].</s>" in text_of(processor, encoded.input_ids)


def test_an_image_may_be_shown_twice_but_not_two(image, box):
    copy = Image(image.pixels.copy())
    assert image_of(Sentence(image, "a"), Sentence(copy, box)) is image
    assert image_of(Sentence("a")) is None
    with pytest.raises(InputError, match="more than one image"):
        image_of(Sentence(image, Image(image.pixels[:9])))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("What </s> is?",), "contains </s>"),
        ((Audio(np.zeros(10, dtype=np.float32), 16000),), "not Audio"),
        ((EEG(np.zeros((1, 10)), 100.0, ("Cz",)),), "not EEG"),
        ((" ",), "question is empty"),
    ],
)
def test_what_ferret_cannot_read_is_named(processor, parts, message):
    with pytest.raises(InputError, match=message):
        processor.encode_prompt(Sentence(*parts))


def test_named_parts_are_refused(processor, box):
    with pytest.raises(InputError, match="not Entity"):
        processor.encode_prompt(Sentence("What is ", Entity("it", box), "?"))


def test_another_model_s_tokenizer_is_refused():
    with pytest.raises(InputError, match="the id 380 but the model expects 379"):
        FerretProcessor(load_tokenizer(TOKENIZER), tiny_config(region_token_id=379))
    tokenizer = load_tokenizer(TOKENIZER)
    tokenizer.add_tokens(["one", "more"])
    with pytest.raises(InputError, match="has 383 tokens but the model knows 381"):
        FerretProcessor(tokenizer, tiny_config())
