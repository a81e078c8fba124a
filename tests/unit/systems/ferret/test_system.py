"""What users hold: questions in, answers out, one image encoded once."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from koine.errors import InputError
from koine.sentence import Image, Region, Reply, Sentence
from koine.systems.ferret import system
from koine.systems.ferret.system import Ferret
from tests.unit.systems.ferret.conftest import TOKENIZER


@pytest.fixture
def ferret(model, processor) -> Ferret:
    return Ferret(model, processor)


@pytest.fixture
def questions(image) -> list[Sentence]:
    other = Image(image.pixels[::-1].copy())
    return [
        Sentence("What is ", Region.box(image, 3, 4, 30, 20), "?"),
        Sentence("Is ", Region.point(other, 8, 8), " near ", Region.box(other, 0, 0, 40, 30), "?"),
        Sentence("Hi!"),
        Sentence(image, "Where is the mug?"),
    ]


def test_a_batch_answers_as_one_by_one(ferret, questions):
    together = ferret.respond_batch(questions, max_new_tokens=8, batch_size=3, seed=5)
    alone = [ferret.respond(*question, max_new_tokens=8, seed=5) for question in questions]
    assert [reply.details["raw"] for reply in together] == [reply.details["raw"] for reply in alone]
    assert all(isinstance(reply, Reply) for reply in together)
    assert len({reply.details["raw"] for reply in together}) > 1


def test_the_seed_decides_the_points(ferret, questions, monkeypatch):
    drawn = []
    generate = ferret.model.generate

    def record(**tensors):
        drawn.append(tensors["region_points"])
        return generate(**tensors)

    monkeypatch.setattr(ferret.model, "generate", record)
    for seed in (0, 0, 1):
        ferret.respond(questions[0], seed=seed, max_new_tokens=1)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_sampling_is_repeatable_and_leaves_the_global_generator_alone(ferret, questions):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    answers = [ferret.respond(questions[0], temperature=2.0, seed=seed, max_new_tokens=8).text for seed in (1, 1, 2)]
    assert torch.equal(torch.rand(1), expected)
    assert answers[0] == answers[1] != answers[2]


def test_further_questions_about_an_image_skip_the_tower(ferret, image, monkeypatch):
    encoded = []
    encode_images = ferret.model.encode_images
    monkeypatch.setattr(
        ferret.model, "encode_images", lambda pixels: encoded.append(len(pixels)) or encode_images(pixels)
    )
    first = ferret.respond(image, "One?", max_new_tokens=3)
    assert ferret.respond(Image(image.pixels.copy()), "One?", max_new_tokens=3).text == first.text
    ferret.respond_batch([Sentence(image, "Two?"), Sentence(image, "Three?")], max_new_tokens=3)
    assert encoded == [1]


def test_features_of_another_number_type_are_not_used(ferret, image):
    ferret.respond(image, "One?", max_new_tokens=1)
    ferret.model.bfloat16()
    assert isinstance(ferret.respond(image, "One?", max_new_tokens=1), Reply)


def test_only_so_many_images_are_remembered(ferret, monkeypatch):
    monkeypatch.setattr(system, "_REMEMBERED_IMAGES", 2)
    images = [Image(np.full((16, 16, 3), value, dtype=np.uint8)) for value in range(4)]
    ferret.respond_batch([Sentence(image, "What?") for image in images], max_new_tokens=1)
    assert len(ferret._features) == 2


def test_an_answer_goes_into_the_next_question(ferret, questions, monkeypatch):
    reply = ferret.respond(questions[0], max_new_tokens=4)
    prompts = []
    generate = ferret.model.generate
    monkeypatch.setattr(ferret.model, "generate", lambda **tensors: prompts.append(tensors) or generate(**tensors))
    ferret.respond("Sure?", history=[(questions[0], reply)], max_new_tokens=1)
    words = [token for token in prompts[0]["input_ids"][0].tolist() if token >= 0]
    assert f"ASSISTANT: {reply.details['raw']}</s> USER: Sure?" in ferret.processor.tokenizer.decode(words)
    assert len(prompts[0]["region_points"]) == 1


@pytest.mark.parametrize(("asked", "allowed"), [({}, 5), ({"max_new_tokens": 2}, 2)])
def test_an_answer_is_as_long_as_the_config_allows_unless_told_otherwise(ferret, monkeypatch, asked, allowed):
    lengths = []
    generate = ferret.model.generate

    def record(**options):
        lengths.append(options["max_new_tokens"])
        return generate(**options)

    monkeypatch.setattr(ferret.model, "generate", record)
    ferret.model.config.longest_answer = 5
    ferret.respond("Hi!", **asked)
    assert lengths == [allowed]


def test_no_question_no_answer(ferret):
    assert ferret.respond_batch([]) == []


def test_every_prompt_needs_a_history_or_none_has_one(ferret):
    with pytest.raises(InputError, match="1 histories for 2 prompts: give one for each"):
        ferret.respond_batch([Sentence("Hi!"), Sentence("Who?")], histories=[()])


@pytest.mark.parametrize("options", [{"max_new_tokens": 0}, {"temperature": -1.0}])
def test_impossible_options_are_refused(ferret, options):
    with pytest.raises(InputError, match=f"{next(iter(options))} is"):
        ferret.respond("Hi!", **options)


def test_loading_a_folder(model, tmp_path, questions):
    model.save_pretrained(tmp_path)
    shutil.copy(TOKENIZER, tmp_path)
    loaded = Ferret.load(str(tmp_path), dtype=torch.bfloat16)
    assert loaded.model.dtype == torch.bfloat16
    assert not loaded.model.training
    assert isinstance(loaded.respond(questions[0], max_new_tokens=2), Reply)


def test_missing_weights_are_named(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="there are no weights at"):
        Ferret.load(str(tmp_path / "none"))
    monkeypatch.setattr(system, "NANO_WEIGHTS", tmp_path / "none")
    with pytest.raises(InputError, match="nano weights are not installed"):
        Ferret.load()
