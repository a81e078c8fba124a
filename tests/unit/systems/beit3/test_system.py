"""What is done with a sentence follows from its parts; single replies and batches agree."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from koine.errors import InputError
from koine.evaluation.retrieval import DualEncoder
from koine.sentence import Audio, Image, Sentence
from koine.systems.beit3 import system
from koine.systems.beit3.decoding import Decoding
from koine.systems.beit3.system import Beit3

from . import speaking


@pytest.fixture(scope="module")
def beit3(tmp_path_factory: pytest.TempPathFactory) -> Beit3:
    return speaking.system(tmp_path_factory.mktemp("beit3"))


def picture(seed: int) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8))


LEFT, RIGHT = picture(1), picture(2)


def test_a_picture_and_a_question_give_an_answer(beit3: Beit3) -> None:
    reply = beit3.respond(LEFT, "what colour is the cube?")
    assert reply.details["use"] == "answer" and reply.text in speaking.ANSWERS
    chances = list(reply.details["scores"].values())
    assert chances == sorted(chances, reverse=True) and sum(chances) == pytest.approx(1, abs=1e-5)
    assert next(iter(reply.details["scores"])) == reply.text


def test_captions_are_searched_for_as_configured(beit3: Beit3, monkeypatch: pytest.MonkeyPatch) -> None:
    searched = []

    def write(model: object, pixels: object, *, options: Decoding) -> SimpleNamespace:
        searched.append((options.beams, options.length_penalty, options.max_length))
        return SimpleNamespace(ids=torch.tensor([[0, 5, 2]]), scores=torch.zeros(1))

    monkeypatch.setattr(system, "write", write)
    longest = beit3.model.config.max_text_tokens
    beit3.respond(LEFT)
    monkeypatch.setattr(beit3.model.config, "caption_beams", 5)
    monkeypatch.setattr(beit3.model.config, "caption_length_penalty", 0.0)
    beit3.captions([LEFT])
    beit3.respond(LEFT, beams=2, max_length=6)
    beit3.captions([LEFT], Decoding(beams=4))
    assert searched == [(3, 0.6, longest), (5, 0.0, longest), (2, 0.0, 6), (4, 0.6, 64)]


@pytest.mark.parametrize("text", ["", "Describe the picture.", "caption this", " describe it in one sentence"])
def test_a_picture_alone_gives_a_caption(beit3: Beit3, text: str) -> None:
    reply = beit3.respond(LEFT, *([text] if text else []), max_length=8)
    assert reply.details["use"] == "caption"
    assert reply.text == beit3.captions([RIGHT, LEFT], Decoding(max_length=8))[1]


def test_a_question_about_describing_is_a_question(beit3: Beit3) -> None:
    assert beit3.respond(LEFT, "describe what?").details["use"] == "answer"


def test_two_pictures_and_a_statement_are_true_or_false(beit3: Beit3) -> None:
    reply = beit3.respond(LEFT, RIGHT, "both pictures show a ball.")
    chance = reply.details["probability"]
    assert reply.details["use"] == "judge" and reply.text == ("true" if chance >= 0.5 else "false")
    swapped = beit3.respond(RIGHT, LEFT, "both pictures show a ball.").details["probability"]
    assert swapped != pytest.approx(chance)
    together = beit3.judgements([(LEFT, RIGHT, "both pictures show a ball."), (RIGHT, LEFT, "both show a ball.")])
    assert together[0] == pytest.approx(chance, abs=1e-5)


def test_a_picture_and_texts_give_the_texts_best_first(beit3: Beit3) -> None:
    texts = ["a red cube", "a blue ball", "two rings"]
    reply = beit3.respond(LEFT, *texts)
    similarities = reply.details["similarities"]
    assert reply.details["use"] == "rank" and sorted(reply.text.split("\n")) == sorted(texts)
    assert list(similarities.values()) == sorted(similarities.values(), reverse=True)
    expected = beit3.embed_images([LEFT]) @ beit3.embed_texts(texts).T
    assert similarities["a blue ball"] == pytest.approx(float(expected[0, 1]), abs=1e-5)


def test_pictures_and_a_text_give_the_picture_that_fits(beit3: Beit3) -> None:
    images = [LEFT, RIGHT, picture(3)]
    reply = beit3.respond(*images, "a red cube")
    assert reply.details["use"] == "find" and reply.image == images[reply.details["index"]]
    assert reply.details["index"] == int(np.argmax(reply.details["similarities"]))


def test_vectors_are_of_unit_length_whatever_the_batch(beit3: Beit3) -> None:
    assert isinstance(beit3, DualEncoder)
    images = beit3.embed_images([LEFT, RIGHT, picture(3)], batch_size=2)
    texts = beit3.embed_texts(["a red cube", "two"], batch_size=1)
    assert torch.allclose(images.norm(dim=1), torch.ones(3)) and torch.allclose(texts.norm(dim=1), torch.ones(2))
    assert torch.allclose(texts, beit3.embed_texts(["a red cube", "two"]), atol=1e-5)


def test_sentences_of_all_uses_are_answered_in_their_order(beit3: Beit3) -> None:
    prompts = [
        Sentence(LEFT, "what colour is the cube?"),
        Sentence(LEFT),
        Sentence(LEFT, RIGHT, "both pictures show a ball."),
        Sentence(RIGHT, "is there a ball " * 20 + "?"),
        Sentence(LEFT, "a red cube", "a blue ball"),
        Sentence(RIGHT, LEFT, "both show a ball."),
        Sentence(LEFT, RIGHT, picture(3), "a red cube"),
        Sentence(RIGHT),
    ]
    together = beit3.respond_batch(prompts, max_length=8, batch_size=2)
    for prompt, reply in zip(prompts, together, strict=True):
        alone = beit3.respond(*prompt, max_length=8)
        assert reply.details["use"] == alone.details["use"] and reply.details.get("cut") == alone.details.get("cut")
        assert tuple(reply) == tuple(alone)
        assert reply.details.get("probability") == pytest.approx(alone.details.get("probability"), abs=1e-5)
    assert together[3].details["cut"] > 0 and "cut" not in together[0].details


def test_batches_answer_as_single_questions_do(beit3: Beit3) -> None:
    asked = [(LEFT, "what colour is the cube?"), (RIGHT, "is there a ball?"), (LEFT, "two?")]
    assert beit3.answers(asked, batch_size=2) == [beit3.respond(*one).text for one in asked]


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        (["what?"], "give at least one"),
        ([LEFT, RIGHT], "2 pictures without a text"),
        ([LEFT, "there are two cubes."], "a statement is judged on a left and a right picture, 1 given"),
        ([LEFT, RIGHT, "one", "two"], "2 pictures and 2 texts"),
        ([LEFT, Audio(np.zeros(10, np.float32), 16_000)], "not a part of kind Audio"),
    ],
)
def test_parts_that_fit_no_use_are_refused(beit3: Beit3, parts: list, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        beit3.respond(*parts)


def test_a_use_can_be_named(beit3: Beit3) -> None:
    assert beit3.respond(LEFT, "there are two cubes.", use="answer").details["use"] == "answer"
    with pytest.raises(InputError, match="there is no use of BEiT-3 'anser': did you mean 'answer'"):
        beit3.respond(LEFT, "what?", use="anser")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="to caption, BEiT-3 looks at one picture, 2 given"):
        beit3.respond(LEFT, RIGHT, use="caption")
    with pytest.raises(InputError, match="there are no texts to rank"):
        beit3.respond(LEFT, use="rank")
    with pytest.raises(InputError, match="there are no pictures to find one among"):
        beit3.respond("a red cube", use="find")


def test_a_text_that_is_too_long_is_announced(beit3: Beit3) -> None:
    with pytest.warns(UserWarning, match="cut off"):
        reply = beit3.respond(LEFT, "red " * 30 + "?")
    assert reply.details["cut"] > 0


@pytest.mark.parametrize(
    ("heads", "parts", "use"),
    [
        (["vqa"], [LEFT, "there are two cubes."], "answer"),
        (["retrieval"], [LEFT, "a cube"], "rank"),
        (["retrieval"], [LEFT, RIGHT, "a cube"], "find"),
        (["classification"], [LEFT], "classify"),
    ],
)
def test_weights_with_one_head_do_what_they_can(tmp_path: Path, heads: list[str], parts: list, use: str) -> None:
    assert speaking.system(tmp_path, heads=heads).respond(*parts).details["use"] == use


@pytest.mark.parametrize(
    ("heads", "parts", "head"),
    [
        (["vqa"], [LEFT], "captioning"),
        (["captioning"], [LEFT, "what?"], "vqa"),
        (["nlvr2"], [LEFT], "captioning"),
        (["vqa"], [LEFT, RIGHT, "both?"], "retrieval"),
    ],
)
def test_weights_without_the_head_name_it(tmp_path: Path, heads: list[str], parts: list, head: str) -> None:
    with pytest.raises(InputError, match=f"has no {head} head"):
        speaking.system(tmp_path, heads=heads).respond(*parts)


def test_weights_are_loaded_from_a_folder(beit3: Beit3, tmp_path: Path) -> None:
    beit3.model.save_pretrained(tmp_path)
    beit3.processor.save_pretrained(tmp_path)
    again = Beit3.load(tmp_path)
    scores = [one.respond(LEFT, "two?").details["scores"] for one in (again, beit3)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
    with pytest.raises(InputError, match="there is no folder"):
        Beit3.load(tmp_path / "nothing")


def test_a_text_that_is_too_long_to_compare_is_announced(beit3: Beit3, tmp_path: Path) -> None:
    long = "red " * 30
    LEFT.to_pil().save(tmp_path / "left.png")
    with pytest.warns(UserWarning, match="cut off"):
        ranked = beit3.respond(LEFT, "a ball", long)
    with pytest.warns(UserWarning, match="cut off"):
        found = beit3.respond(LEFT, RIGHT, picture(3), long)
    with pytest.warns(UserWarning, match="cut off"):
        searched = beit3.search(long, tmp_path, cache=tmp_path / "cache")
    assert ranked.details["cut"] == found.details["cut"] == searched.details["cut"] > 0
    assert "cut" not in beit3.respond(LEFT, "a ball", "a cube").details


@pytest.mark.parametrize("size", [0, -1])
def test_batches_of_nothing_are_refused(beit3: Beit3, size: int) -> None:
    with pytest.raises(InputError, match=f"batch_size = {size}"):
        beit3.respond_batch([Sentence(LEFT, "two?")], batch_size=size)
